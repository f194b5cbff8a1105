"""A recorded home on the real path: agent, MQTT, log, detector, rule, webhook; and a kill between.

Home d has no heartbeats. It is sent as the backlog of a gateway whose last reading is 25 h old, so
what must come of it is known beforehand: nothing is known of the home for more than 24 h, and
somebody is to ask, by phone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.homes import read_home
from contracts import pack
from contracts.log import RecordKind
from ingest import layout
from ingest.log import LogReader
from tests.recorded.real_path import rig
from tests.recorded.recordings import REGISTRY
from tests.torture.processes import until

pytestmark = [pytest.mark.recorded, pytest.mark.broker, pytest.mark.timeout(300)]

HOME, GATEWAY, DETECTOR = "rec-home-d", "rec-gw-home", "detector-inactivity"
GRID = "340199009001001"
SILENT_MS = 25 * 3_600_000
QUANTITY = {"motion": "motion", "contact": "contact", "pressure": "bed_pressure"}


@pytest.fixture
def home_d(require_tool: Callable[[str], str], recorded_data: Path) -> Path:
    require_tool("mosquitto")
    return recorded_data / "elderly" / "home-d"


def placed_registry(folder: Path, home: Path) -> Path:
    """The home as a device of the detector, and its sensors, which name it."""
    placed = folder / "registry"
    placed.mkdir()
    for name in ("areas.csv", "grids.csv"):
        (placed / name).write_bytes((REGISTRY / name).read_bytes())
    sensors = json.loads((home / "home.json").read_bytes())["sensors"]
    with (placed / "devices.csv").open("w", newline="", encoding="utf-8") as out:
        write = csv.writer(out).writerow
        write(["device", "family", "gateway", "grid", "home", "room", "role"])
        write([HOME, "elderly", DETECTOR, GRID, "", "", ""])
        for one in sensors:
            name = f"{HOME}-{one['sensor']}"
            write([name, "elderly", GATEWAY, GRID, HOME, one["room"], one["role"]])
    return placed


def placed_mapping(folder: Path, home: Path) -> Path:
    lines = [f'file = "{(home / "events.csv.gz").resolve()}"', "[time]", 'column = "time"']
    for kind, quantity in QUANTITY.items():
        lines += [
            "[[series]]", f'device = "{HOME}-{{sensor}}"', 'family = "elderly"',
            f'quantity = "{quantity}"', 'column = "value"', f'where = {{ kind = "{kind}" }}',
        ]  # fmt: skip
    path = folder / "home-d.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sequences(data: Path) -> list[int]:
    """Of the detector's packs in the log."""
    with closing(LogReader(layout.log_folder(data))) as log:
        return [
            pack.peek_header(record.payload)[0].seq
            for records in log.read(1)
            for record in records
            if record.kind is RecordKind.PACK and record.source == DETECTOR
        ]


def test_a_recorded_home_becomes_one_question_with_its_grid(home_d: Path, tmp_path: Path) -> None:
    recorded = read_home(home_d)
    span_ms = int(recorded.ts_ms[-1] - recorded.ts_ms[0])
    with rig(tmp_path, placed_registry(tmp_path, home_d)) as parts:
        parts.play(GATEWAY, placed_mapping(tmp_path, home_d), span_ms + SILENT_MS)

        def asked() -> bool:
            return bool(parts.receiver.raised("elderly.away_long", HOME))

        until(asked, 150, "somebody is to ask")
        parts.server.kill()
        before = sequences(parts.server.data)
        parts.server.start()
        parts.server.up()
        told = parts.finish()

        after = sequences(parts.server.data)
    alerts = [e for e in told.events if e["data"]["device"] == HOME]
    raised = [e for e in alerts if e["type"].endswith(".raised")]
    assert {e["data"]["rule"]["id"] for e in alerts} == {"elderly.away_long"}
    assert len({e["id"] for e in raised}) == 1
    assert {e["gridcode"] for e in alerts} == {GRID}
    data = raised[0]["data"]
    assert data["severity"] == 4
    assert 1440 < data["samples"][0]["value"] < 1530
    assert "电话" in data["reason"]["zh"]
    assert "phone" in data["reason"]["en"]
    assert before
    assert after[: len(before)] == before
    assert after == list(range(1, len(after) + 1))
    replayed, _ = told.replayed(tmp_path)
    assert told.stored() == replayed
