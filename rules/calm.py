"""Calm intervals: of each (family, quantity) the values that breach no rule that asks for this
quantity alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import FAMILIES, QUANTITIES
from rules.expr.evaluate import maybe
from rules.expr.plan import (
    Attribute,
    AttributeIs,
    Both,
    Compared,
    Computed,
    Constant,
    Either,
    Negated,
    OneOf,
    Reading,
    Truth,
    walk,
)
from rules.members import Members
from rules.ruleset import Rule

Floats = NDArray[np.float64]


class Calm:
    """The calm intervals of the rules of one mode: of rules that ask for one quantity alone.

    low, high: float64 by family * `width` + quantity; where no such rule asks, all values are calm.
    """

    def __init__(self, rules: dict[int, Rule], members: Members, *, derived: int) -> None:
        """derived: how many quantities there are behind those of `QUANTITIES`."""
        self.width = len(QUANTITIES) + derived
        self.low = np.full(len(FAMILIES) * self.width, -np.inf)
        self.high = np.full(len(FAMILIES) * self.width, np.inf)
        single: dict[int, list[Truth]] = {}
        for number, rule in rules.items():
            if len(rule.quantities) == 1:
                key = members.family_of(number) * self.width + rule.quantities[0]
                single.setdefault(key, []).append(rule.when)
        for key, plans in single.items():
            self.low[key], self.high[key] = calm_interval(plans)


def calm_interval(plans: Sequence[Truth]) -> tuple[float, float]:
    """The closed interval of values that make none of the plans true; low > high = there is none.

    plans: each over the same one quantity. Of several intervals the one with 0 is taken, where
    signals and codes rest, or else the widest. Attributes count as unknown, which breaches.

    >>> from rules.expr.check import checked
    >>> calm_interval([checked("static_pressure < 0.07 MPa"), checked("static_pressure > 1 MPa")])
    (0.07, 1.0)
    >>> calm_interval([checked("fire != 0")])
    (0.0, 0.0)
    """
    limits = _limits(plans)
    if limits is None:
        return math.inf, -math.inf
    if not limits:
        return -math.inf, math.inf
    ends = [-math.inf, *limits, math.inf]
    # The values between two limits share an answer, and each limit has its own.
    pieces: list[tuple[float, float]] = []
    for low, high in itertools.pairwise(ends):
        above = low if math.isinf(low) else math.nextafter(low, math.inf)
        below = high if math.isinf(high) else math.nextafter(high, -math.inf)
        pieces.append((above, below))
        if high < math.inf:
            pieces.append((high, high))
    pieces = [(low, high) for low, high in pieces if low <= high]
    middle = np.array([_within(low, high) for low, high in pieces])
    stirs = np.logical_or.reduce([maybe(plan, _Values(middle)) for plan in plans])
    runs = _runs(pieces, np.broadcast_to(stirs, len(pieces)).tolist())
    if not runs:
        return math.inf, -math.inf
    return max(runs, key=lambda run: (run[0] <= 0 <= run[1], run[1] - run[0]))


def _limits(plans: Iterable[Truth]) -> list[float] | None:
    """Where answers may change; None when that isn't a matter of single values."""
    limits: set[float] = set()
    for plan in plans:
        for part in walk(plan):
            if isinstance(part, Computed):
                return None
            if isinstance(part, OneOf) and isinstance(part.item, Reading):
                limits.update(part.choices)
            elif isinstance(part, Compared):
                sides = (part.left, part.right)
                if not any(isinstance(side, Reading) for side in sides):
                    return None
                limits.update(side.value for side in sides if isinstance(side, Constant))
            elif not isinstance(part, Reading | Constant | AttributeIs | Negated | Both | Either):
                return None
    return sorted(limits)


def _within(low: float, high: float) -> float:
    if math.isinf(low) or math.isinf(high):
        return high if math.isinf(low) else low
    return low + (high - low) / 2


def _runs(pieces: list[tuple[float, float]], stirs: list[bool]) -> list[tuple[float, float]]:
    """Neighbouring pieces that stir nothing, joined."""
    runs: list[tuple[float, float]] = []
    open_ = False
    for (low, high), stirred in zip(pieces, stirs, strict=True):
        if stirred:
            open_ = False
        elif open_:
            runs[-1] = runs[-1][0], high
        else:
            runs.append((low, high))
            open_ = True
    return runs


class _Values:
    """One row per value; of attributes nothing is known."""

    def __init__(self, values: Floats) -> None:
        self._values = values

    def reading(self, quantity: int) -> Floats:
        del quantity  # There is one.
        return self._values

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        del plan
        return np.zeros(len(self._values), np.uint8)

    def silent(self, for_ms: int) -> NDArray[np.bool_]:
        raise KeyError(for_ms)
