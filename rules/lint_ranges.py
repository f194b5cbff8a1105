"""Findings on limits that a quantity never reaches, or never leaves: what physics, such sensors or
the registry say of its range. Mostly a unit mixed up: 70 MPa for 70 kPa.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITIES, Kind
from contracts.registry import Registry
from rules.expr.attributes import amount
from rules.expr.limits import Limit, limits_of
from rules.expr.plan import (
    AttributeNumber,
    Constant,
    Plan,
    Reading,
    all_of,
    predicates_of,
    show,
)
from rules.expr.window import Window
from rules.finding import Finding
from rules.members import LIVE, NOT_WATCHED, Members
from rules.ruleset import Rule, RuleSet

Range = tuple[float, float]
Floats = NDArray[np.float64]
_Said = Iterator[tuple[str, str, str]]

_ANY = (-math.inf, math.inf)
_SHARE = (0.0, 1.0)

OF_UNIT: dict[str, Range] = {
    "degC": (-273.15, math.inf),
    "%RH": (0.0, 100.0),
    "%LEL": (0.0, math.inf),
    "ppm": (0.0, 1e6),
    # Above the air around it: nothing is emptier than a vacuum.
    "MPa": (-0.101325, math.inf),
    "m3": (0.0, math.inf),
    "min": (0.0, math.inf),
    "s": (0.0, math.inf),
}
"""What can be at all, in the canonical unit."""

OF_QUANTITY: dict[str, Range] = {
    "falling_object.score": _SHARE,
    "inactivity.p": _SHARE,
    "outbox_fill": _SHARE,
    "packs_missing": (0.0, math.inf),
    "battery": (0.0, math.inf),
    "residual_current": (0.0, math.inf),
    "tank_level": (0.0, math.inf),
}

USUAL: dict[str, Range] = {
    "static_pressure": (-0.1, 4.0),
    "dynamic_pressure": (-0.1, 4.0),
    "tank_level": (0.0, 50.0),
    "temperature": (-60.0, 300.0),
    "cable_temperature": (-60.0, 300.0),
    "port_temperature": (-60.0, 300.0),
    "residual_current": (0.0, 30_000.0),
    "battery": (0.0, 60.0),
    "voltage": (-1_000.0, 1_000.0),
    "rssi": (-160.0, 30.0),
    "co2": (0.0, 50_000.0),
    "port_power": (0.0, 20_000.0),
}
"""Proposals: wider than sensors of that kind in a district, narrower than a unit mixed up."""

_KEEPS_RANGE = ("avg", "min", "max", "last", "quantile")
_NUMBERED = (Kind.SIGNAL, Kind.CODE, Kind.STATE, Kind.COUNTER)


def range_of(quantity: int) -> Range:
    """What is possible, by index into `QUANTITIES`."""
    known = QUANTITIES[quantity]
    if known.name in OF_QUANTITY:
        return OF_QUANTITY[known.name]
    if known.kind in _NUMBERED:
        return (0.0, math.inf)
    return OF_UNIT.get(known.unit, _ANY)


def range_findings(rule: Rule) -> _Said:
    """(path, problem, mend) of one machine row."""
    for path, reading, limit in _limits(rule):
        name, text = QUANTITIES[reading.base].name, _written(reading, limit)
        possible, usual = range_of(reading.base), USUAL.get(QUANTITIES[reading.base].name, _ANY)
        never = _never(limit, possible)
        if never is not None:
            word = "never" if never else "always"
            problem = f"{text} is {word} so: {name} is {_told(reading, possible)}"
            yield path, problem, "look at the limit and its unit"
        elif not usual[0] <= _number(limit) <= usual[1]:
            problem = f"{text} is far from what such sensors say: {_told(reading, usual)}"
            yield path, problem, "look at the unit (the range is a proposal)"


def sensor_findings(ruleset: RuleSet, registry: Registry) -> Iterator[Finding]:
    """Devices whose sensor, by the registry, ends before the limit: `static_pressure_high` and
    `static_pressure_low`, with or without a unit.
    """
    members = Members(ruleset, DeviceDirectory(registry))
    for number, rule in enumerate(ruleset.rules):
        for path, reading, limit in _limits(rule):
            low, high = (_column(registry, reading.base, end) for end in ("low", "high"))
            if low is None and high is None:
                continue
            rows = members.rows(members.family_of(number))
            watched = rows[members.slots(LIVE, number)[: len(rows)] != NOT_WATCHED]
            ends = [_ANY[i] if one is None else one[watched] for i, one in enumerate((low, high))]
            never = _beyond(limit, *(np.broadcast_to(end, len(watched)) for end in ends))
            count = int(never.sum())
            if count:
                text = _written(reading, limit)
                problem = f"{count} of the {len(watched)} devices that it watches can't say "
                problem += f"{text}: their sensors end before"
                mend = "select others in on:, or correct the range in the registry"
                yield Finding(rule.file, rule.line, f"{rule.id}.{path}", problem, mend)


def _limits(rule: Rule) -> Iterator[tuple[str, Reading, Limit]]:
    plans = [("when", rule.when), *([("clear", rule.clear)] if rule.clear is not None else [])]
    for path, plan in plans:
        whole = (plan, *predicates_of(plan)) if rule.group is None else predicates_of(plan)
        for part in whole:
            readings = _readings(part)
            for quantity, limits in limits_of(part).items():
                for limit in limits:
                    if isinstance(limit.number, Constant) and quantity in readings:
                        yield path, readings[quantity], limit


def _readings(plan: Plan) -> dict[int, Reading]:
    """What has the range of its quantity, by index."""
    return {
        part.quantity: part
        for part in all_of(plan)
        if isinstance(part, Reading)
        and (
            part.derived is None
            or (isinstance(part.derived, Window) and part.derived.function in _KEEPS_RANGE)
        )
    }


def _number(limit: Limit) -> float:
    return limit.number.value if isinstance(limit.number, Constant) else math.nan


def _never(limit: Limit, possible: Range) -> bool | None:
    """True: no possible value fits; False: every one does; None: neither."""
    number, (low, high) = _number(limit), possible
    if limit.operator in ("==", "!="):
        outside = not low <= number <= high
        return (limit.operator == "==") if outside else None
    if limit.operator in (">", ">="):
        if number > high or (limit.operator == ">" and number == high):
            return True
        always = number < low or (limit.operator == ">=" and number == low)
        return False if always else None
    if number < low or (limit.operator == "<" and number == low):
        return True
    always = number > high or (limit.operator == "<=" and number == high)
    return False if always else None


def _beyond(limit: Limit, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """bool per device: whether its sensor can't say so. NaN = an end that isn't known."""
    number = _number(limit)
    if limit.operator in (">", ">="):
        return np.asarray(high < number if limit.operator == ">=" else high <= number)
    if limit.operator in ("<", "<="):
        return np.asarray(low > number if limit.operator == "<=" else low >= number)
    return np.zeros(len(low), np.bool_)


def _column(registry: Registry, quantity: int, end: str) -> Floats | None:
    """float64 per device, NaN = not said; None = the registry has no such attribute."""
    known = QUANTITIES[quantity]
    column = registry.devices.attributes.get(f"{known.name}_{end}")
    if column is None:
        return None
    unit = known.unit
    plan = AttributeNumber(f"{known.name}_{end}", unit, unit, absolute=unit in ("degC", "dBm"))
    said = np.array([*(amount(value, plan) for value in column.values), math.nan])
    return np.asarray(said[column.codes])


def _written(reading: Reading, limit: Limit) -> str:
    number = limit.number
    return f"{reading.name} {limit.operator} {show(number)}"


def _told(reading: Reading, span: Range) -> str:
    unit = "" if reading.unit == "1" else f" {reading.unit}"
    if math.isinf(span[1]):
        return f"{span[0]:g}{unit} or more"
    return f"{span[0]:g} to {span[1]:g}{unit}"
