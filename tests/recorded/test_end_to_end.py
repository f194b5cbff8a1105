"""Recorded input on the real path: outbox, MQTT, log, rules, dispatch, webhook; then replayed.

`EXPECTED.md` says what must come out and why, written down before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.recorded.real_path import cut_off, rig
from tests.recorded.recordings import (
    DEVICES,
    EXPECTED,
    GATEWAYS,
    NAMES,
    REGISTRY,
    place_mapping,
    place_registry,
)
from tests.torture.account import logged

GREATEST_IDLE_MS = 600_000
"""Of a server's settings: a gateway may pause for so long before time moves on without it."""

pytestmark = [pytest.mark.recorded, pytest.mark.broker, pytest.mark.timeout(300)]

Rows = list[tuple[str, int, int, str, bool, bool]]
"""(rule, onset, time of the change, phase, late, notify); ms from the first reading."""


@pytest.fixture
def ready(require_tool: Callable[[str], str], recorded_data: Path) -> Path:
    """The recorded data, once the broker is known to be there."""
    require_tool("mosquitto")
    return recorded_data


def wanted() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return told


def expected(episodes: dict[str, list[dict[str, Any]]], *, late: bool, rings: bool) -> Rows:
    rows = []
    for rule, listed in episodes.items():
        for one in listed:
            onset_ms = one["onset_ms"]
            rows.append((rule, onset_ms, one["raised_ms"], "raised", late, rings))
            if one["cleared_ms"] is not None:
                rows.append((rule, onset_ms, one["cleared_ms"], "cleared", late, False))
    return sorted(rows)


def changes(events: list[dict[str, Any]], device: str, first_ms: int) -> Rows:
    """The raises and clearings of a device."""
    rows = []
    for event in events:
        data, phase = event["data"], event["type"].rsplit(".", 1)[1]
        if data["device"] == device and phase in ("raised", "cleared"):
            late = data["timing"]["late"]
            assert late == ("late" in data["annotations"])
            assert data["onsets"] == 1
            times = unix_ms(data["onset"]) - first_ms, unix_ms(event["time"]) - first_ms
            rows.append((data["rule"]["id"], *times, phase, late, data["notify"]))
    return sorted(rows)


def unix_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def of_others(events: list[dict[str, Any]], devices: set[str]) -> set[tuple[str, str]]:
    """(rule, device) of alerts that aren't about these devices."""
    return {
        (event["data"]["rule"]["id"], event["data"]["device"])
        for event in events
        if event["data"]["device"] not in devices
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_comes_out_as_its_alerts(name: str, ready: Path, tmp_path: Path) -> None:
    told, gateway, device = wanted()[name], GATEWAYS[name], DEVICES[name]
    mapping = place_mapping(name, ready, tmp_path)
    with rig(tmp_path, place_registry(name, tmp_path)) as parts:
        first_ms = parts.play(gateway, mapping, told["span_ms"])
        run = parts.finish()
    safety = name == "smoke"
    episodes = {**told["shipped"], **told["test"]}
    assert changes(run.events, device, first_ms) == expected(episodes, late=True, rings=safety)
    assert of_others(run.events, {device}) <= {("gateway.offline", gateway)}
    assert {event["gridcode"][:9] for event in run.events} == {"340199009"}
    replayed, summary = run.replayed(tmp_path)
    assert run.received() == run.stored() == replayed
    assert sum(map(len, logged(parts.server.data))) == told["readings"]
    assert summary["counts"].get("duplicate", 0) == told["repeated"]
    assert not summary["rejected"]


def test_what_holds_at_the_end_of_a_recording_rings(ready: Path, tmp_path: Path) -> None:
    told = wanted()
    ringing = {
        "cable": told["cable"]["test"]["efire.test_room_warm"][0] | {"cleared_ms": None},
        "pump": told["pump"]["test"]["firewater.test_flow_low"][0],
        "smoke": told["smoke"]["shipped"]["smoke.fire"][0],
    }
    ends = {
        "cable": ringing["cable"]["onset_ms"],
        "pump": ringing["pump"]["cleared_ms"] + 60_000,
        "smoke": ringing["smoke"]["onset_ms"],
    }
    rules = {
        "cable": "efire.test_room_warm",
        "pump": "firewater.test_flow_low",
        "smoke": "smoke.fire",
    }
    with rig(tmp_path, REGISTRY, idle_ms=GREATEST_IDLE_MS) as parts:
        firsts = {}
        for name, end_ms in ends.items():
            short = cut_off(place_mapping(name, ready, tmp_path), tmp_path, end_ms)
            firsts[name] = parts.play(GATEWAYS[name], short, end_ms)
        run = parts.finish()
    for name, first_ms in firsts.items():
        rows = expected({rules[name]: [ringing[name]]}, late=False, rings=True)
        assert changes(run.events, DEVICES[name], first_ms) == rows
    gateways = {("gateway.offline", gateway) for gateway in GATEWAYS.values()}
    assert of_others(run.events, {DEVICES[name] for name in ends}) <= gateways
    replayed, _ = run.replayed(tmp_path)
    assert run.received() == run.stored() == replayed
