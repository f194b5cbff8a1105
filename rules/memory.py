"""The newest value of each quantity of a device, for rules that look at several.

One memory serves all rules of a family that read the same stream: safety rules read all rows,
other rules keep rows on time and history apart. Values are put beside each row by filling
forward inside each device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rules.entries import FIRST
from rules.instances import NEVER_MS
from rules.positions import true_at
from rules.sheet import Index, Sheet, begins

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Remembered:
    """By rank: value float64, NaN = never heard; ts_ms int64 of that value.

    judged: whether the rules in force have been asked about that value since it came, or since an
    instance of the device ended. No part of snapshots: asking once more changes nothing.
    """

    value: NDArray[np.float64]
    ts_ms: NDArray[np.int64]
    judged: NDArray[np.bool_]

    @staticmethod
    def blank(room: int) -> Remembered:
        return Remembered(np.full(room, np.nan), np.full(room, NEVER_MS), np.zeros(room, np.bool_))

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

    def __init__(self, quantities: tuple[int, ...], room: int, *, timed: bool) -> None:
        self.quantities = quantities
        self.kept = {quantity: Remembered.blank(room) for quantity in quantities}
        self._timed = timed

    def news(
        self, sheet: Sheet, rows: Index, rank: NDArray[np.int32], idle: Bools, room: int
    ) -> Bools | None:
        """bool for each of `rows`: whether its device says anything new in them; None = none does.

        idle: rows of devices without an active instance. A device of which all rows are plain,
        come in order and repeat what is remembered and judged gets the same answers as before:
        its rows may be left out. Their times are remembered here.
        """
        batch = sheet.batch
        quantity, value, ts_ms = batch.quantity[rows], batch.value[rows], batch.ts_ms[rows]
        plain = idle & (batch.flags[rows] == 0)
        fresh = np.ones(len(rows), np.bool_)
        parts: list[tuple[Remembered, Index]] = []
        for number, kept in self.kept.items():
            at = true_at(quantity == number)
            if not len(at):
                continue
            kept.make_room(room)
            mine = rank[at]
            in_order = plain[at] & (ts_ms[at] >= kept.ts_ms[mine])
            fresh[at] = ~(in_order & kept.judged[mine] & (value[at] == kept.value[mine]))
            kept.judged[mine[in_order & ~np.isnan(value[at])]] = True
            parts.append((kept, at))
        if fresh.any():
            marked = np.zeros(room, np.bool_)
            marked[rank[fresh]] = True
            fresh = marked[rank]
        for kept, at in parts:
            same = at[~fresh[at]]
            np.maximum.at(kept.ts_ms, rank[same], ts_ms[same])
        return fresh if fresh.any() else None

    def look_again(self, ranks: NDArray[np.int32]) -> None:
        """An instance of these devices has ended: what is remembered may begin another."""
        for kept in self.kept.values():
            kept.judged[ranks[ranks < len(kept.judged)]] = False

    def recall(
        self, sheet: Sheet, rows: Index, rank: NDArray[np.int32], room: int
    ) -> dict[int, NDArray[np.float64]]:
        """Per quantity a float64 for each of `rows`: its value known at that row, NaN = none.

        rows: of the batch, in order. Bad readings show their own value but aren't remembered; of
        what is derived it is remembered too that it is no longer known.
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
        return columns


class _Filled:
    """Rows sorted by device, order inside each kept."""

    def __init__(self, sheet: Sheet, rows: Index, rank: NDArray[np.int32]) -> None:
        batch = sheet.batch
        self._rank = rank
        self._quantity = batch.quantity[rows]
        self._value = batch.value[rows]
        self._ts = batch.ts_ms[rows]
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
        self._remember(carried, kept)
        column[own] = self._value[own]
        return column

    def _is_newest(self, carried: Bools, kept: Remembered) -> Bools:
        """Rows that no earlier row of their device is newer than."""
        base = int(self._ts.min())
        span = int(self._ts.max()) - base + 1
        floor = self._segment * span
        key = np.where(carried, floor + (self._ts - base), floor - 1)
        newest: Bools = (key == np.maximum.accumulate(key)) & carried
        return newest & (self._ts >= kept.ts_ms[self._rank])

    def _remember(self, carried: Bools, kept: Remembered) -> None:
        at = true_at(carried)
        if not len(at):
            return
        last = at[np.append(self._rank[at][1:] != self._rank[at][:-1], True)]
        last = last[self._ts[last] >= kept.ts_ms[self._rank[last]]]
        kept.value[self._rank[last]] = self._value[last]
        kept.ts_ms[self._rank[last]] = self._ts[last]
