"""Levels, flapping and old readings: from records of the log to alert events, over a restart."""

from __future__ import annotations

from datetime import datetime

from app.engine import Engine
from contracts.alerts import AlertEvent
from contracts.batch import ReadingBatch
from contracts.log import RecordKind
from contracts.pack import Pack, PackHeader, encode
from rules import compile_rules
from tests.app.test_groups import GATEWAYS, T0, Log, S, registry

BATTERY = """\
rules:
  - id: smoke.battery
    title: {zh: 电池电压低, en: Battery low}
    on: {family: smoke}
    levels:
      - {name: low, severity: 4, when: battery < 3.0 V, clear: battery > 3.1 V}
      - {name: empty, severity: 2, when: battery < 2.5 V, clear: battery > 2.6 V}
    missing: raise after 2h
    reason: {zh: "{device} 电池 {value} {unit}", en: "Battery of {device}: {value} {unit}"}
"""
TAMPER = """\
rules:
  - id: smoke.tamper
    title: {zh: 防拆, en: Tamper}
    on: {family: smoke}
    when: tamper != 0
    severity: 3
    flapping: {raises: 3, within: 10m, for: 5m}
    late: drop
"""
HOUR = 3600


class Told(Log):
    """A log under rules of one's own; a restart may come at any time."""

    def __init__(self, rules: str) -> None:
        super().__init__()
        self.rules = compile_rules({"a.yml": rules})
        self.engine = Engine(registry(), self.rules)

    def reads(self, at_s: int, quantity: str, value: float, heard_s: int | None = None) -> None:
        """Of sd-1, with a mark behind it."""
        gateway, heard_ms = GATEWAYS["sd-1"], T0 + (at_s if heard_s is None else heard_s) * S
        header = PackHeader(gateway, 1 << 32, self.position + 1, heard_ms, heard_ms - T0)
        batch = ReadingBatch.of([("sd-1", "smoke", quantity, T0 + at_s * S, value, 0)])
        self.record(heard_ms, RecordKind.PACK, gateway, encode(Pack(header, batch)))
        self.record(heard_ms + 1, RecordKind.MARK, "", b"")

    def restart(self) -> None:
        chunks = self.engine.snapshot()
        self.engine = Engine(registry(), self.rules)
        self.engine.restore(chunks)

    @property
    def mine(self) -> list[AlertEvent]:
        """Those of sd-1; others of its gateway are silent."""
        return [event for event in self.events if event.data["device"] == "sd-1"]

    def story(self) -> list[tuple[int, str, str, int, bool]]:
        """Second, change, level, severity and whether somebody is called."""
        return [
            (
                _second(event.time),
                event.data["change"],
                event.data["level_name"],
                event.data["severity"],
                event.data["notify"],
            )
            for event in self.mine
        ]


def _second(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() - T0 / S)


def test_an_alert_rises_and_falls_over_a_restart() -> None:
    log = Told(BATTERY)
    log.reads(0, "battery", 2.9)
    log.reads(60, "battery", 2.4)
    log.restart()
    log.reads(120, "battery", 2.7)
    log.mark(3 * HOUR)
    log.reads(3 * HOUR + 10, "battery", 3.2)

    assert log.story() == [
        (0, "raised", "low", 4, True),
        (60, "level", "empty", 2, True),
        (120, "level", "low", 4, False),
        (120 + 2 * HOUR, "unknown", "low", 4, False),
        (3 * HOUR + 10, "known", "low", 4, False),
        (3 * HOUR + 10, "cleared", "low", 4, False),
    ]
    assert len({event.subject for event in log.mine}) == 1
    assert [event.data["severity_worst"] for event in log.mine] == [4, 2, 2, 2, 2, 2]
    assert log.mine[2].data["reason"]["en"] == "Battery of sd-1: 2.7 V"


def test_silence_raises_and_a_breach_goes_on_from_there() -> None:
    log = Told(BATTERY)
    log.reads(0, "battery", 3.5)
    log.mark(3 * HOUR)
    log.reads(3 * HOUR + 10, "battery", 2.0)

    assert log.story() == [
        (2 * HOUR, "raised", "missing", 4, True),
        (3 * HOUR + 10, "level", "empty", 2, True),
    ]
    silent, found = log.mine
    assert "no data from device sd-1 for 120 min" in silent.data["reason"]["en"]
    assert silent.subject == found.subject


def test_ten_minutes_of_flapping() -> None:
    log = Told(TAMPER)
    for at_s in range(0, 600, 30):
        log.reads(at_s, "tamper", 0 if at_s % 60 else 1)
        if at_s == 300:
            log.restart()
    log.reads(600, "tamper", 1)
    log.mark(1000)
    log.reads(1001, "tamper", 0)

    assert [(at, change) for at, change, *_ in log.story()] == [
        (0, "raised"), (30, "cleared"), (60, "raised"), (90, "cleared"),
        (120, "raised"), (150, "cleared"), (900, "raised"), (1001, "cleared"),
    ]  # fmt: skip
    assert [event.data["flapping"] for event in log.events] == [False] * 4 + [True] * 4
    delays = [event.data["timing"]["on_delay_ms"] // S for event in log.events[::2]]
    assert delays == [0, 0, 0, 300]


def test_dropped_readings_are_counted_over_a_restart() -> None:
    log = Told(TAMPER)
    log.reads(1000, "tamper", 0)
    log.reads(5, "tamper", 1, heard_s=1010)
    log.restart()
    log.reads(6, "tamper", 1, heard_s=1020)

    assert log.events == []
    assert log.engine.rules.counts() == {"late_dropped smoke.tamper": 2}
