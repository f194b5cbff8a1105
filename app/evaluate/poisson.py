"""The exact interval of a counted rate (Garwood 1936)."""

from __future__ import annotations

import math
from collections.abc import Callable


def interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds of the expected number when `count` were counted.

    >>> [round(bound, 2) for bound in interval(0)], [round(bound, 2) for bound in interval(4)]
    ([0.0, 3.69], [1.09, 10.24])
    """
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _solve(lambda mean: 1 - _at_most(count - 1, mean), tail)
    return low, _solve(lambda mean: -_at_most(count, mean), -tail)


def _at_most(count: int, mean: float) -> float:
    """P(X <= count) of a Poisson variable."""
    term = total = math.exp(-mean)
    for k in range(1, count + 1):
        term *= mean / k
        total += term
    return total


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    low, high = 0.0, 700.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
