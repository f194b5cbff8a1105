"""The connection of a gateway is cut for long: nothing is lost, and time is told honestly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from contracts import telemetry
from contracts.batch import Flag, ReadingBatch
from contracts.log import RecordKind
from tests.torture import results
from tests.torture.account import changes, compare, gaps, logged, records, replayed
from tests.torture.district import FIRE_RULE, TIMED_RULE, head, pump
from tests.torture.processes import until
from tests.torture.proxy import Proxy
from tests.torture.scene import scene

GATEWAY = "gw-1"
WATCH_RULE = "firewater.torture_watch"
WATCH = f"""  - id: {WATCH_RULE}
    title: {{zh: 测试：温度高, en: "Test: warm"}}
    on: {{family: firewater}}
    when: temperature > 50 degC
    severity: 2
    missing: unknown after 3s
"""

pytestmark = pytest.mark.broker


def write(
    path: Path, start_ms: int, seconds: float, out_from: float, out_to: float
) -> ReadingBatch:
    """Ten readings a second of two pumps. One is warm all the time; the other's pressure is low
    for 3 s, within the time of the outage. One head rings before that, also within it."""
    rows: list[tuple[str, str, str, int, float, int]] = []
    rings, falls = out_from + (out_to - out_from) / 4, out_from + (out_to - out_from) / 2
    for tick in range(int(seconds * 10)):
        at, ts = tick / 10, start_ms + tick * 100
        low = falls <= at < falls + 3
        rows.append((pump(GATEWAY, 0), "firewater", "temperature", ts, 60 + tick * 1e-3, 0))
        pressure = (0.05 if low else 0.3) + tick * 1e-6
        rows.append((pump(GATEWAY, 1), "firewater", "static_pressure", ts + 1, pressure, 0))
    ring = (head(GATEWAY, 0), "smoke", "fire", start_ms + int(rings * 1000), 1.0, int(Flag.ALARM))
    rows = sorted([*rows, ring], key=lambda row: row[3])
    batch = ReadingBatch.of(rows)
    path.write_bytes(telemetry.encode_messages(batch))
    return batch


def live(events: list[dict[str, Any]], rule: str) -> list[str]:
    """Changes of a rule's one alert that is no history, in order of their revisions."""
    found = [
        event["data"]
        for event in events
        if event["data"]["rule"]["id"] == rule and "late" not in event["data"]["annotations"]
    ]
    assert len({data["alert"] for data in found}) == 1
    return [data["change"] for data in sorted(found, key=lambda data: data["revision"])]


def outage(folder: Path, *, lead_s: float, out_s: float, frozen: bool) -> dict[str, float]:
    seconds = lead_s + out_s + 3
    engine = "slack_ms = 500\nidle_ms = 1000"
    with scene(folder, (GATEWAY,), rules=WATCH, engine=engine) as there:
        proxy = Proxy(there.broker.port)
        there.stack.callback(proxy.close)
        start_ms = time.time_ns() // 1_000_000 + 1_500
        batch = write(folder / "in.jsonl", start_ms, seconds, lead_s, lead_s + out_s)
        agent = there.agent(GATEWAY, folder / "in.jsonl", broker_port=proxy.port)
        receiver = there.receiver
        until(lambda: receiver.raised(WATCH_RULE), 60, "the warm pump's alert")
        time.sleep(max(0.0, start_ms / 1000 + lead_s - time.time()))
        proxy.freeze() if frozen else proxy.cut()
        time.sleep(max(0.0, start_ms / 1000 + lead_s + out_s - time.time()))
        during = receiver.events()
        proxy.mend()
        until(lambda: agent.finished, 60 + out_s, "the agent is drained")
        until(lambda: receiver.raised(TIMED_RULE), 30, "the alert of the outage")
        until(there.server.drained, 30, "the server is drained")
        assert there.server.stop() == 0
        receiver.finish()
        account = compare([batch], logged(there.server.data))
        assert (account.lost, account.strange, account.doubled) == (0, 0, 0), account
        check_time(there.receiver.events(), during)
        ledger = gaps(there.server.data, GATEWAY)
        assert ledger["open"] == []
        assert ledger["lost"] == []
        kinds = [one.payload for one in records(there.server.data) if one.kind is RecordKind.STATUS]
        assert any(b'"offline"' in payload for payload in kinds), "the broker told of the cut"
        again, _ = replayed(there.server.data, folder, "--slack-ms", "500", "--idle-ms", "1000")
        assert again == changes(there.receiver.events())
        return {"seconds": out_s, "readings": account.found, "lost": account.lost}


def check_time(events: list[dict[str, Any]], during: list[dict[str, Any]]) -> None:
    # While it lasts, the open alert says that it doesn't know; nothing is cleared.
    assert live(during, WATCH_RULE) == ["raised", "unknown"]
    assert live(events, WATCH_RULE)[:3] == ["raised", "unknown", "known"]
    assert "cleared" not in live(events, WATCH_RULE)
    # What was missed is told as history and calls nobody; a fire calls all the same.
    (low,) = [
        event
        for event in events
        if event["data"]["rule"]["id"] == TIMED_RULE and event["data"]["change"] == "raised"
    ]
    assert "late" in low["data"]["annotations"]
    assert low["data"]["timing"]["late"]
    assert not low["data"]["notify"]
    (fire,) = [event for event in events if event["data"]["rule"]["id"] == FIRE_RULE]
    assert "late" in fire["data"]["annotations"]
    assert fire["data"]["timing"]["late"]
    assert fire["data"]["notify"]
    assert fire["data"]["timing"]["happened"] < fire["data"]["timing"]["heard"]


def test_a_cut_connection(tmp_path: Path) -> None:
    outage(tmp_path, lead_s=1, out_s=7, frozen=False)


@pytest.mark.torture
@pytest.mark.parametrize("frozen", [False, True], ids=["cut", "frozen"])
def test_a_cut_connection_for_minutes(tmp_path: Path, *, frozen: bool) -> None:
    told = outage(tmp_path, lead_s=3, out_s=120, frozen=frozen)
    results.keep("frozen" if frozen else "cut", told)
