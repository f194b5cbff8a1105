"""Row duplicates: the same reading sent twice.

A row is a duplicate when device, quantity, event time, value and the sender's flags all equal
those of one of the last `depth` accepted rows of its series (device and quantity). NaN equals
NaN, -0 equals 0. Rows are judged one after the other in log order; however a log is cut, the
answer is the same.

A series keeps a ring of 64-bit fingerprints and its greatest event time. A row later than all
of its series can't be a duplicate, so a batch in which every series rises, the usual case, is
judged without a look into the rings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import SENDER_FLAGS
from contracts.quantities import QUANTITIES
from ingest.ordering import runs, stable_order

_ROUNDS = 64
_MIX = tuple(np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD))
_SHIFT = np.uint64(32)
_NEVER = np.iinfo(np.int64).min


def fingerprint(
    ts_ms: NDArray[np.int64], value: NDArray[np.float64], flags: NDArray[np.uint16]
) -> NDArray[np.uint64]:
    """uint64, never 0. Rows that differ in only one of the three never share one."""
    number = value + 0.0  # -0 becomes 0.
    missing = np.isnan(number)
    if missing.any():
        number[missing] = np.nan  # All NaNs get the same bits.
    mixed = ts_ms.view(np.uint64) * _MIX[0]
    mixed += number.view(np.uint64)
    mixed ^= mixed >> _SHIFT
    mixed *= _MIX[1]
    mixed ^= mixed >> _SHIFT
    mixed += (flags & np.uint16(SENDER_FLAGS)).astype(np.uint64) * _MIX[2]
    mixed *= _MIX[2]
    mixed ^= mixed >> _SHIFT
    mixed[mixed == 0] = 1
    return mixed


class RowDedup:
    """State: per series, numbered as they come, a ring of `depth` fingerprints."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._series_of = np.full((0, len(QUANTITIES)), -1, np.int32)
        self._slot = np.full(0, -1, np.int32)
        self._slots = 0
        self._device = np.empty(0, np.int32)
        self._quantity = np.empty(0, np.int16)
        self._greatest = np.empty(0, np.int64)
        self._head = np.empty(0, np.int16)
        self._ring = np.empty((0, self._depth), np.uint64)

    def duplicates(
        self,
        device: NDArray[np.int32],
        quantity: NDArray[np.int16],
        ts_ms: NDArray[np.int64],
        value: NDArray[np.float64],
        flags: NDArray[np.uint16],
    ) -> NDArray[np.bool_] | None:
        """Which rows are duplicates; None = none. Rows in log order; remembers the others."""
        if not len(ts_ms):
            return None
        series = self._number(device, quantity)
        order = stable_order(series, max(1, self._count.bit_length()))
        by_series, ts = series[order], ts_ms[order]
        prints = fingerprint(ts_ms, value, flags)[order]
        start, size = runs(by_series)
        before = np.empty(len(ts), np.int64)
        before[1:] = ts[:-1]
        before[start] = self._greatest[by_series[start]]
        rises = ts > before
        if rises.all():
            self._remember(by_series, ts, prints, start, size)
            return None
        return self._judge(order, by_series, ts, prints, start, size, rises)

    def _judge(
        self,
        order: NDArray[np.intp],
        series: NDArray[np.int64],
        ts: NDArray[np.int64],
        prints: NDArray[np.uint64],
        start: NDArray[np.int64],
        size: NDArray[np.int64],
        rises: NDArray[np.bool_],
    ) -> NDArray[np.bool_] | None:
        rising = np.logical_and.reduceat(rises, start)
        quick = np.repeat(rising, size)
        self._remember(
            series[quick],
            ts[quick],
            prints[quick],
            np.cumsum(size[rising]) - size[rising],
            size[rising],
        )
        same = np.zeros(len(ts), np.bool_)
        start, size = start[~rising], size[~rising]
        by_size = np.argsort(-size, kind="stable")
        start, size = start[by_size], size[by_size]
        for nth in range(min(int(size[0]), _ROUNDS)):
            # The nth row of every series that has so many: no series twice in a round.
            at = start[: int(np.searchsorted(-size, -nth, side="left"))] + nth
            same[at] = self._round(series[at], ts[at], prints[at])
        for begin, length in zip(start.tolist(), size.tolist(), strict=True):
            if length <= _ROUNDS:
                break
            rest = slice(begin + _ROUNDS, begin + length)
            same[rest] = self._one_series(int(series[begin]), ts[rest], prints[rest])
        if not same.any():
            return None
        marked = np.empty(len(ts), np.bool_)
        marked[order] = same
        return marked

    def _remember(
        self,
        series: NDArray[np.int64],
        ts: NDArray[np.int64],
        prints: NDArray[np.uint64],
        start: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> None:
        """Rows grouped by series, later than all before: the last `depth` of each are kept."""
        if not len(ts):
            return
        depth = self._depth
        one = series[start]
        nth = np.arange(len(ts)) - np.repeat(start, size)
        if int(size.max()) > depth:
            last = np.flatnonzero(nth >= np.repeat(size - depth, size))
            nth, prints, series = nth[last], prints[last], series[last]
        place = (self._head[series] + nth) % depth
        self._ring[series, place] = prints
        self._head[one] = (self._head[one] + size) % depth
        self._greatest[one] = ts[start + size - 1]

    def _round(
        self, series: NDArray[np.int64], ts: NDArray[np.int64], prints: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        rings = self._ring
        same: NDArray[np.bool_] = (rings[series] == prints[:, None]).any(axis=1)
        new = series[~same]
        rings[new, self._head[new]] = prints[~same]
        self._head[new] = (self._head[new] + 1) % self._depth
        self._greatest[new] = np.maximum(self._greatest[new], ts[~same])
        return same

    def _one_series(
        self, series: int, ts: NDArray[np.int64], prints: NDArray[np.uint64]
    ) -> list[bool]:
        """Many rows of one series: a list is quicker than rounds of one row."""
        depth = self._depth
        ring, head = self._ring[series].tolist(), int(self._head[series])
        same = []
        greatest = int(self._greatest[series])
        for at_ms, mark in zip(ts.tolist(), prints.tolist(), strict=True):
            is_same = mark in ring
            same.append(is_same)
            if not is_same:
                ring[head] = mark
                head = (head + 1) % depth
                greatest = max(greatest, at_ms)
        self._ring[series], self._head[series] = ring, head
        self._greatest[series] = greatest
        return same

    def _number(self, device: NDArray[np.int32], quantity: NDArray[np.int16]) -> NDArray[np.int64]:
        """The series numbers (int64) of rows; new series get the next ones."""
        top = int(device.max())
        if top >= len(self._slot):
            self._slot = _grown(self._slot, top + 1, -1)
        slot = self._slot[device]
        if int(slot.min()) < 0:
            new = np.unique(device[slot < 0])
            self._slot[new] = np.arange(self._slots, self._slots + len(new))
            self._slots += len(new)
            self._series_of = _grown(self._series_of, self._slots, -1)
            slot = self._slot[device]
        series = self._series_of[slot, quantity]
        if int(series.min()) < 0:
            self._add(slot, device, quantity, series < 0)
            series = self._series_of[slot, quantity]
        return series.astype(np.int64)

    def _add(
        self,
        slot: NDArray[np.int32],
        device: NDArray[np.int32],
        quantity: NDArray[np.int16],
        new: NDArray[np.bool_],
    ) -> None:
        width = len(QUANTITIES)
        cell = slot[new].astype(np.int64) * width + quantity[new]
        cells, where = np.unique(cell, return_index=True)
        count = self._count + len(cells)
        self._series_of.reshape(-1)[cells] = np.arange(self._count, count)
        self._device = _grown(self._device, count, -1)
        self._quantity = _grown(self._quantity, count, -1)
        self._greatest = _grown(self._greatest, count, _NEVER)
        self._head = _grown(self._head, count, 0)
        self._ring = _grown(self._ring, count, 0)
        self._device[self._count : count] = device[new][where]
        self._quantity[self._count : count] = quantity[new][where]
        self._count = count

    def state(self) -> dict[str, Any]:
        """For the snapshot: columns over series, little-endian."""
        n = self._count
        return {
            "depth": self._depth,
            "device": self._device[:n].astype("<i4").tobytes(),
            "quantity": self._quantity[:n].astype("<i2").tobytes(),
            "greatest": self._greatest[:n].astype("<i8").tobytes(),
            "head": self._head[:n].astype("<i2").tobytes(),
            "ring": self._ring[:n].astype("<u8").tobytes(),
        }

    def load(
        self, state: dict[str, Any], remap: NDArray[np.int32], quantities: NDArray[np.int16]
    ) -> None:
        """remap, quantities: old device row and quantity index -> new one, -1 = gone."""
        depth = state["depth"]
        device = remap[np.frombuffer(state["device"], "<i4")]
        quantity = quantities[np.frombuffer(state["quantity"], "<i2")]
        head = np.frombuffer(state["head"], "<i2")
        ring = np.frombuffer(state["ring"], "<u8").reshape(-1, depth)
        greatest = np.frombuffer(state["greatest"], "<i8")
        there = (device >= 0) & (quantity >= 0)
        if not there.all():
            device, quantity = device[there], quantity[there]
            head, ring, greatest = head[there], ring[there], greatest[there]
        self._clear()
        if not len(device):
            return
        self._place(device, quantity)
        self._greatest = greatest.astype(np.int64)
        if depth == self._depth:
            self._ring, self._head = ring.astype(np.uint64), head.astype(np.int16)
            return
        head = head.astype(np.int64)
        self._ring = np.zeros((len(device), self._depth), np.uint64)
        self._head = np.zeros(len(device), np.int16)
        # Oldest first; when the depth has changed, the newest fill the new ring from its start.
        nth = (head[:, None] + np.arange(depth)) % depth
        aged = np.take_along_axis(ring, nth, axis=1)
        shared = min(depth, self._depth)
        newest = self._depth - shared + np.arange(shared)
        self._ring[:, newest] = aged[:, depth - shared :]

    def _place(self, device: NDArray[np.int32], quantity: NDArray[np.int16]) -> None:
        """Number series that are all different from 0 on, where there are none yet."""
        count = len(device)
        known = np.zeros(int(device.max()) + 1, np.bool_)
        known[device] = True
        here = np.flatnonzero(known)
        self._slot = _grown(self._slot, len(known), -1)
        self._slots = len(here)
        self._slot[here] = np.arange(len(here))
        # The widest of all columns: not half as many again, which `_grown` would make.
        room = len(here) + len(here) // 16
        self._series_of = np.full((room, len(QUANTITIES)), -1, self._series_of.dtype)
        self._series_of[self._slot[device], quantity] = np.arange(count)
        self._device, self._quantity, self._count = device, quantity, count


def _grown(column: NDArray[Any], size: int, fill: int) -> NDArray[Any]:
    """The column with room for `size` rows, half as many again to spare."""
    if size <= len(column):
        return column
    grown = np.full((size + size // 2, *column.shape[1:]), fill, column.dtype)
    grown[: len(column)] = column
    return grown
