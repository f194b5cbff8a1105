"""Cameras as the agent's source: tracklets and states come out, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.tracklets import TrackletBatch, decode
from edge.camera.source import open_source
from edge.clock import SystemClock
from edge.settings import load
from edge.sources import Drawn, SourceError
from edge.sources import open_source as open_kind
from tests.edge.camera.test_scale import GOOD as CAMERA_FILE
from tests.edge.test_settings import GOOD, written
from tests.parts.clips import facade, falling, pictures, write_clip

WALL = facade(320, 240)


def clip(path: Path) -> Path:
    thing = (falling(0.6, 160, 20, 225, g=250), 6, 70.0)
    return write_clip(path, pictures(WALL, 2.4, [thing]))


def drawn(clock: SystemClock | None = None, **options: Any) -> list[Drawn]:
    source = open_source({"pace": 0, **options}, clock or SystemClock(), ("gw-1",))
    return list(source.batches(None))


def test_a_clip_gives_its_state_and_its_tracklet(tmp_path: Path) -> None:
    url = str(clip(tmp_path / "a.mp4"))
    cameras = [{"device": "cam-1", "url": url}, {"device": "cam-2", "url": url}]
    got = drawn(cameras=cameras)
    rows = [row for one in got for row in one.batch.rows()]
    assert {(d, q) for d, _, q, _, _, _ in rows} == {
        (device, quantity)
        for device in ("cam-1", "cam-2")
        for quantity in ("online", "lens_blocked", "fault", "tamper")
    }
    assert {v for _, _, q, _, v, _ in rows if q == "online"} == {1.0}
    tracks = TrackletBatch.join([decode(one.tracks) for one in got if one.tracks])
    assert sorted(tracks.cameras) == ["cam-1", "cam-2"]
    assert len(tracks) == 2
    assert all(one.cursor is None for one in got)


def test_a_stream_that_is_not_there_is_a_state_and_no_end() -> None:
    clock = SystemClock()
    source = open_source(
        {"cameras": [{"device": "cam-1", "url": "rtsp://127.0.0.1:9/none"}]}, clock, ("gw-1",)
    )
    first = next(source.batches(None))
    clock.stop()
    assert [(q, v) for _, _, q, _, v, _ in first.batch.rows()] == [("online", 0.0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({}, "cameras", id="none"),
        pytest.param({"cameras": []}, "length >= 1", id="empty"),
        pytest.param({"cameras": [{"device": "cam 1", "url": "x"}]}, "is no id", id="id"),
        pytest.param({"cameras": [{"device": "c"}]}, "either url or url_file", id="no-url"),
        pytest.param({"cameras": [{"device": "c", "url": "/no.mp4"}]}, "no clip", id="no-clip"),
        pytest.param(
            {"cameras": [{"device": "c", "url": "rtsp://a:b@h/1"}]}, "holds a password", id="secret"
        ),
        pytest.param(
            {"cameras": [{"device": "c", "url_file": "/none"}]}, "can't be read", id="url-file"
        ),
        pytest.param(
            {"cameras": [{"device": "c", "url": "rtsp://h/1"}] * 2}, "the same device", id="twice"
        ),
        pytest.param(
            {"cameras": [{"device": "c", "url": "rtsp://h/1", "camera_file": "/none.toml"}]},
            "/none.toml",
            id="camera-file",
        ),
        pytest.param(
            {"cameras": [{"device": "c", "url": "rtsp://h/1"}], "speed": 2}, "speed", id="unknown"
        ),
    ],
)
def test_a_bad_configuration_is_one_clear_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said) as error:
        open_kind("camera", options, clock=SystemClock(), gateways=("gw-1",))
    assert "\n" not in str(error.value)


def test_paths_of_cameras_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "cam.toml").write_text(CAMERA_FILE)
    text = GOOD[: GOOD.index("[source]")] + (
        '[source]\nkind = "camera"\n[[source.cameras]]\ndevice = "cam-1"\nurl = "a.mp4"\n'
        'camera_file = "cam.toml"\n'
    )
    settings = load(written(tmp_path, text))
    (camera,) = settings.source_options()["cameras"]
    assert camera == {
        "device": "cam-1",
        "url": str(tmp_path / "a.mp4"),
        "camera_file": str(tmp_path / "cam.toml"),
    }
