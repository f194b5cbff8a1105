"""A clip or a stream through front end and detector, as `gridwarden detect falling` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from contracts.tracklets import TrackletBatch
from detectors.falling.operator import Event, FallingObjects
from edge.camera.frontend import Figures, FrontEnd
from edge.camera.scale import default_view, load_camera_file, make_view
from edge.camera.video import Clip, is_stream, open_video

CAMERA = "clip"


@dataclass(slots=True)
class Seen:
    """What came of a clip. frame_us: time of each frame, for counting back from times."""

    width: int = 0
    height: int = 0
    frame_us: list[int] = field(default_factory=list)
    bad_frames: int = 0
    figures: Figures = field(default_factory=Figures)
    tracklets: list[TrackletBatch] = field(default_factory=list)

    def frame_at(self, at_ms: int) -> int:
        """Number of the frame at a time of the clip."""
        return int(np.searchsorted(np.array(self.frame_us), (at_ms + 1) * 1000, "right")) - 1


def detect(
    source: str,
    detector: FallingObjects,
    *,
    camera: Path | None = None,
    seen: Seen | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Events as they become known, revisions too. Times count from the first frame.

    Raises `CameraError`.
    """
    cv2.setNumThreads(1)
    seen = Seen() if seen is None else seen
    file = load_camera_file(camera) if camera is not None else None
    video: Clip = open_video(source)
    front: FrontEnd | None = None
    try:
        for frame in video.frames():
            if front is None:
                view = default_view(video.width, video.height)
                if file is not None and camera is not None:
                    view = make_view(file, video.width, video.height, camera)
                seen.width, seen.height = video.width, video.height
                front = FrontEnd(CAMERA, view, video.fps)
                seen.figures = front.figures
            if len(seen.frame_us) < 10_000_000:
                seen.frame_us.append(frame.at_us)
            front.push(frame)
            if front.has_ended:
                yield from _told(front, detector, seen, keep=not is_stream(source))
            if stop():
                break
        if front is not None:
            front.finish()
            yield from _told(front, detector, seen, keep=not is_stream(source))
    finally:
        seen.bad_frames = video.bad_frames
        video.close()


def _told(front: FrontEnd, detector: FallingObjects, seen: Seen, *, keep: bool) -> Iterator[Event]:
    batch = front.drain()
    if keep:
        seen.tracklets.append(batch)
    yield from detector.on_tracklets(batch)
