"""Clips as luma planes, and what is no clip."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
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


def _half_a_copy(path: Path) -> Path:
    """What a copy leaves that broke off: the list of frames stands before them."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for picture in pictures(WALL, 4.0, []):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    return path


def _damaged_zip(path: Path) -> Path:
    picture = cv2.imencode(".jpg", WALL)[1].tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("times.csv", "frame,seconds\n0,5.0\n1,5.05\n")
        out.writestr("00000.jpg", picture)
        out.writestr("00001.jpg", picture)
        at = out.getinfo("00001.jpg").header_offset + 30 + len("00001.jpg")
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
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
        pytest.param(_half_a_copy, "a.mp4", r"breaks off after \d+ of 100 frames", id="half"),
        pytest.param(_damaged_zip, "a.zip", "picture 1 can't be read", id="damaged-zip"),
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


def stamped(path: Path, stamps: Iterable[int]) -> Path:
    """A clip with these time stamps, in milliseconds; MPEG-TS takes any."""
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"g": "25", "bf": "0", "tune": "zerolatency"}
        for n, (picture, at_ms) in enumerate(zip(pictures(WALL, 60.0, []), stamps, strict=False)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = at_ms * 90 + 90_000
                packet.time_base = Fraction(1, 90_000)
                out.mux(packet)
    return path


def test_a_camera_clock_that_is_set_back_goes_on_at_its_pace(tmp_path: Path) -> None:
    """40 ms a picture; after two seconds 50 back, then one picture is missing."""
    late, early = [50_000 + 40 * n for n in range(50)], [40 * n for n in range(100) if n != 10]
    parts = [stamped(tmp_path / f"{n}.ts", at).read_bytes() for n, at in enumerate((late, early))]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    video = open_video(str(tmp_path / "a.ts"))
    at = [frame.at_us for frame in video.frames()]
    assert np.diff(at).tolist() == [40_000] * 59 + [80_000] + [40_000] * 88


def test_what_waits_is_left_out_up_to_a_key_frame(tmp_path: Path) -> None:
    video = open_video(str(stamped(tmp_path / "a.ts", [40 * n for n in range(150)])))
    assert isinstance(video, Video)
    seen = []
    for frame in video.frames():
        seen.append(frame.at_us // 40_000)
        if frame.number == 30:
            video.leave_out()
    # The next second's key frame is too near.
    assert seen == [*range(31), *range(75, 150)]
    assert video.left_out == 44


def test_packets_are_handed_on_before_they_are_decoded(tmp_path: Path) -> None:
    seen: list[object] = []
    video = open_video(str(clip(tmp_path / "a.mp4")))
    list(islice(video.frames(seen.append), 3))
    assert len(seen) >= 3
