"""Calls over event time to plans: names, arguments and units checked."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.units import UNITS
from rules.durations import duration_text, parse_duration
from rules.expr import syntax
from rules.expr.dimension import SECOND, Dimension, difference, of_unit, times
from rules.expr.plan import Compared, Constant, Negated, Number, Reading, Truth, holds
from rules.expr.syntax import ExpressionError
from rules.expr.window import CERTAIN, LONGEST_MS, Age, Window
from rules.finding import suggest

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DIFFERENCES = ("delta", "stddev", "rate")


def is_age(node: syntax.Node) -> bool:
    return isinstance(node, syntax.Call) and node.name == "age"


def windowed(node: syntax.Call) -> tuple[Reading, Dimension]:
    """A call of one of `FUNCTIONS`. Raises `ExpressionError`."""
    wants = 3 if node.name == "quantile" else 2
    if len(node.arguments) != wants:
        problem = f"{node.name} takes {wants} arguments"
        raise ExpressionError(problem, node.at, f"write {_pattern(node.name)}")
    quantity = _quantity(node.arguments[0], node.name)
    share = _share(node.arguments[1]) if wants == 3 else None
    window_ms = _duration(node.arguments[-1], node.name)
    if window_ms > LONGEST_MS:
        problem = f"a window of more than {duration_text(LONGEST_MS)}"
        raise ExpressionError(problem, node.arguments[-1].at, "take a shorter one")
    window = Window(node.name, quantity, window_ms, share)
    return Reading(-1, window), _dimension(node, quantity, window.unit)


def aged(node: syntax.Comparison) -> Truth:
    """`age(q) > 10m` or `age(q) < 10m`, either side first. Raises `ExpressionError`."""
    left, operator, right = node.left, node.operator, node.right
    if not is_age(left):
        left, right, operator = right, left, _MIRRORED.get(operator, operator)
    if operator not in _MIRRORED:
        raise ExpressionError("an age is compared by < or >", node.at, "write age(co2) > 10m")
    if not isinstance(left, syntax.Call) or len(left.arguments) != 1:
        raise ExpressionError("age takes one quantity", left.at, "write age(co2) > 10m")
    limit_ms = _duration(right, "age")
    older = holds(Age(_quantity(left.arguments[0], "age"), limit_ms))
    return older if operator in (">", ">=") else Negated(older)


def early(found: Compared) -> Compared:
    """The comparison with its window told when it needn't wait for a whole one."""
    return replace(
        found,
        left=_early(found.left, found.operator, found.right),
        right=_early(found.right, _MIRRORED.get(found.operator, found.operator), found.left),
    )


def _early(side: Number, operator: str, other: Number) -> Number:
    if not isinstance(side, Reading) or not isinstance(other, Constant):
        return side
    window = side.derived
    if not isinstance(window, Window) or operator not in CERTAIN.get(window.function, ()):
        return side
    return Reading(-1, replace(window, early=(operator, other.value)))


def _pattern(function: str) -> str:
    return "quantile(co2, 0.9, 5m)" if function == "quantile" else f"{function}(co2, 5m)"


def _quantity(node: syntax.Node, function: str) -> int:
    if not isinstance(node, syntax.Name):
        problem = f"{function} looks at one quantity"
        raise ExpressionError(problem, node.at, f"write {_pattern(function)}")
    index = QUANTITY_INDEX.get(node.name)
    if index is None:
        mend = suggest(node.name, QUANTITY_INDEX)
        raise ExpressionError(f"unknown quantity {node.name}", node.at, mend)
    return index


def _duration(node: syntax.Node, function: str) -> int:
    """`5m` as everywhere in rules; `90 s`, `1.5 h` too."""
    if isinstance(node, syntax.Number):
        found = parse_duration(f"{node.digits}{node.unit}")
        unit = UNITS.get(node.unit)
        if found is None and unit is not None and node.unit != "m" and unit.dimension == "time":
            exact = Fraction(node.digits) * unit.scale * 1000
            text = f"{exact.numerator}ms" if exact.denominator == 1 else ""
            found = parse_duration(text)
        if found is not None:
            return found
    mend = "write age(co2) > 10m" if function == "age" else f"write {_pattern(function)}"
    raise ExpressionError(f"{function} wants a duration of 1ms to 366d", node.at, mend)


def _share(node: syntax.Node) -> float:
    if isinstance(node, syntax.Number) and node.unit in ("", "%"):
        share = float(Fraction(node.digits) * UNITS[node.unit].scale)
        if share <= 1:
            return share
    raise ExpressionError("quantile takes a share of 0 to 1", node.at, "write 0.9")


def _dimension(node: syntax.Call, quantity: int, unit: str) -> Dimension:
    known = of_unit(QUANTITIES[quantity].unit)
    name = QUANTITIES[quantity].name
    if known is None:
        raise ExpressionError(f"{name} has the unknown unit {QUANTITIES[quantity].unit}", node.at)
    if node.name in ("count", "changes"):
        return Dimension()
    if known.absolute and node.name == "sum":
        raise ExpressionError("temperatures and levels can't be added", node.at, "write avg")
    if node.name in _DIFFERENCES:
        known = difference(known)
    if node.name == "rate":
        known = replace(times(known, SECOND, -1), unit=unit)
    return known
