"""What a quantity is compared with: the limits that alerts name beside a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rules.expr.evaluate import COMPARE
from rules.expr.plan import (
    MIRRORED,
    AttributeNumber,
    Compared,
    Computed,
    Constant,
    Number,
    OneOf,
    Plan,
    Reading,
    all_of,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limit:
    """One comparison of a quantity by itself: `quantity operator number`.

    number: of constants and attributes only.
    """

    operator: str
    number: Number


def limits_of(plan: Plan) -> dict[int, tuple[Limit, ...]]:
    """Quantity -> what it is compared with, in the order of writing."""
    found: dict[int, dict[Limit, None]] = {}
    for part in all_of(plan):
        if isinstance(part, OneOf) and isinstance(part.item, Reading):
            same = found.setdefault(part.item.quantity, {})
            same.update((Limit("==", Constant(choice)), None) for choice in part.choices)
        if not isinstance(part, Compared):
            continue
        sides = ((part.left, part.operator, part.right),
                 (part.right, MIRRORED[part.operator], part.left))  # fmt: skip
        for side, operator, other in sides:
            if isinstance(side, Reading) and is_fixed(other):
                found.setdefault(side.quantity, {})[Limit(operator, other)] = None
    return {quantity: tuple(limits) for quantity, limits in found.items()}


def is_fixed(number: Number) -> bool:
    """Whether readings have no part in it."""
    if isinstance(number, Computed):
        return is_fixed(number.left) and is_fixed(number.right)
    return isinstance(number, Constant | AttributeNumber)


def met(value: Floats, limits: Sequence[Limit], numbers: Iterable[Floats]) -> Floats:
    """Of several limits the nearest that the value meets, or else the nearest; NaN = none known.

    value: float64 per row. numbers: of each limit, per row. Of two that are equally near, the
    one written first.
    """
    best = np.full(len(value), np.nan)
    rank = np.full(len(value), np.inf)
    distance = np.full(len(value), np.inf)
    for limit, number in zip(limits, numbers, strict=True):
        missed = np.where(COMPARE[limit.operator](value, number), 0.0, 1.0)
        away = np.abs(value - number)
        nearer = (missed < rank) | ((missed == rank) & (away < distance))
        nearer &= ~np.isnan(number)
        # A value that isn't known is near to nothing: the first limit is named.
        nearer |= np.isnan(best) & ~np.isnan(number)
        best[nearer] = np.broadcast_to(number, len(value))[nearer]
        rank[nearer], distance[nearer] = missed[nearer], np.nan_to_num(away[nearer], nan=0.0)
    return best
