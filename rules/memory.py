"""The newest value of each quantity of a device, for rules that look at several.

One memory serves all rules of a family that read the same stream: safety rules read all rows,
other rules keep rows on time and history apart. Values are put beside each row by filling
forward inside each device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rules.entries import FIRST
from rules.expr.plan import Truth
from rules.instances import NEVER_MS
from rules.pieces import UNASKED, Pieces
from rules.positions import true_at
from rules.sheet import DOUBT, Index, Sheet, begins

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Remembered:
    """By rank: value float64, NaN = never heard; ts_ms int64 of that value.

    judged: int16, in which of the quantity's `Pieces` the value lies that the rules in force were
    last asked about, `UNASKED` once an instance of the device has ended. No part of snapshots:
    asking once more changes nothing.
    """

    value: NDArray[np.float64]
    ts_ms: NDArray[np.int64]
    judged: NDArray[np.int16]

    @staticmethod
    def blank(room: int) -> Remembered:
        return Remembered(np.full(room, np.nan), np.full(room, NEVER_MS), np.zeros(room, np.int16))

    def make_room(self, room: int) -> None:
        if room > len(self.value):
            grown = Remembered.blank(room)
            grown.value[: len(self.value)] = self.value
            grown.ts_ms[: len(self.ts_ms)] = self.ts_ms
            grown.judged[: len(self.judged)] = self.judged
            self.value, self.ts_ms, self.judged = grown.value, grown.ts_ms, grown.judged


class Memory:
    """One stream of one family. timed: rows come in order of event time; else as heard.

    In event time a row knows what was so at its own time; in log order it knows what is newest
    by event time among all that was heard before it.
    """

    def __init__(
        self, quantities: tuple[int, ...], room: int, *, timed: bool, plans: Iterable[Truth] = ()
    ) -> None:
        """plans: all that are asked of these values."""
        self.quantities = quantities
        self.kept = {quantity: Remembered.blank(room) for quantity in quantities}
        asked = tuple(plans)
        self._pieces = {quantity: Pieces.of(asked, quantity) for quantity in quantities}
        self._timed = timed

    def says_nothing(
        self,
        quantity: int,
        value: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
        rank: NDArray[np.int32],
    ) -> Bools:
        """bool per row of one quantity: whether all plans say beside it what they said before.

        Rows are plain. Such a row comes in order and means the same as the value that is
        remembered and was judged. Where a device has no other rows, and no active instance, they
        needn't be looked at, but for `take`.
        """
        kept = self.kept[quantity]
        if int(rank.max(initial=-1)) >= len(kept.value):
            return np.zeros(len(rank), np.bool_)
        pieces = self._pieces[quantity]
        same: Bools = kept.judged.take(rank) == pieces.of_values(value)
        same &= ts_ms >= kept.ts_ms.take(rank)
        if pieces.exact:
            same &= (value == kept.value.take(rank)) | np.isnan(value)
        return same

    def take(
        self,
        quantity: int,
        value: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
        rank: NDArray[np.int32],
    ) -> None:
        """Remember rows that say nothing new."""
        if (ts_ms[1:] < ts_ms[:-1]).any():
            order = np.argsort(ts_ms, kind="stable")
            value, ts_ms, rank = value[order], ts_ms[order], rank[order]
        kept = self.kept[quantity]
        # Of a device's rows the last one stays: the newest.
        kept.value[rank] = value
        kept.ts_ms[rank] = ts_ms

    def look_again(self, ranks: NDArray[np.int32]) -> None:
        """An instance of these devices has ended: what is remembered may begin another."""
        for kept in self.kept.values():
            kept.judged[ranks[ranks < len(kept.judged)]] = UNASKED

    def recall(
        self,
        sheet: Sheet,
        rows: Index,
        rank: NDArray[np.int32],
        room: int,
        *,
        judges: bool = False,
    ) -> dict[int, NDArray[np.float64]]:
        """Per quantity a float64 for each of `rows`: its value known at that row, NaN = none.

        rows: of the batch, in order. judges: whether all plans are asked about them. Bad readings
        show their own value but aren't remembered; of what is derived it is remembered too that
        it is no longer known.
        """
        for remembered in self.kept.values():
            remembered.make_room(room)
        order = np.argsort(rank, kind="stable")
        filled = _Filled(sheet, rows[order], rank[order])
        columns: dict[int, NDArray[np.float64]] = {}
        for quantity, remembered in self.kept.items():
            column = np.empty(len(rows))
            column[order] = filled.column(quantity, remembered, timed=self._timed)
            columns[quantity] = column
            filled.remember(remembered, self._pieces[quantity] if judges else None)
        return columns


class _Filled:
    """Rows sorted by device, order inside each kept."""

    def __init__(self, sheet: Sheet, rows: Index, rank: NDArray[np.int32]) -> None:
        batch = sheet.batch
        self._rank = rank
        self._quantity = batch.quantity[rows]
        self._value = batch.value[rows]
        self._ts = batch.ts_ms[rows]
        self._plain = (batch.flags[rows] & DOUBT) == 0
        self._carried = np.zeros(len(rows), np.bool_)
        unsure = sheet.unsure
        self._sure = np.ones(len(rows), np.bool_) if unsure is None else ~unsure[rows]
        fresh = begins(rank)
        self._segment = np.cumsum(fresh) - 1
        self._first = true_at(fresh)[self._segment]

    def column(self, quantity: int, kept: Remembered, *, timed: bool) -> NDArray[np.float64]:
        own = self._quantity == quantity
        carried = own & self._sure if quantity < FIRST else own
        if not timed:
            carried &= self._is_newest(carried, kept)
        at = np.maximum.accumulate(np.where(carried, np.arange(len(own)), -1))
        inside = at >= self._first
        before_ms = kept.ts_ms[self._rank]
        known = np.where(inside, self._ts[at], NEVER_MS)
        use_kept = (before_ms > known) & ((before_ms <= self._ts) | (not timed))
        column = np.where(inside, self._value[at], np.nan)
        column[use_kept] = kept.value[self._rank][use_kept]
        column[own] = self._value[own]
        self._carried = carried
        return column

    def _is_newest(self, carried: Bools, kept: Remembered) -> Bools:
        """Rows that no earlier row of their device is newer than."""
        base = int(self._ts.min())
        span = int(self._ts.max()) - base + 1
        floor = self._segment * span
        key = np.where(carried, floor + (self._ts - base), floor - 1)
        newest: Bools = (key == np.maximum.accumulate(key)) & carried
        return newest & (self._ts >= kept.ts_ms[self._rank])

    def remember(self, kept: Remembered, pieces: Pieces | None) -> None:
        """Of the quantity that `column` was asked for last. pieces: None = nobody judges it now."""
        at = true_at(self._carried)
        if not len(at):
            return
        last = at[np.append(self._rank[at][1:] != self._rank[at][:-1], True)]
        last = last[self._ts[last] >= kept.ts_ms[self._rank[last]]]
        rank, value = self._rank[last], self._value[last]
        kept.value[rank] = value
        kept.ts_ms[rank] = self._ts[last]
        judged = UNASKED if pieces is None else pieces.of_values(value) * self._plain[last]
        kept.judged[rank] = judged
