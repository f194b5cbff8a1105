"""A fire is heard whoever says it, whenever and wherever it was; a wrong clock stalls nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts import topics
from contracts.alerts import timestamp
from tests.torture.account import changes, replayed
from tests.torture.district import FIRE_RULE, FOR_MS, TIMED_RULE, head, pump
from tests.torture.packs import Gateway, Row, fire, now_ms, send
from tests.torture.processes import until
from tests.torture.scene import scene

DAY_MS = 86_400_000
YEAR_2099 = 4_070_908_800_000
UNKNOWN_GRID = "340111002001777"

pytestmark = pytest.mark.broker


def by_device(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {event["data"]["device"]: event for event in events}
    assert len(found) == len(events), "one fire, one alert"
    return found


def odd_fires() -> tuple[dict[str, int], list[tuple[bytes, bytes]]]:
    """Device -> when it says that it rang; and the messages."""
    one, two, other = Gateway("gw-1"), Gateway("gw-2"), Gateway("gw-1", boot=2)
    now = now_ms()
    said = {
        head("gw-1", 1): now - DAY_MS,
        head("gw-1", 2): 0,
        head("gw-1", 3): YEAR_2099,
        head("gw-1", 4): now,
        "no-such-head": now,
        "void-head": now,
        head("gw-1", 5): 86_400_000,
        head("gw-1", 6): YEAR_2099,
    }
    messages = [
        one.pack([fire(head("gw-1", 1), said[head("gw-1", 1)])], wall_ms=now - DAY_MS + 400),
        one.pack([fire(head("gw-1", 2), said[head("gw-1", 2)])]),
        one.pack([fire(head("gw-1", 3), said[head("gw-1", 3)])]),
        two.pack([fire(head("gw-1", 4), said[head("gw-1", 4)])]),
        two.pack([fire("no-such-head", now)]),
        one.pack([fire("void-head", now)]),
        # The gateway's whole clock is wrong, and it says so consistently.
        other.pack([fire(head("gw-1", 5), 86_400_000)], wall_ms=86_400_400),
        other.pack([fire(head("gw-1", 6), YEAR_2099)], wall_ms=YEAR_2099 + 400),
    ]
    body = {"deviceId": "own-head", "family": "smoke", "ts": now, "metrics": {"fire": 1}}
    topic = topics.foreign(UNKNOWN_GRID, "smoke", "own-head", "evt")
    said["own-head"] = now
    return said, [*messages, (topic.encode(), json.dumps(body).encode())]


def test_a_fire_raises_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    with scene(tmp_path, ("gw-1", "gw-2")) as there:
        # A gateway is late or not by a time mark. The log begins with rules, settings and registry.
        until(lambda: there.server.health()["position"] > 5, 20, "a time mark")
        began = timestamp(now_ms())
        said, messages = odd_fires()
        send(there.broker.port, messages)
        receiver = there.receiver
        until(lambda: len(receiver.raised(FIRE_RULE)) >= len(said), 30, "all fires are delivered")
        until(there.server.drained, 30, "the server is drained")
        assert there.server.stop() == 0
        receiver.finish()
        found = by_device(receiver.raised(FIRE_RULE))
        assert found.keys() == said.keys()
        for event in found.values():
            assert event["data"]["notify"]
            assert event["data"]["severity"] == 1
            assert event["data"]["timing"]["heard"] >= began
        check_annotations({d: event["data"] for d, event in found.items()}, said)
        again, _ = replayed(there.server.data, tmp_path)
        assert again == changes(receiver.events())


def check_annotations(found: dict[str, dict[str, Any]], said: dict[str, int]) -> None:
    told = {device: set(data["annotations"]) for device, data in found.items()}
    clock = {device: data["timing"]["clock"] for device, data in found.items()}
    # A day late, with a good clock: when it happened is believed.
    held = head("gw-1", 1)
    assert "late" in told[held]
    assert found[held]["timing"]["happened"] == timestamp(said[held])
    # Impossible times: placed at the time of the message, and said so.
    for n in (2, 3, 5, 6):
        device = head("gw-1", n)
        assert told[device] & {"clock_unknown", "clock_repaired"}, device
        assert clock[device] in ("unknown", "repaired")
        happened, heard = (found[device]["timing"][name] for name in ("happened", "heard"))
        assert happened[:4] == heard[:4], device
    assert "unverified_source" in told[head("gw-1", 4)]
    assert {"unregistered", "grid_unknown"} <= told["no-such-head"]
    assert told["void-head"] & {"grid_unknown"}
    assert "unverified_source" in told["own-head"]


def test_the_year_2099_stalls_nobody(tmp_path: Path) -> None:
    """While one gateway floods with times far ahead, another's timed rule fires at its time."""
    with scene(tmp_path, ("gw-1", "gw-2")) as there:
        wild, sound = Gateway("gw-1"), Gateway("gw-2")
        start = now_ms()
        onset = start + 500

        def low(ts_ms: int) -> Row:
            value = 0.05 if ts_ms >= onset else 0.3
            return (pump("gw-2", 0), "firewater", "static_pressure", ts_ms, value, 0)

        def ahead(ts_ms: int) -> Row:
            return (pump("gw-1", 0), "firewater", "static_pressure", ts_ms, 0.3, 0)

        seen = 0
        while not there.receiver.raised(TIMED_RULE):
            seen += 1
            assert now_ms() < start + 60_000, "the sound gateway's alert doesn't come"
            ts = start + seen * 250
            until(lambda ts=ts: now_ms() >= ts, 5, "the time of a reading")  # type: ignore[misc]
            messages = [
                wild.pack([ahead(YEAR_2099 + ts)]),
                wild.pack([ahead(YEAR_2099 + ts)], wall_ms=YEAR_2099 + ts),
                sound.pack([low(ts)]),
            ]
            send(there.broker.port, messages)
        (event,) = there.receiver.raised(TIMED_RULE)
        first_low = next(start + n * 250 for n in range(1, 99) if start + n * 250 >= onset)
        assert event["data"]["device"] == pump("gw-2", 0)
        assert event["data"]["onset"] == timestamp(first_low)
        assert event["time"] == timestamp(first_low + FOR_MS)
        assert event["data"]["annotations"] == []
        refused = there.server.metric("gridwarden_rejected_total", reason="future_timestamp")
        assert refused > 0
