"""Kept readings in flat columns, with running sums beside them as far as functions ask for them.

So a window's sum is a difference of two entries, and its extremes those of some blocks and of the
readings at either end, however many readings it holds.

What is added up is added in whole numbers of `1 / SCALE` of the canonical unit, so that no sum
hangs on the order or the company in which its readings came. A value beyond `GREATEST` doesn't
fit: what would need it is unknown.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)

SCALE = 1_000_000
"""Whole numbers per canonical unit: 1 Pa is 1 of them, so is 1 mL and 1 nA of residual current."""

MOST = 10_000
"""Readings of one window, and kept of one device and quantity; what is older leaves. A proposal."""

GREATEST = 2.0**48 / SCALE
"""About 281 million units: `MOST` and one mark's readings of such size fit into an int64."""

BLOCK = 64
"""Positions that share their extremes: of 6 000 readings, 94 blocks and 126 readings at most."""

_LONG = 128
"""Readings that are copied faster one device at a time; measured."""

_SUMMING = {"sum", "avg", "stddev"}
_EXTREME = {"min", "max"}


class Columns:
    """Entry i is one kept reading. What stands in places that hold none means nothing.

    ts_ms: int64. value: float64. total: int64, value and all before it of the device in whole
    numbers; it may have wrapped round, differences have not. misfits: int32, how many of those
    didn't fit; None while none ever was. changes: int32, how many differ from the one before.
    least, greatest: float64 per `BLOCK` places, true of blocks that one device fills. Columns
    that no function needs are empty.
    """

    def __init__(self, functions: Collection[str]) -> None:
        self._sums = not _SUMMING.isdisjoint(functions)
        self._turns = "changes" in functions
        self._extremes = not _EXTREME.isdisjoint(functions)
        self.ts_ms = np.zeros(1, np.int64)
        self.value = np.zeros(1, np.float64)
        self.total = np.zeros(int(self._sums), np.int64)
        self.misfits: NDArray[np.int32] | None = None
        self.changes = np.zeros(int(self._turns), np.int32)
        self.least = np.empty(0, np.float64)
        self.greatest = np.empty(0, np.float64)

    def __len__(self) -> int:
        return len(self.ts_ms)

    @property
    def nbytes(self) -> int:
        kept = (*(getattr(self, name) for name in self._names), self.least, self.greatest)
        return sum(column.nbytes for column in kept)

    @property
    def _names(self) -> list[str]:
        there = {"total": self._sums, "misfits": self.misfits is not None, "changes": self._turns}
        return ["ts_ms", "value", *(name for name, has in there.items() if has)]

    def lengthen(self, size: int) -> None:
        for name in self._names:
            setattr(self, name, longer(getattr(self, name), size))

    def move(self, first: Index, count: Index, to: Index, size: int = 0) -> None:
        """Readings [first, first + count) to `to`; places may overlap.

        size: move to columns that have nothing else, of that size.
        """
        for name in self._names:
            column = getattr(self, name)
            moved = np.zeros(size, column.dtype) if size else column
            _copy(column, first, count, moved, to)
            setattr(self, name, moved)
        self._block(to, to + count)

    def sum_up(self, first: Index, start: Index, end: Index) -> None:
        """Readings [start, end) of some devices are new; the oldest of each stands at `first`."""
        count = end - start
        if self._sums or self._turns:
            at, head = ranges(start, count), np.cumsum(count) - count
            value, known = self.value[at], start > first
        if self._sums:
            whole, fits = scaled(value)
            self.total[at] = _run(whole, head, count, np.where(known, self.total[start - 1], 0))
            if self.misfits is None and not fits.all():
                self.misfits = np.zeros(len(self), np.int32)
            if self.misfits is not None:
                before = np.where(known, self.misfits[start - 1], 0)
                self.misfits[at] = _run((~fits).astype(np.int32), head, count, before)
        if self._turns:
            changed = (value != self.value[at - 1]).astype(np.int32)
            changed[head[~known & (count > 0)]] = 0
            before = np.where(known, self.changes[start - 1], 0)
            self.changes[at] = _run(changed, head, count, before)
        self._block(start, end)

    def _block(self, start: Index, end: Index) -> None:
        """Extremes of blocks that are filled up by what stands in [start, end)."""
        if not self._extremes:
            return
        blocks = len(self) // BLOCK
        if blocks > len(self.least):
            self.least, self.greatest = longer(self.least, blocks), longer(self.greatest, blocks)
        filled = ranges(start // BLOCK, end // BLOCK - start // BLOCK)
        if len(filled):
            value = self.value[: blocks * BLOCK].reshape(blocks, BLOCK)[filled]
            self.least[filled], self.greatest[filled] = value.min(axis=1), value.max(axis=1)


def _copy(
    source: NDArray[Any], first: Index, count: Index, target: NDArray[Any], to: Index
) -> None:
    """Long stretches one by one, each as a whole; many short ones at once."""
    if int(count.sum()) < _LONG * len(count):
        target[ranges(to, count)] = source[ranges(first, count)]
        return
    for begin, many, place in zip(first.tolist(), count.tolist(), to.tolist(), strict=True):
        target[place : place + many] = source[begin : begin + many]


def scaled(value: Floats) -> tuple[NDArray[np.int64], Bools]:
    """Values in whole numbers, 0 where one doesn't fit, and whether it does."""
    fits = np.abs(value) <= GREATEST
    whole = np.rint(np.where(fits, value, 0.0) * SCALE).astype(np.int64)
    return whole, fits


def ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> Index:
    """first[0], first[0] + 1, ... count[0] of them, then first[1], ..."""
    total = int(count.sum())
    begins = np.cumsum(count) - count
    return np.repeat(first - begins, count) + np.arange(total)


def longer(column: NDArray[_T], size: int) -> NDArray[_T]:
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    return grown


def bisected(ts_ms: Times, first: Index, end: Index, wanted: Times) -> Index:
    """Per entry: the first position in [first, end) with a later time than wanted, or end.

    ts_ms ascends inside each such range. What is wanted mostly stands near the
    beginning, where a window begins: so steps grow until they are beyond it.
    """
    if not len(ts_ms):
        return first
    low, step = first, 4
    high = np.minimum(first + step, end)
    while True:
        beyond = (high < end) & (ts_ms[high - 1] <= wanted)
        if not beyond.any():
            break
        step *= 4
        low = np.where(beyond, high, low)
        high = np.where(beyond, np.minimum(high + step, end), high)
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        # Where nothing is left to search, the middle is the end, and any answer keeps it.
        earlier = (ts_ms[np.minimum(middle, len(ts_ms) - 1)] <= wanted) & (low < high)
        low = np.where(earlier, middle + 1, low)
        high = np.where(earlier, high, middle)
    return low


def _run(steps: NDArray[Any], head: Index, count: Index, before: NDArray[Any]) -> NDArray[Any]:
    """Running sums of each device's steps, on top of what it had before."""
    total: NDArray[Any] = np.cumsum(steps, dtype=steps.dtype)
    some = count > 0
    at = head[some]
    offset = np.zeros(len(head), steps.dtype)
    offset[some] = before[some] - (total[at] - steps[at])
    total += np.repeat(offset, count)
    return total
