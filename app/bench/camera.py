"""`bench camera`: CPU time of a frame, decoded and looked at, beside the pipelines others use.

Two clips of one generated scene are made first, 1280x720 and 1920x1080, encoded with H.264 at a
camera's rate. Then, in one process and on one thread each:

* decoding with PyAV to the luma plane, and the front end on what was decoded, frame by frame;
* OpenCV's `read()` with MOG2, and with KNN, as background subtraction is usually done.

`frontend_cpu_ms_*` is the front end alone: the two together are its sum with `decode_cpu_ms_*`.
The scene is a bad day: birds, insects, leaves, rain, laundry, clouds, shake at the usual rate.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.bench.document import document
from app.falling.lab import view_of
from app.falling.render import write
from app.falling.scenes import Part, Recipe, Scene, draw
from app.falling.session import detector
from contracts import pack
from contracts.batch import ReadingBatch
from contracts.tracklets import TrackletBatch, encode
from edge.camera.frontend import FrontEnd
from edge.camera.scale import default_view
from edge.camera.video import open_video

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
BATCH = 2000
STATES_AN_HOUR = 60
START_MS = 1_760_000_000_000


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    cv2.setNumThreads(1)
    seconds, rivals = (8.0, 20) if quick else (40.0, 150)
    figures: dict[str, float] = {}
    batches: list[TrackletBatch] = []
    with tempfile.TemporaryDirectory(prefix="gridwarden-bench-camera-") as folder:
        for name, (width, height) in SIZES.items():
            recipe = Recipe(Part.TEST, seed, seconds=seconds, width=width, height=height)
            scene = draw(recipe)
            clip = Path(folder) / f"{name}.mp4"
            write(scene, clip)
            figures |= _ours(clip, name, scene, batches)
            figures |= _theirs(clip, name, rivals)
    figures |= _traffic(batches[0], seconds)
    figures["tracklets_per_cpu_s"] = _detector(batches, budget_s=1.5 if quick else 5.0)
    for name in SIZES:
        decode, front = figures[f"decode_cpu_ms_{name}"], figures[f"frontend_cpu_ms_{name}"]
        figures[f"frontend_per_decode_{name}"] = front / decode
        figures[f"cameras_per_core_{name}"] = 1000 / 25 / (decode + front)
    settings = {"seconds": seconds, "frames_of_rivals": rivals, "scene": f"test {seed}"}
    return document("camera", figures, seed=seed, settings=settings)


def _ours(clip: Path, name: str, scene: Scene, batches: list[TrackletBatch]) -> dict[str, float]:
    """With the camera file that the scene would have, and without one."""
    video = open_video(str(clip))
    masked = FrontEnd("cam", view_of(scene), video.fps)
    whole = FrontEnd("cam", default_view(video.width, video.height), video.fps)
    decode = masked_s = whole_s = 0.0
    frames = 0
    now = time.process_time()
    for frame in video.frames():
        then = time.process_time()
        decode += then - now
        masked.push(frame)
        now = time.process_time()
        masked_s += now - then
        whole.push(frame)
        then = time.process_time()
        whole_s += then - now
        frames += 1
        now = time.process_time()
    video.close()
    masked.finish()
    whole.finish()
    batches.append(TrackletBatch.join([masked.drain(), whole.drain()]))
    return {
        f"decode_cpu_ms_{name}": decode / frames * 1e3,
        f"frontend_cpu_ms_{name}": whole_s / frames * 1e3,
        f"frontend_masked_cpu_ms_{name}": masked_s / frames * 1e3,
    }


def _theirs(clip: Path, name: str, most: int) -> dict[str, float]:
    figures = {}
    for label, subtractor in (
        ("read", None),
        ("mog2", cv2.createBackgroundSubtractorMOG2(detectShadows=False)),
        ("knn", cv2.createBackgroundSubtractorKNN(detectShadows=False)),
    ):
        capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        frames, begin = 0, time.process_time()
        while frames < most:
            good, picture = capture.read()
            if not good:
                break
            if subtractor is not None:
                subtractor.apply(picture)
            frames += 1
        figures[f"{label}_cpu_ms_{name}"] = (time.process_time() - begin) / max(frames, 1) * 1e3
        capture.release()
    return figures


def _traffic(batch: TrackletBatch, seconds: float) -> dict[str, float]:
    """Kilobytes in an hour: each tracklet in a pack of its own, and a state each minute."""
    header = pack.PackHeader("gw-00", 1 << 32, 1, START_MS, 0)
    rows = [("cam", "camera", name, START_MS, 1.0, 0)
            for name in ("online", "lens_blocked", "fault", "tamper")]  # fmt: skip
    state = len(pack.encode(pack.Pack(header, ReadingBatch.of(rows))))
    online = ReadingBatch.of(rows[:1])
    sent = 0
    for row in range(len(batch)):
        tracks = encode(batch.take(np.array([row])))
        sent += len(pack.encode(pack.Pack(header, online, tracks=tracks)))
    tracks_hour = sent * 3600 / seconds
    return {
        "kilobytes_per_camera_hour": (tracks_hour + state * STATES_AN_HOUR) / 1e3,
        "kilobytes_per_quiet_hour": state * STATES_AN_HOUR / 1e3,
        "tracklets_per_camera_hour": len(batch) * 3600 / seconds,
    }


def _detector(batches: list[TrackletBatch], *, budget_s: float) -> float:
    """Tracklets a CPU second: described, judged, merged."""
    one = TrackletBatch.join(batches)
    rows = np.resize(np.arange(len(one)), BATCH)
    many = one.take(rows)
    judge = detector()
    judge.on_tracklets(many)
    done, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < budget_s:
        judge.on_tracklets(many)
        done += BATCH
    return done / spent
