"""`sequence`: readings that meet one condition after the other, each soon enough.

A sequence is there when there are readings r1, r2, ... of a device, one after the other, such
that step k holds at rk and rk comes at most `within` after the one before. All beginnings are
followed at once: for each step but the last the newest time at which the steps so far were met
is kept, so that a repeated first step starts anew and takes nothing away from what has got
further. The reading that meets the last step completes the sequence; then all is forgotten.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.instances import NEVER_MS

Times = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Progress:
    """within_ms: of each step but the first. reached_ms: int64[steps - 1, ranks], `NEVER_MS` =
    not reached.
    """

    def __init__(self, within_ms: tuple[int, ...]) -> None:
        self.within_ms = within_ms
        self.reached_ms = np.empty((len(within_ms), 0), np.int64)

    def make_room(self, room: int) -> None:
        have = self.reached_ms.shape[1]
        if room > have:
            grown = np.full((len(self.within_ms), room), NEVER_MS)
            grown[:, :have] = self.reached_ms
            self.reached_ms = grown

    def follow(self, rank: NDArray[np.int32], ts_ms: Times, met: NDArray[np.bool_]) -> Bools:
        """bool per row: whether it completes the sequence of its device.

        Rows in order; met: bool[steps, rows].
        """
        completed = np.zeros(len(rank), np.bool_)
        touched = np.flatnonzero(met.any(axis=0))
        if not len(touched):
            return completed
        rows = touched[np.argsort(rank[touched], kind="stable")]
        for at in _rounds(rank[rows]):
            row = rows[at]
            completed[row] = self._step(rank[row], ts_ms[row], met[:, row])
        return completed

    def _step(self, rank: NDArray[np.int32], ts_ms: Times, met: NDArray[np.bool_]) -> Bools:
        """One row of each device. Later steps first: a row meets one step of a chain."""
        reached = self.reached_ms[:, rank]
        done = np.zeros(len(rank), np.bool_)
        for step in range(len(self.within_ms), 0, -1):
            before = reached[step - 1]
            follows = met[step] & (before <= ts_ms) & (ts_ms - before <= self.within_ms[step - 1])
            if step == len(self.within_ms):
                done = follows
            else:
                reached[step] = np.where(follows, np.maximum(ts_ms, reached[step]), reached[step])
        reached[0] = np.where(met[0], np.maximum(ts_ms, reached[0]), reached[0])
        reached[:, done] = NEVER_MS
        self.reached_ms[:, rank] = reached
        return done


def _rounds(rank: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """Positions so that no device is twice in a round; rank: sorted."""
    first = np.flatnonzero(np.diff(rank, prepend=-1))
    size = np.diff(first, append=len(rank))
    nth = np.arange(len(rank)) - np.repeat(first, size)
    order = np.argsort(nth, kind="stable")
    return np.split(order, np.cumsum(np.bincount(nth))[:-1])
