"""Plans on columns, twice: `maybe` is fast and may say yes too often, `judge` is exact.

Truth has three values: a comparison with a quantity that isn't known (NaN) is unknown; false and
unknown is false; true or unknown is true. `maybe` is true wherever `judge` is true, because
replacing unknown by anything can't make a settled answer different.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rules.expr.plan import (
    Attribute,
    AttributeIs,
    AttributeNumber,
    Both,
    Compared,
    Constant,
    Counted,
    Every,
    Negated,
    Number,
    OneOf,
    Reading,
    Silent,
    Truth,
)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_OF_GROUPS = "counts are judged by rules.group.judge"

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}


class Columns(Protocol):
    """What a plan may ask of its rows; every answer has one entry per row."""

    def reading(self, quantity: int) -> Floats:
        """float64, NaN = not known."""
        ...

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        """uint8: 0 unknown, 1 true, 2 false. Of an `AttributeNumber` float64, NaN = unknown."""
        ...

    def silent(self, for_ms: int) -> Bools:
        """Whether the device has been silent for so long."""
        ...


def maybe(plan: Truth, columns: Columns) -> Bools:
    """True at least where the plan is true."""
    found: Bools
    if isinstance(plan, Compared):
        left, right = value_of(plan.left, columns), value_of(plan.right, columns)
        found = COMPARE[plan.operator](left, right)
        return found
    if isinstance(plan, OneOf):
        item = value_of(plan.item, columns)
        found = np.logical_or.reduce([item == choice for choice in plan.choices])
        return found
    if isinstance(plan, AttributeIs):
        found = columns.attribute(plan) != 2
        return found
    if isinstance(plan, Silent):
        return columns.silent(plan.for_ms)
    if isinstance(plan, Negated):
        found = ~judge(plan, columns)[1]
        return found
    if isinstance(plan, Every):
        raise TypeError(_OF_GROUPS)
    parts = [maybe(part, columns) for part in plan.parts]
    found = np.logical_and.reduce(parts) if isinstance(plan, Both) else np.logical_or.reduce(parts)
    return found


def judge(plan: Truth, columns: Columns) -> tuple[Bools, Bools]:
    """(true, false); unknown where neither."""
    if isinstance(plan, Compared | OneOf):
        return _judge_numbers(plan, columns)
    if isinstance(plan, AttributeIs):
        answer = columns.attribute(plan)
        return answer == 1, answer == 2
    if isinstance(plan, Silent):
        silent = columns.silent(plan.for_ms)
        return silent, ~silent
    if isinstance(plan, Negated):
        true, false = judge(plan.operand, columns)
        return false, true
    if isinstance(plan, Every):
        raise TypeError(_OF_GROUPS)
    judged = [judge(part, columns) for part in plan.parts]
    trues, falses = [true for true, _ in judged], [false for _, false in judged]
    if isinstance(plan, Both):
        return np.logical_and.reduce(trues), np.logical_or.reduce(falses)
    return np.logical_or.reduce(trues), np.logical_and.reduce(falses)


def _judge_numbers(plan: Compared | OneOf, columns: Columns) -> tuple[Bools, Bools]:
    if isinstance(plan, OneOf):
        item = value_of(plan.item, columns)
        true = np.logical_or.reduce([item == choice for choice in plan.choices])
        known = ~np.isnan(item)
    else:
        left, right = value_of(plan.left, columns), value_of(plan.right, columns)
        true = COMPARE[plan.operator](left, right)
        known = ~(np.isnan(left) | np.isnan(right))
    return true & known, ~true & known


def value_of(plan: Number, columns: Columns) -> Any:
    """float64 per row, or one float for a constant."""
    if isinstance(plan, Reading):
        return columns.reading(plan.quantity)
    if isinstance(plan, Constant):
        return plan.value
    if isinstance(plan, AttributeNumber):
        return columns.attribute(plan)
    if isinstance(plan, Counted):
        raise TypeError(_OF_GROUPS)
    # x / 0 is infinite and 0 / 0 unknown: both are answers here, not accidents.
    with np.errstate(all="ignore"):
        return _COMPUTE[plan.operator](value_of(plan.left, columns), value_of(plan.right, columns))
