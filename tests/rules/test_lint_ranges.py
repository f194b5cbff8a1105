"""Limits that a quantity never reaches or never leaves."""

from __future__ import annotations

import math

import pytest

from contracts.quantities import QUANTITIES
from contracts.units import UNITS
from rules.lint import lint
from rules.lint_ranges import OF_QUANTITY, OF_UNIT, USUAL, range_of, sensor_findings
from tests.rules.scene import Device, directory_of, ruleset

FIT = "look at the limit and its unit"


def found(when: str, family: str = "firewater", more: str = "") -> list[str]:
    rules = ruleset(f'id: {family}.x, on: {{family: {family}}}, when: "{when}"{more}')
    return [f"{f.path.split('.', 2)[2]}: {f.problem}" for f in lint(rules) if "so:" in f.problem
            or "far from" in f.problem]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "want"),
    [
        ("temperature < -300 degC",
         "when: temperature < -300 degC is never so: temperature is -273.15 degC or more"),
        ("temperature >= 0 K",
         "when: temperature >= -273.15 degC is always so: temperature is -273.15 degC or more"),
        ("humidity > 100 %RH", "when: humidity > 100 %RH is never so: humidity is 0 to 100 %RH"),
        ("humidity >= 100 %RH", None),
        ("humidity < 101 %RH", "when: humidity < 101 %RH is always so: humidity is 0 to 100 %RH"),
        ("avg(humidity, 5m) > 120 %RH",
         "when: avg(humidity, 5m) > 120 %RH is never so: humidity is 0 to 100 %RH"),
        ("delta(temperature, 5m) < -300 K", None),
        ("static_pressure < 70 MPa",
         "when: static_pressure < 70 MPa is far from what such sensors say: -0.1 to 4 MPa"),
        ("static_pressure < -200 kPa",
         "when: static_pressure < -0.2 MPa is never so: static_pressure is -0.101325 MPa or more"),
        ("static_pressure < 70 kPa", None),
        ("battery > 100 V", "when: battery > 100 V is far from what such sensors say: 0 to 60 V"),
        ("pump_running == -1",
         "when: pump_running == -1 is never so: pump_running is 0 or more"),
        ("pump_running in [1, 2]", None),
        ("pump_fault != 0", None),
    ],
)  # fmt: skip
def test_a_limit_outside_of_what_can_be(when: str, want: str | None) -> None:
    assert found(when)[:1] == ([] if want is None else [want])


def test_in_clear_in_levels_in_groups_and_in_steps() -> None:
    assert found("humidity > 90 %RH", more=", clear: humidity < 0 %RH") == [
        "clear: humidity < 0 %RH is never so: humidity is 0 to 100 %RH"
    ]
    group = ", group: building"
    assert len(found("devices(humidity > 101 %RH) >= 2", more=group)) == 1
    said = found("online < 1", more="").copy()
    assert said == []
    levels = ruleset(
        "id: firewater.x, on: {family: firewater}, levels: ["
        "{name: warn, severity: 3, when: humidity > 90 %RH}, "
        "{name: alarm, severity: 2, when: humidity > 105 %RH}]"
    )
    paths = [f.path for f in lint(levels) if "is never so" in f.problem]
    assert paths == ["firewater.x.levels.alarm.when"]


@pytest.mark.parametrize("name", sorted({*OF_QUANTITY, *USUAL}))
def test_tables_name_what_exists_and_agree(name: str) -> None:
    known = {quantity.name: i for i, quantity in enumerate(QUANTITIES)}
    low, high = range_of(known[name])
    assert low <= USUAL.get(name, (low, high))[0] or math.isinf(low)
    assert low < high


def test_units_of_the_table_are_canonical() -> None:
    assert set(OF_UNIT) <= set(UNITS)
    assert set(OF_UNIT) <= {quantity.unit for quantity in QUANTITIES}


SENSORS = [
    Device("firewater", 0, {"point": "worst", "static_pressure_high": "1.6"}),
    Device("firewater", 0, {"point": "worst", "static_pressure_high": "600 kPa"}),
    Device("firewater", 0, {"point": "pump", "static_pressure_high": "0.4 MPa"}),
    Device("firewater", 0, {"point": "worst"}),
]


@pytest.mark.parametrize(
    ("when", "want"),
    [
        ("static_pressure > 1.2 MPa", "1 of the 3 devices that it watches can't say "),
        ("static_pressure > 0.6 MPa", "1 of the 3 devices that it watches can't say "),
        ("static_pressure >= 0.6 MPa", None),
        ("static_pressure > 0.5 MPa", None),
        ("static_pressure < 0.07 MPa", None),
    ],
)
def test_sensors_that_end_before_the_limit(when: str, want: str | None) -> None:
    rules = ruleset(f'id: firewater.x, on: {{family: firewater, point: worst}}, when: "{when}"')
    said = [one.problem for one in sensor_findings(rules, directory_of(SENSORS).registry)]
    assert [one[: len(want or "")] for one in said] == ([] if want is None else [want])
