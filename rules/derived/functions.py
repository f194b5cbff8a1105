"""The functions of a window, over columns: one answer for each of many windows at once.

What is added up is added in whole numbers of `1 / SCALE` of the canonical unit, so that no sum
hangs on the order or the company in which its readings came. A value beyond `GREATEST` doesn't
fit: what would need it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rules.derived.history import Content, Floats, Index, Times, ranges
from rules.expr.window import Window

SCALE = 1_000_000
"""Whole numbers per canonical unit: 1 Pa is 1 of them, so is 1 mL and 1 nA of residual current."""

MOST = 10_000
"""Readings of one window, and kept of one device and quantity; what is older leaves. A proposal."""

GREATEST = 2.0**48 / SCALE
"""About 281 million units: `MOST` and one mark's readings of such size fit into an int64."""

_AT_ONCE = 1 << 20
"""Readings that are laid out side by side where a function needs them so."""


class Windows:
    """Windows in `content`: readings [low, high) of each, as positions.

    before: position of the reading that was in force when the window began, -1 = none is known.
    """

    def __init__(self, content: Content, low: Index, high: Index, before: Index) -> None:
        self._content = content
        self.low, self.high, self.before = low, high, before
        self.count = high - low

    def __len__(self) -> int:
        return len(self.low)

    def answer(self, window: Window) -> Floats:
        """float64 per window, NaN = unknown."""
        if window.function == "quantile":
            return self._quantile(window.share or 0.0)
        return _FUNCTIONS[window.function](self)

    def count_of(self) -> Floats:
        return self.count.astype(np.float64)

    def sum_of(self) -> Floats:
        whole, fits = self._sums
        return np.where(fits, whole / SCALE, np.nan)

    def avg_of(self) -> Floats:
        whole, fits = self._sums
        there = fits & (self.count > 0)
        return np.where(there, whole / (np.maximum(self.count, 1) * SCALE), np.nan)

    def min_of(self) -> Floats:
        return self._reduced(np.minimum)

    def max_of(self) -> Floats:
        return self._reduced(np.maximum)

    def last_of(self) -> Floats:
        return self._at(self.high - 1, self.count > 0)

    def changes_of(self) -> Floats:
        """A change is counted at the reading that brings it."""
        value, first = self._content.value, self._content.first
        changed = np.zeros(len(value) + 1, np.int64)
        changed[1:-1] = value[1:] != value[:-1] if len(value) else 0
        changed[first[self._content.count > 0]] = 0
        total = np.concatenate([[0], np.cumsum(changed[:-1])])
        found = (total[self.high] - total[self.low]).astype(np.float64)
        return np.where(self.count > 0, found, np.nan)

    def delta_of(self) -> Floats:
        step, there, _ = self._step
        return np.where(there, step / SCALE, np.nan)

    def rate_of(self) -> Floats:
        """Per second."""
        step, there, elapsed_ms = self._step
        there &= elapsed_ms > 0
        return np.where(there, step / (np.maximum(elapsed_ms, 1) * (SCALE // 1000)), np.nan)

    def stddev_of(self) -> Floats:
        """Of the whole population, in whole numbers of 1 / SCALE: the last bits of a root of
        sums would hang on how a machine adds."""
        whole, fits = self._sums
        mean = whole / np.maximum(self.count, 1)
        found = np.zeros(len(self))
        for windows, at, begins in self._laid_out():
            off = self._scaled[0][at] - np.repeat(mean[windows], self.count[windows])
            found[windows] = np.add.reduceat(off * off, begins)
        found = np.rint(np.sqrt(found / np.maximum(self.count, 1))) / SCALE
        return np.where(fits & (self.count > 0), found, np.nan)

    def _quantile(self, share: float) -> Floats:
        """Between the two readings nearest in rank, linear in rank."""
        found = np.full(len(self), np.nan)
        for windows, at, begins in self._laid_out():
            count = self.count[windows]
            value = self._content.value[at]
            value = value[np.lexsort((value, np.repeat(np.arange(len(windows)), count)))]
            rank = share * (count - 1)
            below = np.floor(rank).astype(np.intp)
            above = np.minimum(below + 1, count - 1)
            low, high = value[begins + below], value[begins + above]
            exact = (low == high) | (rank == below)
            # Between infinite readings there is no middle: unknown, and no accident.
            with np.errstate(all="ignore"):
                between = low + (high - low) * (rank - below)
            found[windows] = np.where(exact, low, between)
        return found

    def _laid_out(self) -> list[tuple[Index, Index, Index]]:
        """(windows with readings, positions of those one window after another, where each
        window begins), so many at a time as fit."""
        filled = np.flatnonzero(self.count)
        if not len(filled):
            return []
        share = (np.cumsum(self.count[filled]) - 1) // _AT_ONCE
        parts = []
        for windows in np.split(filled, np.flatnonzero(share[1:] != share[:-1]) + 1):
            count = self.count[windows]
            parts.append((windows, ranges(self.low[windows], count), np.cumsum(count) - count))
        return parts

    @cached_property
    def _scaled(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Each reading in whole numbers, 0 where it doesn't fit, and whether it does."""
        value = self._content.value
        fits = np.abs(value) <= GREATEST
        whole = np.rint(np.where(fits, value, 0.0) * SCALE).astype(np.int64)
        return whole, fits

    @cached_property
    def _sums(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Per window; sums before it may have wrapped round, their difference has not."""
        whole, fits = self._scaled
        sums = np.concatenate([[0], np.cumsum(whole)])
        misfits = np.concatenate([[0], np.cumsum(~fits)])
        return sums[self.high] - sums[self.low], misfits[self.high] == misfits[self.low]

    @cached_property
    def _step(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], Times]:
        """From the value in force at the beginning to the newest; whether both are known and
        fit; and the time between the two readings."""
        whole, fits = self._scaled
        if not len(whole):
            none = np.zeros(len(self), np.int64)
            return none, none > 0, none
        there = self.count > 0
        old = np.where(there, np.where(self.before >= 0, self.before, self.low), 0)
        new = np.where(there, self.high - 1, 0)
        ts_ms = self._content.ts_ms
        return whole[new] - whole[old], there & fits[new] & fits[old], ts_ms[new] - ts_ms[old]

    def _reduced(self, operation: np.ufunc) -> Floats:
        """Slices may overlap, which `reduceat` can do; every second answer is thrown away."""
        found = np.full(len(self), np.nan)
        filled = np.flatnonzero(self.count)
        if len(filled):
            pairs = np.stack([self.low[filled], self.high[filled]], axis=1).ravel()
            padded = np.append(self._content.value, 0.0)
            found[filled] = operation.reduceat(padded, pairs)[::2]
        return found

    def _at(self, at: Index, there: NDArray[np.bool_]) -> Floats:
        padded = np.append(self._content.value, np.nan)
        return padded[np.where(there, at, -1)]


_FUNCTIONS: dict[str, Callable[[Windows], Floats]] = {
    "count": Windows.count_of,
    "sum": Windows.sum_of,
    "avg": Windows.avg_of,
    "min": Windows.min_of,
    "max": Windows.max_of,
    "last": Windows.last_of,
    "changes": Windows.changes_of,
    "delta": Windows.delta_of,
    "rate": Windows.rate_of,
    "stddev": Windows.stddev_of,
}


def bisected(ts_ms: Times, first: Index, end: Index, wanted: Times) -> Index:
    """Per entry: the first position in [first, end) with a later time than wanted, or end.

    ts_ms ascends inside each such range.
    """
    low, high = first.copy(), end.copy()
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        open_ = low < high
        later = np.zeros(len(low), np.bool_)
        later[open_] = ts_ms[middle[open_]] > wanted[open_]
        high = np.where(open_ & later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    return low
