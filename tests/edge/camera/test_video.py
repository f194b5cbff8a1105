"""Clips as luma planes, and what is no clip."""

from __future__ import annotations

import zipfile
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import CameraError
from edge.camera.video import Video, open_video, redacted
from tests.parts.clips import facade, pictures, write_clip

WALL = facade(160, 96)


def clip(path: Path, seconds: float = 0.4, **options: object) -> Path:
    return write_clip(path, pictures(WALL, seconds, []), **options)  # type: ignore[arg-type]


def test_frames_are_the_luma_of_the_clip_in_its_time(tmp_path: Path) -> None:
    video = open_video(str(clip(tmp_path / "a.mp4", crf=10)))
    frames = [(frame.number, frame.at_us, frame.luma.copy()) for frame in video.frames()]
    video.close()
    assert [number for number, _, _ in frames] == list(range(10))
    assert [at for _, at, _ in frames] == [40_000 * n for n in range(10)]
    # Limited range comes back as it was put in, but for coding noise.
    assert np.abs(frames[5][2].astype(int) - frames[4][2].astype(int)).mean() < 3
    assert frames[0][2].shape == (96, 160)
    assert video.fps == 25


def test_a_width_that_is_no_multiple_of_the_stride(tmp_path: Path) -> None:
    wall = facade(150, 70)
    video = open_video(str(write_clip(tmp_path / "a.mp4", pictures(wall, 0.2, []), crf=5)))
    shapes = {frame.luma.shape for frame in video.frames()}
    assert shapes == {(70, 150)}


def _other_sizes(path: Path) -> Path:
    parts = []
    for n, size in enumerate(((160, 96), (128, 64))):
        part = path.with_name(f"part{n}.h264")
        write_clip(part, pictures(facade(*size), 0.2, []), container="h264")
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def _no_frames(path: Path) -> Path:
    whole = clip(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(whole[: len(whole) // 8])
    return path


def _sound_only(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    return path


def _text(path: Path) -> Path:
    path.write_text("this is no clip")
    return path


def _nothing(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("readme", "no pictures")
    return path


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        pytest.param(_text, "a.mp4", "can't be opened", id="text"),
        pytest.param(_nothing, "a.mp4", "can't be opened", id="empty"),
        pytest.param(_no_frames, "a.mp4", "a.mp4: ", id="broken-off"),
        pytest.param(_sound_only, "a.wav", "holds no video", id="sound"),
        pytest.param(_other_sizes, "a.h264", "changes from 160x96 to 128x64 at frame 5", id="size"),
        pytest.param(_zip, "a.zip", "no zip of pictures", id="zip"),
        pytest.param(lambda path: path, "none.mp4", "no such clip", id="missing"),
    ],
)
def test_what_cannot_be_watched_is_one_clear_line(
    tmp_path: Path, make: object, name: str, said: str
) -> None:
    path = make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(CameraError, match=said) as error:
        list(open_video(str(path)).frames())
    assert "\n" not in str(error.value)


def test_a_zip_of_pictures_keeps_its_times(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("times.csv", "frame,seconds\n0,5.0\n1,5.05\n2,5.4\n")
        for n in range(3):
            out.writestr(f"{n:05d}.jpg", cv2.imencode(".jpg", WALL)[1].tobytes())
    video = open_video(str(tmp_path / "a.zip"))
    assert [frame.at_us for frame in video.frames()] == [0, 50_000, 400_000]
    assert (video.width, video.height) == (160, 96)


def test_a_stream_that_nobody_serves_is_a_camera_error() -> None:
    with pytest.raises(CameraError, match="can't be opened"):
        Video("rtsp://user:secret@127.0.0.1:9/none")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rtsp://user:pa@ss@host:554/1", "rtsp://...@host:554/1"),
        ("rtsp://host/a@b", "rtsp://host/a@b"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_passwords_are_not_shown(name: str, shown: str) -> None:
    assert redacted(name) == shown


def test_packets_are_handed_on_before_they_are_decoded(tmp_path: Path) -> None:
    seen: list[object] = []
    video = open_video(str(clip(tmp_path / "a.mp4")))
    list(islice(video.frames(seen.append), 3))
    assert len(seen) >= 3
