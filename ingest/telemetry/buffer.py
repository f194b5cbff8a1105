"""Readings that wait to be stored: all of them while they are few, else the last per series.

Pure. The hot path hands over whole batches; what it may cost is a few passes over the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.quantities import FAMILIES, QUANTITIES

_ROW_GROWTH = 1024


class Rows(NamedTuple):
    """Rows to store, as columns of equal length. device: int32 row of the directory. quantity:
    int16. ts_ms: int64. value: float64. flags: uint16."""

    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]

    def take(self, index: NDArray[np.intp]) -> Rows:
        return Rows(
            self.device[index],
            self.quantity[index],
            self.ts_ms[index],
            self.value[index],
            self.flags[index],
        )


class Drained(NamedTuple):
    """parts: what to store. thinned: rows left out since the last drain. heard_ms: accepted_ms of
    the newest row that these stand for."""

    parts: list[Rows]
    thinned: int
    heard_ms: int


@dataclass(slots=True)
class _Last:
    """Last reading per series. A series is a cell: device row * width + slot, where the slots
    of a family's quantities are given out as they are first seen."""

    width: int = 16
    slots: NDArray[np.int16] = field(
        default_factory=lambda: np.full((len(FAMILIES), len(QUANTITIES)), -1, np.int16)
    )
    quantity_of: list[list[int]] = field(default_factory=lambda: [[] for _ in FAMILIES])
    ts_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    value: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    flags: NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))
    fresh: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def put(self, batch: TaggedBatch, family: NDArray[np.int8]) -> None:
        """Later rows win, so the last in log order stays."""
        of_row = family[batch.device]
        slot = self.slots[of_row, batch.quantity]
        if len(slot) and int(slot.min()) < 0:
            self._give_slots(of_row, batch.quantity)
            slot = self.slots[of_row, batch.quantity]
        self._grow(len(family))
        cell = batch.device * np.int64(self.width) + slot
        self.ts_ms[cell] = batch.ts_ms
        self.value[cell] = batch.value
        self.flags[cell] = batch.flags
        self.fresh[cell] = True

    def take(self, family: NDArray[np.int8]) -> Rows:
        """The fresh ones, which are fresh no more."""
        cell = np.flatnonzero(self.fresh)
        self.fresh[cell] = False
        device = (cell // self.width).astype(np.int32)
        table = np.full((len(FAMILIES), self.width), -1, np.int16)
        for row, quantities in zip(table, self.quantity_of, strict=True):
            row[: len(quantities)] = quantities
        quantity = table[family[device], cell % self.width]
        return Rows(device, quantity, self.ts_ms[cell], self.value[cell], self.flags[cell])

    def _give_slots(self, family: NDArray[np.int8], quantity: NDArray[np.int16]) -> None:
        for f, q in {(int(f), int(q)) for f, q in zip(family, quantity, strict=True)}:
            if self.slots[f, q] < 0:
                self.slots[f, q] = len(self.quantity_of[f])
                self.quantity_of[f].append(q)
        widest = max(len(quantities) for quantities in self.quantity_of)
        while self.width < widest:
            self._widen()

    def _widen(self) -> None:
        rows, old = len(self.fresh) // self.width, self.width
        self.width *= 2
        for name in ("ts_ms", "value", "flags", "fresh"):
            column = getattr(self, name)
            wider = np.zeros((rows, self.width), column.dtype)
            wider[:, :old] = column.reshape(rows, old)
            setattr(self, name, wider.reshape(-1))

    def _grow(self, devices: int) -> None:
        have = len(self.fresh) // self.width
        if devices <= have:
            return
        cells = (devices + max(_ROW_GROWTH, devices // 4)) * self.width
        for name in ("ts_ms", "value", "flags", "fresh"):
            column = getattr(self, name)
            # Zero pages of devices that never speak are never touched, so they cost no memory.
            longer = np.zeros(cells, column.dtype)
            longer[: len(column)] = column
            setattr(self, name, longer)


class Buffer:
    """Not safe for several threads: the store holds a lock around it.

    A period is what lies between two drains. When it holds more rows than `max_rows`, the rest
    of it is thinned; whether the next one begins thinned is said at the drain.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.thinning = False
        self.heard_ms = 0
        self.put_rows = 0
        self._parts: list[Rows] = []
        self._whole_rows = 0
        self._alarm_rows = 0
        self._last = _Last()

    def put(self, batch: TaggedBatch, family: NDArray[np.int8]) -> None:
        """family: int8 per directory row."""
        self.heard_ms = int(batch.heard_ms[-1])
        self.put_rows += len(batch)
        if not self.thinning and self._whole_rows + len(batch) > self.max_rows:
            self.thinning = True
        if not self.thinning:
            self._parts.append(_rows(batch))
            self._whole_rows += len(batch)
            return
        self._last.put(batch, family)
        alarm = np.flatnonzero(batch.flags & Flag.ALARM)
        if len(alarm) and self._alarm_rows < self.max_rows:
            self._parts.append(_rows(batch.take(alarm)))
            self._alarm_rows += len(alarm)

    def drain(self, family: NDArray[np.int8], *, thin_next: bool) -> Drained:
        """Everything that waits."""
        parts, thinned = self._parts, 0
        if self.thinning:
            last = self._last.take(family)
            if self._alarm_rows < self.max_rows:
                # Alarm rows are among the parts already.
                last = last.take(np.flatnonzero((last.flags & Flag.ALARM) == 0))
            kept = self._whole_rows + self._alarm_rows + len(last.ts_ms)
            thinned = max(0, self.put_rows - kept)
            parts.append(last)
        self._parts = []
        self._whole_rows = self._alarm_rows = self.put_rows = 0
        self.thinning = thin_next
        return Drained(parts, thinned, self.heard_ms)


def _rows(batch: TaggedBatch) -> Rows:
    return Rows(batch.device, batch.quantity, batch.ts_ms, batch.value, batch.flags)
