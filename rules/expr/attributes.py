"""`attr(name, unit)`: registry attributes as numbers.

Registries hold texts: `3.6`, `3.6 V`, `3600 mV`.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from contracts.units import UNITS
from rules.expr import syntax
from rules.expr.dimension import Dimension, constant_in, of_written
from rules.expr.plan import AttributeNumber
from rules.expr.syntax import ExpressionError
from rules.finding import suggest

_WRITTEN = re.compile(
    r"\s*([+-]?)([0-9]{1,15}(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?)\s*([^\s0-9+.-]\S*)?\s*"
)
_PATTERN = "write attr(rated_voltage, V), or attr(floors) for a plain number"


_BASE = {
    unit.dimension: Dimension(((unit.dimension, 1),), unit.scale, True, name)
    for name, unit in reversed(UNITS.items())
    if unit.scale == 1 and unit.offset == 0
}


def attribute_number(node: syntax.Call) -> tuple[AttributeNumber, Dimension]:
    """A call of `attr`. Raises `ExpressionError`."""
    if not 1 <= len(node.arguments) <= 2:
        raise ExpressionError("attr takes an attribute and its unit", node.at, _PATTERN)
    name = node.arguments[0]
    if not isinstance(name, syntax.Name | syntax.Quoted):
        raise ExpressionError("attr wants the name of an attribute", name.at, _PATTERN)
    text = name.name if isinstance(name, syntax.Name) else name.text
    unit = _unit(node.arguments[1]) if len(node.arguments) == 2 else "1"
    dimension = of_written(unit)
    if dimension is None:
        at = node.arguments[-1].at
        raise ExpressionError(f"unknown unit {unit!r}", at, suggest(unit, UNITS) or _PATTERN)
    if dimension.absolute:
        # What is computed with it has one zero: that of all quantities of the dimension.
        dimension = _BASE[UNITS[unit].dimension]
    return AttributeNumber(text, unit, dimension.unit, dimension.absolute), dimension


def _unit(node: syntax.Node) -> str:
    """`V`, `L/s`, `1`; a unit that isn't a word stands in quotes: "%RH"."""
    if isinstance(node, syntax.Name):
        return node.name
    if isinstance(node, syntax.Quoted):
        return node.text
    if isinstance(node, syntax.Number) and node.digits == "1" and not node.unit:
        return "1"
    if isinstance(node, syntax.Arithmetic) and node.operator == "/":
        return f"{_unit(node.left)}/{_unit(node.right)}"
    raise ExpressionError("attr wants a unit behind the attribute", node.at, _PATTERN)


def in_unit_of(plan: AttributeNumber, wanted: Dimension) -> AttributeNumber:
    """The same with answers in the unit of `wanted`, which has its dimension and a known name."""
    return replace(plan, unit=wanted.unit, absolute=wanted.absolute)


def amount(text: str, plan: AttributeNumber) -> float:
    """What a registry's text says, in `plan.unit`; NaN = nothing that fits.

    >>> from rules.expr.plan import AttributeNumber
    >>> amount("3600 mV", AttributeNumber("rated_voltage", "V", "V"))
    3.6
    >>> amount("3600 mA", AttributeNumber("rated_voltage", "V", "V"))
    nan
    """
    found = _WRITTEN.fullmatch(text)
    wanted = of_written(plan.unit)
    if found is None or wanted is None:
        return math.nan
    unit = found[3] or plan.written
    given = of_written(unit)
    if given is None or given.powers != wanted.powers:
        return math.nan
    return constant_in(f"{found[1]}{found[2]}", unit, replace(wanted, absolute=plan.absolute))
