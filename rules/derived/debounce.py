"""`debounce: 3 of 5`: a rule is breached while that many of its last readings are.

Each device has a register of 64 bits, one per reading that could be judged, the newest lowest.
Readings before the first count as normal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

MOST = 64
"""Readings that a register holds."""


class Register:
    """bits: uint64 by rank."""

    def __init__(self, of: int) -> None:
        self._of = of
        self.bits = np.empty(0, np.uint64)

    def make_room(self, room: int) -> None:
        if room > len(self.bits):
            grown = np.zeros(room, np.uint64)
            grown[: len(self.bits)] = self.bits
            self.bits = grown

    def breached(self, rank: NDArray[np.int32]) -> NDArray[np.int64]:
        """How many of the last readings of each device are breached."""
        return _count(self.bits[rank] & _low(np.full(len(rank), self._of)))

    def shift(self, rank: NDArray[np.int32], breach: Bools) -> NDArray[np.int64]:
        """Take readings in, in order; int64 per row: how many of the last are breached, with it."""
        counted = np.zeros(len(rank), np.int64)
        # A device without a breach in its register and in the rows stays as it is.
        hot = self.bits[rank] != 0
        mark = np.zeros(len(self.bits), np.bool_)
        mark[rank[breach]] = True
        rows = np.flatnonzero(hot | mark[rank])
        if len(rows):
            rows = rows[np.argsort(rank[rows], kind="stable")]
            counted[rows] = self._shift_sorted(rank[rows], breach[rows])
        return counted

    def _shift_sorted(self, rank: NDArray[np.int32], breach: Bools) -> NDArray[np.int64]:
        row = np.arange(len(rank))
        first = np.flatnonzero(np.diff(rank, prepend=-1))
        size = np.diff(first, append=len(rank))
        start = np.repeat(first, size)
        total = np.concatenate([[0], np.cumsum(breach)])
        inside = total[row + 1] - total[np.maximum(start, row + 1 - self._of)]
        older = np.maximum(self._of - (row - start + 1), 0)
        counted: NDArray[np.int64] = inside + _count(self.bits[rank] & _low(older))
        self._remember(rank[first], first + size - 1, size, breach)
        return counted

    def _remember(
        self,
        rank: NDArray[np.int32],
        last: NDArray[np.intp],
        size: NDArray[np.intp],
        breach: Bools,
    ) -> None:
        """One entry per device: its last row and how many it has."""
        bits = np.where(size < MOST, self.bits[rank] << np.minimum(size, 63).astype(np.uint64), 0)
        bits = bits.astype(np.uint64)
        for back in range(min(MOST, int(size.max()))):
            there = np.flatnonzero(size > back)
            bits[there] |= breach[last[there] - back].astype(np.uint64) << np.uint64(back)
        self.bits[rank] = bits


def _low(number: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Masks of that many low bits, 0 to 64."""
    some = np.minimum(number, 63).astype(np.uint64)
    masks = (np.uint64(1) << some) - np.uint64(1)
    return np.where(number >= MOST, np.uint64(2**64 - 1), masks).astype(np.uint64)


def _count(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.bitwise_count(bits).astype(np.int64)
