"""Evidence: kept around a fall, of the facade alone, bounded, and never without a mask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from contracts.clips import KeptClip
from contracts.tracklets import decode
from edge.camera.evidence import Ring, worth_a_clip
from edge.camera.source import open_source
from edge.clip_folder import ClipFolder
from edge.clock import SystemClock
from tests.parts.clips import facade, falling, pictures, write_clip
from tests.parts.crash_prefix import crashes, record

WALL = facade(320, 240)
CAMERA = """
width = 320
height = 240
[[facade]]
polygon = [[100, 0], [220, 0], [220, 239], [100, 239]]
storeys = [[239, 0], [0, 6]]
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    thing = (falling(4.0, 160, 20, 225, g=250), 6, 70.0)
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", pictures(WALL, 9.0, [thing]))


def watched(folder: Path, url: Path, *, masked: bool = True, **options: Any) -> list[KeptClip]:
    camera = {"device": "cam-1", "url": str(url)}
    if masked:
        (folder / "cam.toml").write_text(CAMERA)
        camera["camera_file"] = str(folder / "cam.toml")
    source = open_source(
        {"pace": 0, "cameras": [camera], "clips_dir": str(folder / "clips"), **options},
        SystemClock(), ("gw-1",),
    )  # fmt: skip
    drawn = list(source.batches(None))
    assert [len(worth_a_clip(decode(one.tracks))) for one in drawn if one.tracks] == [masked]
    source.close()
    return ClipFolder(folder / "clips", limit_bytes=1 << 30, hours=1e6).kept()


def frames(path: Path) -> Iterator[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")


def test_a_fall_is_kept_with_what_was_before_and_after_and_shows_the_facade_alone(
    tmp_path: Path, clip: Path
) -> None:
    (kept,) = watched(tmp_path, clip)
    # Three seconds before the fall at 4 s, and three after its end 1.2 s later.
    assert kept.end_ms - kept.start_ms == pytest.approx(7200, abs=300)
    seen = list(frames(tmp_path / "clips/cam-1" / f"{kept.start_ms}-{kept.end_ms}.mp4"))
    assert len(seen) == pytest.approx(181, abs=8)
    y = np.stack([one[:240] for one in seen])
    assert y[:, :, :96].max() <= 24
    assert y[:, :, 226:].max() <= 24
    assert y[:, 20:200, 110:210].mean() > 80
    # The track is drawn: chroma appears in the facade, but only once something fell.
    v = np.stack([one[300:].reshape(120, 160) for one in seen]).astype(int)
    assert np.abs(v[:70] - 128).max() < 20
    assert np.abs(v[-20:] - 128).max() > 40


def test_a_fall_is_kept_of_a_stream_whose_pictures_bear_no_time(tmp_path: Path) -> None:
    thing = (falling(4.0, 160, 20, 225, g=250), 6, 70.0)
    bare = write_clip(tmp_path / "a.h264", pictures(WALL, 9.0, [thing]), container="h264")
    (kept,) = watched(tmp_path, bare)
    assert kept.end_ms - kept.start_ms == pytest.approx(7200, abs=300)
    seen = list(frames(tmp_path / "clips/cam-1" / f"{kept.start_ms}-{kept.end_ms}.mp4"))
    assert len(seen) == pytest.approx(181, abs=8)


def test_without_a_camera_file_nothing_is_kept(tmp_path: Path, clip: Path) -> None:
    assert watched(tmp_path, clip, masked=False) == []
    assert list((tmp_path / "clips").iterdir()) == []


@pytest.mark.parametrize("turned_s", [7.0, None])
def test_what_a_camera_shows_that_was_turned_is_never_kept(
    tmp_path: Path, turned_s: float | None
) -> None:
    """Turned after the fall at 4 s and before the clip's end at 8.2 s: to see it takes 6 s."""
    thing = (falling(4.0, 160, 20, 225, g=250), 6, 70.0)
    before = turned_s or 18.0
    seen = [
        pictures(WALL, before, [thing]),
        pictures(np.ascontiguousarray(WALL[::-1, ::-1]), 18.0 - before, [], seed=2),
    ]
    clip = write_clip(tmp_path / "a.mp4", chain(*seen))
    assert len(watched(tmp_path, clip)) == (turned_s is None)


def test_a_clip_that_was_kept_is_whole_after_a_power_cut(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("strace")
    folder = tmp_path / "clips"
    folder.mkdir()
    child = (
        "import sys; from pathlib import Path; from edge.clip_folder import ClipFolder\n"
        "f = ClipFolder(Path(sys.argv[1]), limit_bytes=1 << 30, hours=1e6)\n"
        "h = f.path / 'cam-1.half'; h.write_bytes(b'clip' * 999)\n"
        "f.put(h, 'cam-1', 1000, 2000); print('kept', flush=True)"
    )
    recorded = record([sys.executable, "-c", child, str(folder)], folder)
    assert recorded.status == 0
    cut = 0
    for crash in crashes(recorded, ("all", "torn", "synced")):
        found = {name: data for name, data in crash.files.items() if name.endswith(".mp4")}
        assert set(found.values()) <= {b"clip" * 999}
        assert found or "kept" not in crash.said
        cut += 1
    assert cut > 6


class Packet:
    """As much of a packet as the ring looks at."""

    def __init__(self, size: int, *, key: bool = False) -> None:
        self.size, self.is_keyframe = size, key


def test_the_ring_keeps_whole_groups_within_its_time_and_bytes() -> None:
    ring = Ring(most_us=5_000_000, most_bytes=10_000)
    packets = [Packet(100, key=n % 10 == 0) for n in range(100)]
    for n, packet in enumerate(packets):
        ring.push(n * 200_000, packet)
    # 2 s a group; more than 5 s are three of them.
    cut = ring.cut(0, 99 * 200_000)
    assert cut[0].is_keyframe
    assert cut == packets[100 - len(cut) :]
    assert 25 <= len(cut) <= 40
    assert ring.cut(95 * 200_000, 97 * 200_000) == packets[90:98]
    for n in range(200):
        ring.push(20_000_000 + n, Packet(400, key=n == 0))
    assert ring.too_long == 1
    assert ring.cut(0, 10**9) == []


def test_a_folder_of_clips_is_bounded_in_bytes_and_in_time(tmp_path: Path) -> None:
    folder = ClipFolder(tmp_path, limit_bytes=350, hours=1.0)
    for n in range(5):
        half = tmp_path / "cam-1.half"
        half.write_bytes(b"x" * 100)
        folder.put(half, "cam-1", n * 1_800_000, n * 1_800_000 + 7000)
    folder.prune(5_400_000)
    assert [one.start_ms for one in folder.kept()] == [3_600_000, 5_400_000, 7_200_000]
    assert folder.gone == {"too_old": 1, "no_room": 1}
    near = folder.nearest("cam-1", 5_420_000)
    assert near is None
    near = folder.nearest("cam-1", 5_410_000)
    assert near is not None
    assert near.start_ms == 5_400_000
    assert folder.nearest("cam-2", 5_410_000) is None
