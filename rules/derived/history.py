"""Readings of one quantity that are kept for windows, by device: two flat columns in blocks.

A device has one block of each column, with a little room to grow; a block that is too small is
left and a larger one taken at the end, and what was left is reclaimed when it is a quarter of all.
So a kept reading costs 16 bytes and its share of the room, together 16 to 26, and a device 48.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rules.instances import NEVER_MS

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Floats = NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)


@dataclass(slots=True)
class Content:
    """Readings of some devices, device by device, each in order of event time.

    first, count: intp per device, where its readings stand. ts_ms: int64. value: float64.
    """

    first: Index
    count: Index
    ts_ms: Times
    value: Floats

    @property
    def end(self) -> Index:
        return self.first + self.count

    @property
    def segment(self) -> Index:
        """Per reading: which device."""
        return np.repeat(np.arange(len(self.count)), self.count)


class History:
    """slot: one row of `device`, `lost_ms`. Slots are given in the order of first asking.

    device: int32 directory row. lost_ms: int64, what was so before is no longer complete.
    """

    def __init__(self) -> None:
        self._slot_of = np.empty(0, np.int32)
        self._slots = 0
        self._device = np.empty(0, np.int32)
        self._lost = np.empty(0, np.int64)
        self._base = np.empty(0, np.int64)
        self._room = np.empty(0, np.int32)
        self._count = np.empty(0, np.int32)
        self._ts = np.empty(0, np.int64)
        self._value = np.empty(0, np.float64)
        self._used = 0
        self._left = 0

    def __len__(self) -> int:
        return self._slots

    @property
    def device(self) -> NDArray[np.int32]:
        return self._device[: self._slots]

    @property
    def lost_ms(self) -> Times:
        """Writable."""
        return self._lost[: self._slots]

    def slots(self, device: NDArray[np.int32]) -> NDArray[np.int32]:
        """The slot of each device; those without get one."""
        if not len(device):
            return np.empty(0, np.int32)
        self._reach(int(device.max()) + 1)
        fresh = np.unique(device[self._slot_of[device] < 0])
        if len(fresh):
            self._add(fresh)
        return self._slot_of[device]

    def content(self, slots: Index) -> Content:
        """Copies."""
        count = self._count[slots].astype(np.intp)
        first = np.cumsum(count) - count
        at = ranges(self._base[slots], count)
        return Content(first, count, self._ts[at], self._value[at])

    def replace(self, slots: Index, content: Content) -> None:
        """What is kept of each from now on; slots: each once."""
        count = content.count
        small = np.flatnonzero(count > self._room[slots])
        if len(small):
            self._move(slots[small], count[small])
        at = ranges(self._base[slots], count)
        self._ts[at] = content.ts_ms
        self._value[at] = content.value
        self._count[slots] = count

    def state_bytes(self) -> int:
        columns = (self._device, self._lost, self._base, self._room, self._count)
        readings = self._ts.nbytes + self._value.nbytes
        return self._slot_of.nbytes + readings + sum(column.nbytes for column in columns)

    def _reach(self, devices: int) -> None:
        if devices > len(self._slot_of):
            grown = np.full(max(devices, len(self._slot_of) * 3 // 2), -1, np.int32)
            grown[: len(self._slot_of)] = self._slot_of
            self._slot_of = grown

    def _add(self, device: NDArray[np.int32]) -> None:
        first, last = self._slots, self._slots + len(device)
        if last > len(self._device):
            size = max(last, first + first // 2)
            for name in ("_device", "_lost", "_base", "_room", "_count"):
                column = getattr(self, name)
                grown = np.zeros(size, column.dtype)
                grown[:first] = column[:first]
                setattr(self, name, grown)
        self._device[first:last] = device
        self._lost[first:last] = NEVER_MS
        self._slot_of[device] = np.arange(first, last, dtype=np.int32)
        self._slots = last

    def _move(self, slots: Index, count: Index) -> None:
        """Take larger blocks; what the old ones hold is given up."""
        self._left += int(self._room[slots].sum())
        self._room[slots] = 0
        self._count[slots] = 0
        room = count + count // 8 + 1
        wanted = int(room.sum())
        if self._used + wanted > len(self._ts):
            self._make_room(wanted)
        self._base[slots] = self._used + np.cumsum(room) - room
        self._room[slots] = room
        self._used += wanted

    def _make_room(self, wanted: int) -> None:
        """Close the gaps where they are many, and make the columns longer where that isn't
        enough."""
        if self._left * 4 < self._used + wanted:
            size = (self._used + wanted) * 9 // 8
            self._ts, self._value = _longer(self._ts, size), _longer(self._value, size)
            return
        room = self._room[: self._slots].astype(np.int64)
        at = ranges(self._base[: self._slots], room)
        size = (len(at) + wanted) * 9 // 8
        self._ts, self._value = _longer(self._ts[at], size), _longer(self._value[at], size)
        self._base[: self._slots] = np.cumsum(room) - room
        self._used, self._left = len(at), 0


def ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> Index:
    """first[0], first[0] + 1, ... count[0] of them, then first[1], ..."""
    total = int(count.sum())
    begins = np.cumsum(count) - count
    return np.repeat(first - begins, count) + np.arange(total)


def _longer(column: NDArray[_T], size: int) -> NDArray[_T]:
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    return grown
