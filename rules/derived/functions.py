"""The functions of a window, over columns: one answer for each of many windows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rules.derived.columns import BLOCK, SCALE, Bools, Columns, Floats, Index, Times, ranges, scaled
from rules.expr.window import Window
from rules.positions import true_at

_AT_ONCE = 1 << 20
"""Readings that are laid out side by side where a function needs them so."""


class Windows:
    """Windows in `columns`: readings [low, high) of each, as positions.

    first: of each window the oldest reading that is kept of its device. before: position of the
    reading that was in force when the window began, -1 = none is known.
    """

    def __init__(
        self, columns: Columns, first: Index, low: Index, high: Index, before: Index
    ) -> None:
        self._columns = columns
        self._first, self.low, self.high, self.before = first, low, high, before
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
        return self._reduced(np.minimum, self._columns.least, np.inf)

    def max_of(self) -> Floats:
        return self._reduced(np.maximum, self._columns.greatest, -np.inf)

    def last_of(self) -> Floats:
        there = self.count > 0
        return np.where(there, self._columns.value[np.where(there, self.high - 1, 0)], np.nan)

    def changes_of(self) -> Floats:
        """A change is counted at the reading that brings it."""
        changes, there = self._columns.changes, self.count > 0
        new = changes[np.where(there, self.high - 1, 0)]
        old = changes[np.where(there, np.maximum(self.low - 1, self._first), 0)]
        return np.where(there, (new - old).astype(np.float64), np.nan)

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
        for windows, at, begins in _laid_out(self.low, self.count):
            whole, _ = scaled(self._columns.value[at])
            off = whole - np.repeat(mean[windows], self.count[windows])
            found[windows] = np.add.reduceat(off * off, begins)
        found = np.rint(np.sqrt(found / np.maximum(self.count, 1))) / SCALE
        return np.where(fits & (self.count > 0), found, np.nan)

    def _quantile(self, share: float) -> Floats:
        """Between the two readings nearest in rank, linear in rank."""
        found = np.full(len(self), np.nan)
        for windows, at, begins in _laid_out(self.low, self.count):
            count = self.count[windows]
            value = self._columns.value[at]
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

    @cached_property
    def _sums(self) -> tuple[NDArray[np.int64], Bools]:
        """Per window the sum in whole numbers, and whether all readings fit."""
        columns, there = self._columns, self.count > 0
        low, last = np.where(there, self.low, 0), np.where(there, self.high - 1, 0)
        whole, fits = scaled(columns.value[low])
        found = np.where(there, columns.total[last] - columns.total[low] + whole, 0)
        if columns.misfits is None:
            return found, np.ones(len(self), np.bool_)
        return found, ~there | (fits & (columns.misfits[last] == columns.misfits[low]))

    @cached_property
    def _step(self) -> tuple[NDArray[np.int64], Bools, Times]:
        """From the value in force at the beginning to the newest; whether both are known and
        fit; and the time between the two readings."""
        there = self.count > 0
        old = np.where(there, np.where(self.before >= 0, self.before, self.low), 0)
        new = np.where(there, self.high - 1, 0)
        value, ts_ms = self._columns.value, self._columns.ts_ms
        (was, was_fits), (now, now_fits) = scaled(value[old]), scaled(value[new])
        return now - was, there & now_fits & was_fits, ts_ms[new] - ts_ms[old]

    def _reduced(self, operation: np.ufunc, of_blocks: Floats, neutral: float) -> Floats:
        """Of a window that holds whole blocks: of those, and of what stands at either end."""
        found = np.where(self.count > 0, neutral, np.nan)
        begin, end = -(-self.low // BLOCK), self.high // BLOCK
        long = end > begin
        value = self._columns.value
        _reduce(found, operation, value, self.low, np.where(long, begin * BLOCK, self.high))
        if long.any():
            _reduce(found, operation, of_blocks, begin, np.where(long, end, begin))
            _reduce(found, operation, value, np.where(long, end * BLOCK, self.high), self.high)
        # 0 and -0 are equal: which of them is found would hang on where blocks begin.
        return found + 0.0


def _reduce(found: Floats, operation: np.ufunc, column: Floats, low: Index, high: Index) -> None:
    """Work column[low:high] into what was found, where there is anything."""
    for windows, at, begins in _laid_out(low, high - low):
        found[windows] = operation(found[windows], operation.reduceat(column[at], begins))


def _laid_out(low: Index, count: Index) -> Iterator[tuple[Index, Index, Index]]:
    """(windows with readings, positions of those one window after another, where each window
    begins), so many at a time as fit."""
    filled = true_at(count > 0)
    if not len(filled):
        return
    share = (np.cumsum(count[filled]) - 1) // _AT_ONCE
    for windows in np.split(filled, true_at(share[1:] != share[:-1]) + 1):
        each = count[windows]
        yield windows, ranges(low[windows], each), np.cumsum(each) - each


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
