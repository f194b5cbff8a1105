"""Values of one quantity that mean the same to every plan that reads it.

A plan that only compares a quantity with constants can't tell two values apart between which no
constant lies. So a row that brings such a value says nothing new, though the value is another.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rules.expr.plan import Compared, Constant, OneOf, Plan, Reading, Truth, walk

UNASKED = 0
"""The number of no piece: what stands for a value that nobody has been asked about."""

MOST_LIMITS = 10_000
"""Limits of one quantity; with more, only equal values mean the same."""


class Pieces:
    """The pieces of the line that constants cut: each constant is one, and what lies between two.

    limits: sorted constants; None = a plan does more with the values than to compare them, and
    only equal values mean the same.
    """

    def __init__(self, limits: Iterable[float] | None) -> None:
        self.limits = None if limits is None else np.array(sorted(set(limits)), np.float64)
        if self.limits is not None and len(self.limits) > MOST_LIMITS:
            self.limits = None

    @staticmethod
    def of(plans: Iterable[Truth], quantity: int) -> Pieces:
        """Those of one quantity for all plans."""
        limits: set[float] = set()
        for plan in plans:
            found = _limits(plan, quantity)
            if found is None:
                return Pieces(None)
            limits |= found
        return Pieces(limits)

    @property
    def exact(self) -> bool:
        """Whether only equal values mean the same."""
        return self.limits is None

    def of_values(self, value: NDArray[np.float64]) -> NDArray[np.int16]:
        """int16 per value, the same for values of one piece, never `UNASKED`.

        >>> Pieces([70.0]).of_values(np.array([60, 65, 70, 71, np.nan])).tolist()
        [1, 1, 2, 3, 4]
        """
        if self.limits is None:
            return np.isnan(value).astype(np.int16) + np.int16(1)
        below = self.limits.searchsorted(value, "left")
        found = below + self.limits.searchsorted(value, "right")
        # Beyond all limits stands what isn't known too.
        found += np.isnan(value)
        found += 1
        return found.astype(np.int16)


def _limits(plan: Plan, quantity: int) -> set[float] | None:
    """Constants that readings of the quantity are compared with; None = there is more to it."""
    limits: set[float] = set()
    seen = explained = 0
    for part in walk(plan):
        if isinstance(part, Reading):
            seen += part.quantity == quantity
        elif isinstance(part, OneOf) and _reads(part.item, quantity):
            limits.update(part.choices)
            explained += 1
        elif isinstance(part, Compared):
            for side, other in ((part.left, part.right), (part.right, part.left)):
                if _reads(side, quantity) and isinstance(other, Constant):
                    limits.add(other.value)
                    explained += 1
    return limits if seen == explained else None


def _reads(plan: Plan, quantity: int) -> bool:
    return isinstance(plan, Reading) and plan.quantity == quantity
