"""Records that must never stop the engine: it would stop at each of them at every restart."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from app.engine import Engine, Sources
from contracts.alerts import AlertEvent, encode_event
from contracts.batch import Flag, ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed
from contracts.pack import Pack, PackHeader, encode
from contracts.quantities import FAMILY_INDEX
from contracts.registry import DeviceTable, Registry
from ingest.admission import AdmissionSettings
from rules.ruleset import RuleSet
from tests.rules.scene import ruleset

T0 = 1_780_000_000_000
CURRENT = (
    "id: efire.leak, on: {family: efire}, when: residual_current > %d mA, "
    "clear: residual_current < 10 mA"
)


def registry(*devices: tuple[str, str]) -> Registry:
    """(device, family), all of gateway g1."""
    count = len(devices)
    table = DeviceTable(
        ids=tuple(name for name, _ in devices),
        family=np.array([FAMILY_INDEX[family] for _, family in devices], np.int8),
        gateways=("g1",),
        gateway=np.zeros(count, np.int32),
        grid=np.full(count, -1, np.int32),
        lon=np.full(count, np.nan),
        lat=np.full(count, np.nan),
    )
    return Registry(devices=table, hash=repr(devices))


def engine(rules: dict[str, RuleSet], registries: dict[str, Registry]) -> Engine:
    sources = Sources(
        rules=rules.__getitem__,
        registry=registries.__getitem__,
        settings={"": AdmissionSettings()}.__getitem__,
    )
    return Engine(Registry(), RuleSet.empty(), sources=sources)


def installed(what: str, name: str) -> LogRecord:
    told = Installed(what=what, hash=name, active_ms=T0)  # type: ignore[arg-type]
    return LogRecord(RecordKind.INSTALLED, T0, "", msgspec.json.encode(told))


def reading(
    device: str, family: str, quantity: str, value: float, gateway: str = "g1"
) -> LogRecord:
    batch = ReadingBatch.of([(device, family, quantity, T0, value, int(Flag.ALARM))])
    data = encode(Pack(PackHeader(gateway, 1 << 32, 1, T0, 0), batch))
    return LogRecord(RecordKind.PACK, T0, gateway, data)


def played(engine: Engine, *records: LogRecord) -> list[AlertEvent]:
    placed = [replace(record, position=place) for place, record in enumerate(records, 1)]
    events = engine.step(placed).events
    for event in events:
        encode_event(event)
    return events


def test_new_rules_for_an_alert_whose_device_has_left_the_registry() -> None:
    at = engine(
        {"r1": ruleset(CURRENT % 300), "r2": ruleset(CURRENT % 400)},
        {"g1": registry(("e1", "efire"), ("e2", "efire")), "g2": registry(("e2", "efire"))},
    )
    events = played(
        at,
        installed("rules", "r1"),
        installed("registry", "g1"),
        reading("e1", "efire", "residual_current", 500.0),
        installed("registry", "g2"),
        installed("rules", "r2"),
    )
    assert [event.data["change"] for event in events] == ["raised", "rule_changed"]
    assert events[-1].data["state"] == "cleared"


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_endless_fire_of_a_wrong_gateway_rings_as_a_bad_reading(value: float) -> None:
    fire = "id: smoke.fire, class: safety, on: {family: smoke}, when: fire != 0, latched: true"
    at = engine({"r1": ruleset(fire)}, {"g1": registry(("s1", "smoke"))})
    [event] = played(
        at,
        installed("rules", "r1"),
        installed("registry", "g1"),
        reading("s1", "smoke", "fire", value, gateway="g9"),
    )
    assert event.data["samples"][0]["value"] == 1.0
    assert {"unverified_source", "quality_bad"} <= set(event.data["annotations"])
