"""Readings of one quantity that are kept for windows, by device, each in a block of flat columns.

New readings are put behind the others and old ones left where they are, so that a time mark costs
what it brings and not what is kept. A block without room at its end is closed up, or left for a
larger one; what was left is reclaimed when it is a quarter of all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rules.derived.columns import Columns, Floats, Index, Times, longer, ranges
from rules.instances import NEVER_MS
from rules.positions import true_at
from rules.sheet import begins

Slots: TypeAlias = NDArray[np.int32] | NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Held:
    """Where the readings of some devices stand: [first, end) of the columns, at least one."""

    first: Index
    end: Index

    @property
    def count(self) -> Index:
        return self.end - self.first


class History:
    """slot: one row of `device`, `lost_ms`. Slots are given in the order of first asking.

    device: int32 directory row. lost_ms: int64, what was so before is no longer complete.
    """

    def __init__(self, functions: Collection[str] = ()) -> None:
        """functions: what will be asked of the readings."""
        self.columns = Columns(functions)
        self._slot_of = np.empty(0, np.int32)
        self._slots = 0
        self._device = np.empty(0, np.int32)
        self._lost = np.empty(0, np.int64)
        # A block is `room` places from `base` on; readings begin `lead` behind that.
        self._base = np.empty(0, np.int64)
        self._room = np.empty(0, np.int32)
        self._lead = np.empty(0, np.int32)
        self._count = np.empty(0, np.int32)
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

    def held(self, slots: Slots) -> Held:
        first = self._base[slots] + self._lead[slots]
        return Held(first, first + self._count[slots])

    def put(self, slots: NDArray[np.int32], ts_ms: Times, value: Floats) -> Index:
        """Add readings; where each of them stands now.

        slots: ascending, the readings of each in order of event time. Of equal times the newcomer
        is last. Only a device that says something older than it has said costs all that it has.
        """
        if not len(slots):
            return np.empty(0, np.intp)
        head = true_at(begins(slots))
        mine, more = slots[head], np.diff(np.append(head, len(slots)))
        self._make_way(mine, more)
        held, columns = self.held(mine), self.columns
        at = ranges(held.end, more)
        columns.ts_ms[at], columns.value[at] = ts_ms, value
        self._count[mine] += more.astype(np.int32)
        start = held.end
        older = (start > held.first) & (ts_ms[head] < columns.ts_ms[start - 1])
        if older.any():
            at[np.repeat(older, more)] = self._sort(mine[older], more[older])
            start = np.where(older, held.first, start)
        columns.sum_up(held.first, start, held.end + more)
        return at

    def forget(self, slots: Slots, first: Index) -> None:
        """From now on the oldest readings of devices are those at `first`."""
        passed = (first - self._base[slots]).astype(np.int32) - self._lead[slots]
        self._lead[slots] += passed
        self._count[slots] -= passed

    def empty(self, slots: Slots) -> None:
        self._lead[slots] = self._count[slots] = 0

    def state_bytes(self) -> int:
        columns = (self._device, self._lost, self._base, self._room, self._lead, self._count)
        return self._slot_of.nbytes + self.columns.nbytes + sum(one.nbytes for one in columns)

    def _sort(self, slots: NDArray[np.int32], more: Index) -> Index:
        """Put the last `more` readings of each in their places; those places."""
        held, columns = self.held(slots), self.columns
        count = held.count
        at = ranges(held.first, count)
        order = np.lexsort((columns.ts_ms[at], np.repeat(np.arange(len(slots)), count)))
        columns.ts_ms[at] = columns.ts_ms[at[order]]
        columns.value[at] = columns.value[at[order]]
        places = np.empty(len(at), np.intp)
        places[order] = at
        found: Index = places[ranges(np.cumsum(count) - more, more)]
        return found

    def _reach(self, devices: int) -> None:
        if devices > len(self._slot_of):
            grown = np.full(max(devices, len(self._slot_of) * 3 // 2), -1, np.int32)
            grown[: len(self._slot_of)] = self._slot_of
            self._slot_of = grown

    def _add(self, device: NDArray[np.int32]) -> None:
        first, last = self._slots, self._slots + len(device)
        if last > len(self._device):
            size = max(last, first + first // 2)
            for name in ("_device", "_lost", "_base", "_room", "_lead", "_count"):
                setattr(self, name, longer(getattr(self, name), size))
        self._device[first:last] = device
        self._lost[first:last] = NEVER_MS
        self._slot_of[device] = np.arange(first, last, dtype=np.int32)
        self._slots = last

    def _make_way(self, slots: NDArray[np.int32], more: Index) -> None:
        """Room for `more` readings behind those of each."""
        wanted = self._count[slots] + more
        full = true_at(self._lead[slots] + wanted > self._room[slots])
        if not len(full):
            return
        slots, wanted = slots[full], wanted[full]
        # Closing up pays when it makes room for an eighth more.
        small = wanted + wanted // 8 > self._room[slots]
        moving, room = slots[small], wanted[small] + wanted[small] // 4 + 2
        left = self._left + int(self._room[moving].sum())
        end = self._used + int(room.sum())
        if end >= len(self.columns) and left * 4 >= end:
            self._room[moving] = room
            self._rearrange()
            return
        if end >= len(self.columns):
            self.columns.lengthen(end * 9 // 8 + 1)
        held = self.held(slots)
        self._base[moving] = self._used + np.cumsum(room) - room
        self._room[moving] = room
        self._lead[slots] = 0
        self._used, self._left = end, left
        self.columns.move(held.first, held.count, self._base[slots])

    def _rearrange(self) -> None:
        """One block after another anew, without gaps. One place is always left over."""
        slots = np.arange(self._slots)
        held, room = self.held(slots), self._room[slots].astype(np.int64)
        base = np.cumsum(room) - room
        self._base[slots], self._lead[slots] = base, 0
        self._used, self._left = int(room.sum()), 0
        self.columns.move(held.first, held.count, base, self._used * 9 // 8 + 1)
