"""A small district for dispatch tests: two grids, five devices, six rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.alerts import AlertEvent, encode_event
from contracts.directory import DeviceDirectory
from contracts.messages import OperatorCommand
from contracts.quantities import FAMILY_INDEX, QUANTITY_INDEX
from contracts.registry import Area, Column, DeviceTable, Grid, Registry
from contracts.rulebook import Level, RuleCard, Text
from contracts.transitions import COLUMNS, Change, Episode, TransitionBatch
from dispatch.lifecycle import Lifecycle

T0 = 1_772_323_200_000  # 2026-03-01T00:00:00Z
S = 1_000
MINUTE = 60 * S

GRID_A, GRID_B = "340111002003001", "340111002003002"
FIRE, PRESSURE, BATTERY, TRAPPED, HEAT, HEAT_LATCHED = range(6)
SILENT, WARN, ALARM = range(3)
SMOKE, HYDRANT, LIFT, HOMELESS, STRANGER = range(5)
DEVICES = ("sd-1", "fw-1", "el-1", "sd-nogrid", "sd-stranger")

CARDS = (
    RuleCard(
        id="smoke.fire",
        hash="f1",
        family="smoke",
        condition="fire",
        severity=1,
        title=Text("烟感火警", "Smoke alarm"),
        reason=Text(
            "{place}：烟感 {device} 报火警。", "Smoke detector {device} reports fire at {place}."
        ),
        runbook=Text("立即核实。", "Verify at once."),
        standard="GB 20517-2025 5.11",
        safety=True,
        latched=True,
    ),
    RuleCard(
        id="firewater.pressure_low",
        hash="p1",
        family="firewater",
        condition="pressure_low",
        severity=2,
        title=Text("消火栓静压过低", "Hydrant static pressure low"),
        standard="GB 50974-2014 5.2.2",
        timed=True,
        for_ms=60_000,
        unit="MPa",
        condition_text="static_pressure < 0.07 MPa",
    ),
    RuleCard(
        id="smoke.battery_low",
        hash="b1",
        family="smoke",
        condition="battery_low",
        severity=4,
        title=Text("电池欠压", "Battery low"),
    ),
    RuleCard(
        id="elevator.trapped",
        hash="t1",
        family="elevator",
        condition="trapped",
        severity=1,
        title=Text("电梯困人", "Person trapped in lift"),
        safety=True,
        latched=True,
        timed=True,
        for_ms=120_000,
    ),
    *(
        RuleCard(
            id=f"smoke.{name}",
            hash=f"h{name}",
            family="smoke",
            condition=name,
            severity=1,
            title=Text("温度过高", "Too hot"),
            unit="degC",
            latched=latched,
            condition_text="warn: temperature > 55 degC; alarm: temperature > 70 degC",
            levels=(
                Level(name="missing", severity=3, silence_ms=900_000, timed=True),
                Level(name="warn", severity=3, for_ms=60_000, timed=True),
                Level(name="alarm", severity=1, condition_text="temperature > 70 degC"),
            ),
        )
        for name, latched in (("heat", False), ("heat_latched", True))
    ),
)


def directory() -> DeviceDirectory:
    families = ("smoke", "firewater", "elevator", "smoke")
    count = len(families)
    registry = Registry(
        areas={
            "340111": Area("340111", "district", "包河区"),
            "340111002": Area("340111002", "street", "常青街道"),
            "340111002003": Area("340111002003", "community", "竹西社区"),
        },
        grids=(
            Grid(GRID_A, "竹西一网格", "residential", valid_from_ms=T0 - 86_400_000),
            Grid(GRID_B, "竹西二网格", "residential"),
        ),
        devices=DeviceTable(
            ids=DEVICES[:count],
            family=np.array([FAMILY_INDEX[name] for name in families], np.int8),
            gateways=("gw-1",),
            gateway=np.zeros(count, np.int32),
            grid=np.array([0, 1, 0, -1], np.int32),
            lon=np.array([117.31, np.nan, 117.3, np.nan]),
            lat=np.array([31.79, np.nan, 31.8, np.nan]),
            attributes={
                "building": Column(np.array([0, -1, 0, -1], np.int32), ("3号楼",)),
                "floor": Column(np.array([0, -1, -1, -1], np.int32), ("12",)),
            },
        ),
    )
    found = DeviceDirectory(registry)
    found.intern_device(DEVICES[STRANGER], "smoke", 0)
    return found


def lifecycle(cards: Sequence[RuleCard] = CARDS) -> Lifecycle:
    return Lifecycle(cards, directory())


def change(
    what: Change,
    at_ms: int = T0,
    *,
    rule: int = FIRE,
    device: int = SMOKE,
    onset_ms: int | None = None,
    lane: Episode = Episode.LIVE,
    value: float = 1.0,
    threshold: float = float("nan"),
    quantity: str = "fire",
    flags: int = 0,
    heard_ms: int | None = None,
    position: int = 1,
    severity: int = 0,
    level: int = -1,
    waited_ms: int = 0,
    flapping_ms: int = 0,
) -> dict[str, float]:
    """One row of a `TransitionBatch`; the onset defaults to the time of the change."""
    return {
        "rule": rule,
        "device": device,
        "change": what,
        "lane": lane,
        "at_ms": at_ms,
        "onset_ms": at_ms if onset_ms is None else onset_ms,
        "value": value,
        "threshold": threshold,
        "quantity": QUANTITY_INDEX[quantity] if quantity else -1,
        "decided_ms": at_ms,
        "flags": flags,
        "heard_ms": at_ms + 200 if heard_ms is None else heard_ms,
        "position": position,
        "row": 0,
        "severity": severity,
        "level": level,
        "waited_ms": waited_ms,
        "flapping_ms": flapping_ms,
    }


def stands(level: int) -> dict[str, int]:
    """Columns of a change that leaves the alert of a rule with levels there."""
    return {"level": level, "severity": CARDS[HEAT].levels[level].severity}


def batch(*rows: dict[str, float]) -> TransitionBatch:
    return TransitionBatch(
        *(np.array([row[name] for row in rows], dtype) for name, dtype in COLUMNS.items())
    )


def fire(device: int = SMOKE, at_ms: int = T0) -> AlertEvent:
    """One raised fire alert."""
    return lifecycle().apply(batch(change(Change.RAISED, at_ms, device=device)))[0]


def raised_and_cleared() -> list[AlertEvent]:
    """Both events of one alert that isn't latched."""
    rows = (
        change(Change.RAISED, T0, rule=BATTERY),
        change(Change.CLEARED, T0 + S, rule=BATTERY),
    )
    return lifecycle().apply(batch(*rows))


def flood(count: int, *, rule: int = BATTERY) -> list[AlertEvent]:
    """`count` raised alerts, each of its own onset."""
    events = []
    for n in range(count):
        events += lifecycle().apply(batch(change(Change.RAISED, T0 + n * S, rule=rule)))
    return events


def order(action: str, alert: str, *, command: str = "c1", **more: str) -> OperatorCommand:
    return OperatorCommand(id=command, action=action, alert=alert, at_ms=T0, **more)  # type: ignore[arg-type]


def told(event: AlertEvent) -> tuple[str, str, str, int]:
    """(phase, change, state, revision) of an event."""
    data = event.data
    return (event.type.rsplit(".", 1)[1], data["change"], data["state"], data["revision"])


def as_bytes(events: Sequence[AlertEvent]) -> list[bytes]:
    return [encode_event(event) for event in events]
