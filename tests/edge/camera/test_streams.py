"""Streams as cheap cameras give them: they stall, break off, come back, come too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.tracklets import TrackletBatch, decode
from edge.camera.source import open_source
from edge.clock import SystemClock
from edge.sources import Drawn
from tests.parts.clips import Picture, facade, falling, pictures, write_clip
from tests.parts.streamer import Streamer, Turn

WALL = facade(320, 240)
THING = (falling(4.6, 160, 20, 225, g=250), 6, 70.0)
"""Late enough: what comes while a stream is probed isn't seen."""


class Recorded(SystemClock):
    """Waits for nothing, and stops when a given number of waits is over."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.waits: list[float] = []

    def wait(self, ms: float) -> bool:
        if ms > 0:
            self.waits.append(ms)
            if len(self.waits) >= self._most:
                self.stop()
        return super().wait(0)


class Slow(SystemClock):
    """Runs `step_ms` on with each picture: as if looking at one took so long."""

    def __init__(self, step_ms: int) -> None:
        super().__init__()
        self._step_ms = step_ms
        self._at_ms = 1_000_000

    def mono_ms(self) -> int:
        self._at_ms += self._step_ms
        return self._at_ms

    def wall_ms(self) -> int:
        return 1_767_225_600_000 + self._at_ms


class Faulty(SystemClock):
    """Fails once, in a camera's thread, when it is first asked."""

    has_failed = False

    def wall_ms(self) -> int:
        if not self.has_failed and threading.current_thread().name.startswith("camera"):
            self.has_failed = True
            raise RuntimeError("as a library may")
        return super().wall_ms()


def sent(path: Path, frames: Iterator[Picture], fps: int = 25) -> bytes:
    return write_clip(path, frames, container="mpegts", fps=fps).read_bytes()


def source(url: str, clock: SystemClock, **options: Any) -> Iterator[Drawn]:
    given = {"cameras": [{"device": "cam-1", "url": url}], "open_s": 2, "read_s": 0.4, **options}
    return open_source(given, clock, ("gw-1",)).batches(None)


def values(drawn: list[Drawn], name: str) -> list[float]:
    return [v for one in drawn for _, _, q, _, v, _ in one.batch.rows()
            if q == name and not one.tracks]  # fmt: skip


def until(drawn: Iterator[Drawn], clock: SystemClock, name: str, value: float) -> list[Drawn]:
    """All up to a state; then the agent stops."""
    found = []
    for one in drawn:
        found.append(one)
        if value in values([one], name):
            clock.stop()
    return found


def test_a_camera_is_tried_ever_less_often_and_after_a_good_time_soon_again(
    tmp_path: Path,
) -> None:
    good = sent(tmp_path / "a.ts", pictures(facade(160, 96), 60.0, [], fps=5.0), fps=5)
    clock = Recorded(6)
    with Streamer([Turn(), Turn(), Turn(), Turn(good), Turn()]) as camera:
        list(source(camera.url, clock))
    assert clock.waits == [1000, 2000, 4000, 1000, 2000, 4000]


def test_what_fell_when_a_stream_broke_off_is_told(tmp_path: Path) -> None:
    clip = sent(tmp_path / "a.ts", pictures(WALL, 5.7, [THING]))
    clock = SystemClock()
    with Streamer([Turn(clip, stays=True)]) as camera:
        drawn = until(source(camera.url, clock), clock, "online", 0.0)
    tracks = TrackletBatch.join([decode(one.tracks) for one in drawn if one.tracks])
    assert len(tracks) == 1
    assert values(drawn, "online") == [1.0, 0.0]


def test_pictures_that_wait_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    """25 pictures a second, each looked at for 100 ms."""
    clip = sent(tmp_path / "a.ts", pictures(facade(160, 96), 30.0, []))
    with Streamer([Turn(clip), Turn(b"", stays=True)]) as camera:
        clock = Slow(100)
        drawn = until(source(camera.url, clock), clock, "online", 0.0)
    assert values(drawn, "fault") == [0.0, 2.0]
    (lost_ms,) = [t for one in drawn for _, _, q, t, v, _ in one.batch.rows()
                  if (q, v) == ("online", 0.0)]  # fmt: skip
    begun_ms = drawn[0].batch.ts_ms[0]
    # Half of the pictures and more were left out: the whole clip took little longer than itself.
    assert 28_000 <= lost_ms - begun_ms <= 40_000


def test_a_fault_of_a_library_costs_one_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = sent(tmp_path / "a.ts", pictures(WALL, 5.7, [THING]))
    clock = Faulty()
    with Streamer([Turn(clip, stays=True)]) as camera:
        drawn = until(source(camera.url, clock, read_s=1), clock, "online", 1.0)
    assert values(drawn, "online")[:2] == [0.0, 1.0]
    assert "as a library may" in caplog.text


def test_a_camera_that_was_turned_while_it_was_away_says_so(tmp_path: Path) -> None:
    """And goes on saying so over the next break: crops and clips stay at home."""
    own = sent(tmp_path / "a.ts", pictures(WALL, 20.0, [], fps=5.0), fps=5)
    other = sent(tmp_path / "b.ts", pictures(WALL[::-1, ::-1], 30.0, [], fps=5.0), fps=5)
    clock = Recorded(4)
    with Streamer([Turn(own), Turn(other), Turn(other), Turn(own), Turn()]) as camera:
        drawn = list(source(camera.url, clock))
    assert values(drawn, "tamper") == [0.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("size", [(160, 96), (128, 64)])
def test_a_clip_that_is_no_good_ends_its_camera(tmp_path: Path, size: tuple[int, int]) -> None:
    parts = []
    for n, one in enumerate(((160, 96), size)):
        path = tmp_path / f"{n}.h264"
        write_clip(path, pictures(facade(*one), 0.2, []), container="h264")
        parts.append(path.read_bytes())
    whole = tmp_path / "whole.h264"
    whole.write_bytes(b"".join(parts))
    drawn = list(source(str(whole), SystemClock(), pace=0))
    assert values(drawn, "online") == ([1.0, 0.0] if size != (160, 96) else [1.0])
