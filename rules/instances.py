"""The state of rule instances that aren't inactive, as columns of one table for all rules.

An inactive instance is no row at all: a quiet district costs four bytes a device and rule (the
entry in `Members.slots`), an active instance `State.BYTES` more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rules.positions import true_at

Index = NDArray[np.intp]

NEVER_MS = -(2**62)
"""Before all event times, and safe to add a duration to."""

AFTER_ALL_MS = 2**62


class Phase(IntEnum):
    INACTIVE = 0
    PENDING = 1  # breached, `for` is running since `since`
    FIRING = 2  # raised, onset at `onset`
    CLEARING = 3  # raised, `clear_for` is running since `since`


INACTIVE, PENDING, FIRING, CLEARING = map(int, Phase)
"""The same as plain numbers: an attribute of an enumeration costs as much as a small array
operation."""

_DTYPES: dict[str, type] = {
    "rule": np.int16,
    "lane": np.uint8,
    "device": np.int32,
    "phase": np.uint8,
    "unknown": np.bool_,
    "widened": np.bool_,
    "since": np.int64,
    "onset": np.int64,
    "clock": np.int64,
    "seen": np.int64,
    "value": np.float64,
    "quantity": np.int16,
    "flags": np.uint16,
    "heard": np.int64,
}


@dataclass(slots=True)
class State:
    """Row i is one instance; times are event times in ms, `heard` is a time of acceptance.

    widened: it had or has to wait for the longer `for` of a flapping sensor. since: when the
    running duration began; of a rule that ends by itself the newest breach. onset: when the
    condition began. clock: the newest event that was worked in; what is older can't take anything
    back. seen: the newest evidence. value, quantity, flags, heard: of the deciding reading, that at
    `onset` until it clears.
    """

    rule: NDArray[np.int16]
    lane: NDArray[np.uint8]
    device: NDArray[np.int32]
    phase: NDArray[np.uint8]
    unknown: NDArray[np.bool_]
    widened: NDArray[np.bool_]
    since: NDArray[np.int64]
    onset: NDArray[np.int64]
    clock: NDArray[np.int64]
    seen: NDArray[np.int64]
    value: NDArray[np.float64]
    quantity: NDArray[np.int16]
    flags: NDArray[np.uint16]
    heard: NDArray[np.int64]

    BYTES: ClassVar[int] = sum(np.dtype(dtype).itemsize for dtype in _DTYPES.values())

    def __len__(self) -> int:
        return len(self.rule)

    @staticmethod
    def blank(rows: int) -> State:
        """Inactive instances that nothing is known of."""
        state = State(*(np.zeros(rows, dtype) for dtype in _DTYPES.values()))
        state.clock[:] = NEVER_MS
        return state

    def take(self, index: Index | NDArray[np.int32] | NDArray[np.bool_]) -> State:
        return State(*(getattr(self, name)[index] for name in NAMES))


NAMES = tuple(field.name for field in fields(State))


class Instances:
    """The table. A slot is a row number; free slots are used again."""

    def __init__(self) -> None:
        self.table = State.blank(64)
        self._used = np.zeros(64, np.bool_)
        self._free = np.arange(64)[::-1].astype(np.int32)
        self._new = np.zeros(64, np.bool_)

    def __len__(self) -> int:
        return len(self._used) - len(self._free)

    @property
    def room(self) -> int:
        """Slots that there are, used or free."""
        return len(self._used)

    def news(self) -> tuple[Index, Index]:
        """Slots released, and slots in use of which something has changed that a deadline hangs
        on: since the last call, ascending."""
        touched = true_at(self._new)
        self._new[touched] = False
        used = self._used[touched]
        return touched[~used], touched[used]

    def slots(self) -> Index:
        """The slots in use, ascending."""
        return np.flatnonzero(self._used)

    def gather(self, slots: NDArray[np.int32] | Index) -> State:
        """Copies of rows; a slot below 0 gives a blank one."""
        if not len(slots):
            return State.blank(0)
        blank = slots < 0
        if not blank.any():
            return self.table.take(slots)
        state = self.table.take(np.maximum(slots, 0))
        for name in NAMES:
            getattr(state, name)[blank] = 0
        state.clock[blank] = NEVER_MS
        return state

    def put(self, slots: NDArray[np.int32] | Index, state: State) -> None:
        """Write rows back to slots that are in use."""
        for name in NAMES:
            getattr(self.table, name)[slots] = getattr(state, name)
        self._new[slots] = True

    def hear(self, slots: NDArray[np.int32], ts_ms: NDArray[np.int64], *, waits: bool) -> None:
        """Readings that change nothing else. waits: whether the rule tells of missing data."""
        np.maximum.at(self.table.clock, slots, ts_ms)
        np.maximum.at(self.table.seen, slots, ts_ms)
        if waits:
            self._new[slots] = True

    def take_slots(self, number: int) -> NDArray[np.int32]:
        """Free slots, now in use."""
        while len(self._free) < number:
            self._grow()
        taken = self._free[len(self._free) - number :]
        self._free = self._free[: len(self._free) - number]
        self._used[taken] = True
        return taken

    def release(self, slots: NDArray[np.int32] | Index) -> None:
        self._used[slots] = False
        self._free = np.concatenate([self._free, slots.astype(np.int32)])
        self._new[slots] = True

    def _grow(self) -> None:
        size = len(self._used)
        more = State.blank(size)
        self.table = State(
            *(np.concatenate([getattr(self.table, n), getattr(more, n)]) for n in NAMES)
        )
        self._used = np.concatenate([self._used, np.zeros(size, np.bool_)])
        self._new = np.concatenate([self._new, np.zeros(size, np.bool_)])
        fresh = np.arange(size, 2 * size, dtype=np.int32)[::-1]
        self._free = np.concatenate([fresh, self._free])
