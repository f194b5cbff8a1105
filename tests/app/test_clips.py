"""A clip is fetched through a broker, by the reference that an alert bears, and only then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import broker as brokers
from app.cli.root import build
from app.main import _run as run_verb
from contracts.clips import PART_BYTES, reference
from edge.clip_desk import ClipDesk
from edge.clip_folder import ClipFolder
from edge.clock import SystemClock
from edge.settings import BrokerSettings
from tests.app.running import until
from tests.app.test_camera_live import REGISTRY

AT_MS = 1_767_225_600_000
CLIP = bytes(range(256)) * (PART_BYTES * 5 // 512)


def call(*arguments: str) -> int:
    try:
        return run_verb(build("clip"), ["clip", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


AHEAD_MS = 3_600_000


class Ahead(SystemClock):
    """The clock of a gateway that has no time server: an hour ahead."""

    def wall_ms(self) -> int:
        return super().wall_ms() + AHEAD_MS


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway with one clip behind a broker."""
    folder = tmp_path_factory.mktemp("gateway")
    broker = brokers.start("builtin", 0, folder / "broker")
    clips = ClipFolder(folder / "clips", limit_bytes=1 << 30, hours=1e6)
    clips.path.mkdir()
    half = clips.path / "cam-1.half"
    half.write_bytes(CLIP)
    clips.put(half, "cam-1", AT_MS - 4000, AT_MS + 4000)
    half.write_bytes(CLIP[::-1])
    clips.put(half, "cam-2", AT_MS - 4000 + AHEAD_MS, AT_MS + 4000 + AHEAD_MS)
    desk = ClipDesk(clips, "gw-1", BrokerSettings(host="127.0.0.1"), broker.port, Ahead())
    desk.start()
    yield broker.port
    desk.stop()
    broker.stop()


def config(folder: Path, port: int) -> str:
    for name, text in REGISTRY.items():
        (folder / "registry").mkdir(exist_ok=True)
        (folder / "registry" / name).write_text(text, encoding="utf-8")
    path = folder / "server.toml"
    path.write_text(f'registry = "registry"\n[mqtt]\nport = {port}\n')
    return str(path)


def test_a_clip_is_fetched_by_the_reference_of_an_alert(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clip.mp4"
    named = ["--config", config(tmp_path, port), "--out", str(out), "--json"]
    # The desk may still be on its way to the broker.
    until(
        lambda: call("fetch", reference("cam-1", AT_MS), "--wait", "2", *named) == 0, "the clip", 20
    )
    assert out.read_bytes() == CLIP
    told = json.loads(capsys.readouterr().out)
    assert (told["camera"], told["bytes"]) == ("cam-1", len(CLIP))
    assert told["start"] == "2025-12-31T23:59:56.000Z"
    assert call("list", "--gateway", "gw-1", "--config", named[1]) == 0
    assert "cam-1" in capsys.readouterr().out


def test_a_clip_of_a_gateway_with_a_wrong_clock_is_found(tmp_path: Path, port: int) -> None:
    out = tmp_path / "clip.mp4"
    asked = [reference("cam-2", AT_MS), "--gateway", "gw-1", "--wait", "2", "--out", str(out)]
    until(lambda: call("fetch", *asked, "--config", config(tmp_path, port)) == 0, "the clip", 10)
    assert out.read_bytes() == CLIP[::-1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param([reference("cam-1", AT_MS + 60_000)], "no clip of that moment", id="moment"),
        pytest.param([reference("cam-9", AT_MS)], "has no gateway in the registry", id="camera"),
        pytest.param(["cam-1"], "is no clip; give urn:gridwarden:clip", id="reference"),
        pytest.param(
            [reference("cam-1", AT_MS), "--gateway", "gw-2", "--wait", "0.3"], "no answer", id="off"
        ),
        pytest.param([reference("cam-1", AT_MS), "--port", "9"], "is it running?", id="broker"),
    ],
)
def test_what_isnt_there_is_one_line_and_status_2(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str], asked: list[str], said: str
) -> None:
    named = ["--config", config(tmp_path, port), "--out", str(tmp_path / "clip.mp4")]
    assert call("fetch", *named, *asked) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "clip.mp4").exists()
