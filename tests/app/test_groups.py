"""A fire in several places of a building: from records of the log to one alert event."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from app.engine import Engine, Step
from contracts.alerts import AlertEvent, encode_event
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.messages import OperatorCommand
from contracts.pack import Pack, PackHeader, encode
from contracts.quantities import FAMILY_INDEX
from contracts.registry import Area, Column, DeviceTable, Grid, Registry
from rules import compile_rules

T0 = 1_780_000_000_000
S = 1_000
GRID = "340199001001001"
GOLDEN = Path(__file__).parent / "goldens" / "group-alert.json"

RULES = """\
rules:
  - id: smoke.fire_spreads
    title: {zh: 一栋多处火警, en: Fire at several points of a building}
    on: {family: smoke}
    group: building
    when: devices(fire != 0) >= 2
    severity: 1
    class: safety
    latched: true
    standard: proposal
    reason:
      zh: "{place} 有 {count} 个探测器报火警（不少于 {limit} 个即报）"
      en: "{value} detectors report fire at {place} (limit {limit})"
    runbook: {zh: 立即到场, en: Go there at once}
"""


def registry() -> Registry:
    """Three smoke detectors of one building behind two gateways, one of another."""
    names = ("sd-1", "sd-2", "sd-3", "sd-4")
    none = np.full(4, np.nan)
    return Registry(
        areas={
            code: Area(code, level, name)  # type: ignore[arg-type]
            for code, level, name in [
                ("340199", "district", "District"),
                ("340199001", "street", "Street"),
                ("340199001001", "community", "Community"),
            ]
        },
        grids=(Grid(GRID, "Grid one", "residential"),),
        devices=DeviceTable(
            ids=names,
            family=np.full(4, FAMILY_INDEX["smoke"], np.int8),
            gateways=("gw-1", "gw-2"),
            gateway=np.array([0, 1, 0, 0], np.int32),
            grid=np.zeros(4, np.int32),
            lon=none,
            lat=none,
            attributes={
                "building": Column(np.array([0, 0, 0, 1], np.int32), ("3", "4")),
                "unit": Column(np.array([0, 1, 1, 0], np.int32), ("1", "2")),
            },
        ),
        hash="r1",
    )


GATEWAYS = {"sd-1": "gw-1", "sd-2": "gw-2", "sd-3": "gw-1", "sd-4": "gw-1"}


class Log:
    """Records as they are accepted, and what the engine makes of each."""

    def __init__(self) -> None:
        self.engine = Engine(registry(), compile_rules({"group.yml": RULES}))
        self.position = 0
        self.events: list[AlertEvent] = []

    def record(self, at_ms: int, kind: RecordKind, source: str, payload: bytes) -> None:
        self.position += 1
        step: Step = self.engine.step([LogRecord(kind, at_ms, source, payload, self.position)])
        assert not step.rejects
        self.events += step.events

    def says(self, at_s: int, device: str, fire: int) -> None:
        """By way of its gateway."""
        gateway, at_ms = GATEWAYS[device], T0 + at_s * S
        header = PackHeader(gateway, 1 << 32, self.position + 1, at_ms, at_s * S)
        batch = ReadingBatch.of([(device, "smoke", "fire", at_ms, float(fire), 0)])
        self.record(at_ms, RecordKind.PACK, gateway, encode(Pack(header, batch)))

    def mark(self, at_s: int) -> None:
        self.record(T0 + at_s * S, RecordKind.MARK, "", b"")

    def command(self, at_s: int, action: str, alert: str) -> None:
        told = OperatorCommand(
            id=f"desk:{at_s}",
            action=action,  # type: ignore[arg-type]
            alert=alert,
            at_ms=T0 + at_s * S,
            by="desk",
        )
        self.record(T0 + at_s * S, RecordKind.COMMAND, "", msgspec.json.encode(told))


def burning() -> Log:
    log = Log()
    log.mark(0)
    log.says(10, "sd-1", 1)
    log.says(11, "sd-4", 1)
    log.mark(30)
    log.says(31, "sd-2", 1)
    log.mark(60)
    return log


def changes(log: Log) -> list[tuple[str, str, list[str]]]:
    return [
        (event.data["change"], event.data["state"], event.data["group"]["devices"])
        for event in log.events
    ]


def test_the_alert_names_the_building_and_its_devices() -> None:
    (event,) = burning().events

    got = msgspec.json.format(encode_event(event)) + b"\n"
    assert got == GOLDEN.read_bytes()
    assert event.data["group"] == {
        "id": f"group:building:{GRID}/3",
        "kind": "building",
        "size": 3,
        "breached": 2,
        "lost": 0,
        "devices": ["sd-1", "sd-2"],
    }
    assert event.data["place"]["building"] == "3"
    assert event.data["place"]["unit"] == ""
    assert event.data["reason"]["en"].startswith("2 detectors report fire at building 3")


def test_it_is_latched_and_a_reset_lets_it_ring_anew() -> None:
    log = burning()
    alert = log.events[0].subject

    log.says(70, "sd-1", 0)
    log.mark(100)
    log.command(101, "reset", alert)
    log.says(110, "sd-3", 1)
    log.mark(140)

    assert changes(log) == [
        ("raised", "active", ["sd-1", "sd-2"]),
        ("latched", "latched", ["sd-2"]),
        ("reset", "cleared", ["sd-2"]),
        ("raised", "active", ["sd-2", "sd-3"]),
    ]


def test_a_restart_in_between_changes_nothing() -> None:
    log = burning()
    chunks = log.engine.snapshot()
    log.engine = Engine(registry(), compile_rules({"group.yml": RULES}))
    log.engine.restore(chunks)

    log.says(70, "sd-1", 0)
    log.says(71, "sd-1", 1)
    log.mark(100)

    assert [change for change, _, _ in changes(log)] == ["raised", "latched", "again"]
