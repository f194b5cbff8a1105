"""Syntax tree to plan: names resolved, units turned into canonical ones, nonsense refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.units import UNITS
from rules.durations import parse_duration
from rules.expr import syntax
from rules.expr.attributes import attribute_number, in_unit_of
from rules.expr.dimension import Dimension, constant_in, difference, of_unit, of_written, times
from rules.expr.functions import aged, early, is_age, windowed
from rules.expr.parse import parse
from rules.expr.plan import (
    AttributeIs,
    AttributeNumber,
    Both,
    Compared,
    Computed,
    Constant,
    Counted,
    Either,
    Every,
    Negated,
    Number,
    OneOf,
    Reading,
    Silent,
    Truth,
    attributes_of,
    counts_of,
    quantities_of,
)
from rules.expr.syntax import ExpressionError
from rules.expr.window import FUNCTIONS as WINDOWS
from rules.finding import suggest

CONDITIONS = ("absent", "any", "all")
_COUNTING = ("devices", "share")
NUMBERS = (*WINDOWS, "age", "attr", *_COUNTING)
FUNCTIONS = CONDITIONS + NUMBERS
_PLAIN = Dimension()


@dataclass(frozen=True, slots=True)
class _Typed:
    """written: the literal, when the number is one and may still change its unit."""

    plan: Number
    dimension: Dimension
    written: syntax.Number | None = None


def checked(text: str) -> Truth:
    """The plan of a condition. Raises `ExpressionError`."""
    return _truth(parse(text))


def _truth(node: syntax.Node) -> Truth:
    if isinstance(node, syntax.Joined):
        parts = tuple(_truth(part) for part in node.parts)
        return Both(parts) if node.operator == "and" else Either(parts)
    if isinstance(node, syntax.Not):
        return Negated(_truth(node.operand))
    if isinstance(node, syntax.Comparison):
        return _comparison(node)
    if isinstance(node, syntax.Membership):
        return _membership(node)
    if isinstance(node, syntax.Call):
        return _call(node)
    if isinstance(node, syntax.Name) and node.name in QUANTITY_INDEX:
        raise ExpressionError(f"{node.name} is a number", node.at, f"write {node.name} == 1")
    raise ExpressionError("this is no condition", node.at, "compare it with something")


def _call(node: syntax.Call) -> Truth:
    if node.name in _COUNTING:
        problem = f"{node.name}(...) is a number"
        raise ExpressionError(problem, node.at, f"write {node.name}(...) >= {_enough(node.name)}")
    if node.name in NUMBERS:
        raise ExpressionError(f"{node.name} is a number", node.at, "compare it with something")
    if node.name not in CONDITIONS:
        mend = suggest(node.name, FUNCTIONS)
        raise ExpressionError(f"unknown function {node.name}", node.at, mend)
    if node.name == "all":
        return Every(_asked(node))
    if node.name == "any":
        return Compared(">=", Counted("devices", _asked(node)), Constant(1.0))
    given = node.arguments[0] if len(node.arguments) == 1 else None
    if isinstance(given, syntax.Number):
        for_ms = parse_duration(f"{given.digits}{given.unit}")
        if for_ms is not None:
            return Silent(for_ms)
    raise ExpressionError("absent takes one duration", node.at, "write absent(24h)")


def _enough(function: str) -> str:
    return "2" if function == "devices" else "0.5"


def _asked(node: syntax.Call) -> Truth:
    """The condition inside a function over the devices of a group."""
    if len(node.arguments) != 1:
        mend = f"write {node.name}(fire != 0)"
        raise ExpressionError(f"{node.name} takes one condition", node.at, mend)
    return _truth(node.arguments[0])


def _is_text(node: syntax.Node) -> bool:
    return isinstance(node, syntax.Quoted)


def _comparison(node: syntax.Comparison) -> Truth:
    left, right = node.left, node.right
    if is_age(left) or is_age(right):
        return aged(node)
    if _is_text(left) or _is_text(right):
        name, text = (left, right) if _is_text(right) else (right, left)
        if node.operator not in ("==", "!="):
            raise ExpressionError("texts have no order", node.at, "write ==, != or in [...]")
        same = _attribute(name, (text,))
        return same if node.operator == "==" else Negated(same)
    a, b = _number(left), _number(right)
    a, b = _same_unit(a, b, node.at, "compared")
    found = Compared(node.operator, a.plan, b.plan)
    if not quantities_of(found) and not counts_of(found) and not attributes_of(found):
        raise ExpressionError("compares two constants", node.at, "name a quantity")
    return early(found)


def _attribute(name: syntax.Node, texts: tuple[syntax.Node, ...]) -> AttributeIs:
    if not isinstance(name, syntax.Name):
        raise ExpressionError("a text is compared with an attribute by name", name.at)
    if name.name in QUANTITY_INDEX:
        raise ExpressionError(f"{name.name} is a number, not a text", name.at)
    choices = tuple(sorted({text.text for text in texts if isinstance(text, syntax.Quoted)}))
    return AttributeIs(name.name, choices)


def _membership(node: syntax.Membership) -> Truth:
    texts = [_is_text(choice) for choice in node.choices]
    found: Truth
    if all(texts):
        found = _attribute(node.item, node.choices)
    elif any(texts):
        raise ExpressionError("the list mixes texts and numbers", node.at)
    else:
        item = _number(node.item)
        if not quantities_of(item.plan) and not attributes_of(item.plan):
            raise ExpressionError("compares constants", node.at, "name a quantity")
        values = set()
        for choice in node.choices:
            _, value = _same_unit(item, _number(choice), choice.at, "compared")
            if not isinstance(value.plan, Constant):
                raise ExpressionError("a list holds numbers only", choice.at)
            values.add(value.plan.value)
        found = OneOf(item.plan, tuple(sorted(values)))
    return Negated(found) if node.negated else found


def _number(node: syntax.Node) -> _Typed:
    if isinstance(node, syntax.Number):
        return _literal(node)
    if isinstance(node, syntax.Negative):
        return _negative(node)
    if isinstance(node, syntax.Arithmetic):
        return _arithmetic(node)
    if isinstance(node, syntax.Name):
        return _quantity(node)
    if isinstance(node, syntax.Call) and node.name in _COUNTING:
        function: Literal["devices", "share"] = "devices" if node.name == "devices" else "share"
        return _Typed(Counted(function, _asked(node)), _PLAIN)
    if isinstance(node, syntax.Call) and node.name in WINDOWS:
        return _Typed(*windowed(node))
    if isinstance(node, syntax.Call) and node.name == "attr":
        return _Typed(*attribute_number(node))
    if is_age(node):
        mend = "write age(co2) > 10m"
        raise ExpressionError("an age is compared with a duration only", node.at, mend)
    if isinstance(node, syntax.Call) and node.name not in CONDITIONS:
        mend = suggest(node.name, FUNCTIONS)
        raise ExpressionError(f"unknown function {node.name}", node.at, mend)
    if isinstance(node, syntax.Quoted):
        raise ExpressionError("a text stands where a number is needed", node.at)
    raise ExpressionError("a condition stands where a number is needed", node.at)


def _literal(node: syntax.Number) -> _Typed:
    dimension = of_written(node.unit)
    if dimension is None:
        mend = suggest(node.unit, UNITS)
        raise ExpressionError(f"unknown unit {node.unit!r}", node.at, mend)
    value = constant_in(node.digits, node.unit, dimension)
    return _Typed(Constant(value, dimension.unit), dimension, node)


def _negative(node: syntax.Negative) -> _Typed:
    operand = node.operand
    if isinstance(operand, syntax.Number):
        return _literal(replace(operand, digits=f"-{operand.digits}"))
    inner = _number(operand)
    if inner.dimension.absolute:
        raise ExpressionError("minus turns no temperature or level round", node.at)
    return _Typed(Computed("*", Constant(-1.0), inner.plan), inner.dimension)


def _quantity(node: syntax.Name) -> _Typed:
    index = QUANTITY_INDEX.get(node.name)
    if index is None:
        mend = suggest(node.name, QUANTITY_INDEX)
        raise ExpressionError(f"unknown quantity {node.name}", node.at, mend)
    quantity = QUANTITIES[index]
    dimension = of_unit(quantity.unit)
    if dimension is None:
        raise ExpressionError(f"{node.name} has the unknown unit {quantity.unit}", node.at)
    return _Typed(Reading(index), dimension)


def _arithmetic(node: syntax.Arithmetic) -> _Typed:
    left, right = _number(node.left), _number(node.right)
    if node.operator in "*/":
        for side in (left, right):
            if side.dimension.absolute and not isinstance(side.plan, Constant):
                problem = "temperatures and levels can't be multiplied"
                raise ExpressionError(problem, node.at, "take a difference first")
        sign = 1 if node.operator == "*" else -1
        made = times(left.dimension, right.dimension, sign)
        return _Typed(Computed(node.operator, left.plan, right.plan), made)
    left, right = _same_unit(left, right, node.at, "added")
    made = left.dimension
    if made.absolute:
        if node.operator == "+" and left.written is None and right.written is None:
            raise ExpressionError("two temperatures or levels can't be added", node.at)
        shift = right.written or left.written
        if shift is not None:
            return _shifted(node, left, right, shift)
        made = difference(made)
    return _Typed(Computed(node.operator, left.plan, right.plan), made)


def _shifted(node: syntax.Arithmetic, left: _Typed, right: _Typed, shift: syntax.Number) -> _Typed:
    """`temperature + 5 K`: the literal is a difference, the result has the zero it had."""
    if left.written is shift and node.operator == "-":
        raise ExpressionError("a temperature can't be taken from a difference", node.at)
    base = right if left.written is shift else left
    step = Constant(constant_in(shift.digits, shift.unit, difference(base.dimension)))
    return _Typed(Computed(node.operator, base.plan, step), base.dimension)


def _same_unit(a: _Typed, b: _Typed, at: int, verb: str) -> tuple[_Typed, _Typed]:
    """Both in the unit of the one that isn't a literal. Raises where the dimensions differ."""
    if a.dimension.powers != b.dimension.powers:
        problem = f"{a.dimension.unit} can't be {verb} with {b.dimension.unit}"
        for side, other in ((a, b), (b, a)):
            if side.written is not None and not side.written.unit and not side.dimension.powers:
                problem = f"{side.written.digits} has no unit"
                raise ExpressionError(problem, at, f"write {_example(side, other)}")
        raise ExpressionError(problem, at)
    if b.written is not None:
        return a, _rewritten(b.written, a.dimension)
    if a.written is not None:
        return _rewritten(a.written, b.dimension), b
    for side, other in ((b, a), (a, b)):
        if isinstance(side.plan, AttributeNumber) and other.dimension.unit in UNITS:
            same = _Typed(in_unit_of(side.plan, other.dimension), other.dimension)
            return (a, same) if side is b else (same, b)
    if a.dimension.absolute != b.dimension.absolute:
        raise ExpressionError("a difference can't be compared with a temperature or level", at)
    ratio = float(b.dimension.scale / a.dimension.scale)
    if ratio == 1:
        return a, b
    scaled = Computed("*", Constant(ratio), b.plan)
    return a, _Typed(scaled, a.dimension)


def _example(side: _Typed, other: _Typed) -> str:
    digits = "" if side.written is None else side.written.digits
    return f"{digits} {other.dimension.unit}"


def _rewritten(written: syntax.Number, wanted: Dimension) -> _Typed:
    if wanted.unit not in UNITS:
        value = constant_in(written.digits, written.unit, wanted)
        return _Typed(Constant(value), replace(wanted, unit="1"), written)
    value = constant_in(written.digits, written.unit, wanted)
    return _Typed(Constant(value, wanted.unit), wanted, written)
