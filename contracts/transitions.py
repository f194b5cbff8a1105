"""What rules say to dispatch: changes of (rule, device) instances, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Change(IntEnum):
    RAISED = 1  # the condition holds (after `for`)
    AGAIN = 2  # a new onset while a latched alert waits for its reset
    CLEARED = 3  # the clear condition held (after `clear_for`)
    UNKNOWN = 4  # data was lost while the alert is open
    KNOWN = 5  # data is back
    LEVEL = 6  # an open alert stands at another level of its rule than before


class Episode(IntEnum):
    """Which lane an episode was decided in."""

    LIVE = 0
    LATE = 1  # decided from data that was behind the watermark: history, unless safety


MOST_MEMBERS = 16
"""Devices that a change of a group names at most; their number is told beside them."""


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """What changes of groups say beyond those of devices; row i is one change.

    group: int32 row of the directory's groups, -1 = the change is a device's. size: int32, how
    many devices of the group the rule watches. breached, lost: int32, of how many the question
    was true, and how many had been silent too long. members: int32[rows, MOST_MEMBERS] directory
    rows of the first of the breached, -1 = none.
    """

    group: NDArray[np.int32]
    size: NDArray[np.int32]
    breached: NDArray[np.int32]
    lost: NDArray[np.int32]
    members: NDArray[np.int32]

    def take(self, index: NDArray[np.intp]) -> GroupColumns:
        return GroupColumns(*(getattr(self, name)[index] for name in _GROUP_COLUMNS))

    @staticmethod
    def none(rows: int) -> GroupColumns:
        """Of changes that are devices' own."""
        return GroupColumns(
            group=np.full(rows, -1, np.int32),
            size=np.zeros(rows, np.int32),
            breached=np.zeros(rows, np.int32),
            lost=np.zeros(rows, np.int32),
            members=np.full((rows, MOST_MEMBERS), -1, np.int32),
        )

    @staticmethod
    def join(parts: Sequence[GroupColumns]) -> GroupColumns:
        return GroupColumns(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _GROUP_COLUMNS)
        )


_GROUP_COLUMNS = ("group", "size", "breached", "lost", "members")


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """Row i is one change.

    rule: int32 row of the rule set's cards. device: int32 row of the directory. change: uint8
    `Change`. lane: uint8 `Episode`. at_ms: int64 event time of the change (a deadline's own time).
    onset_ms: int64 event time at which the episode's condition began; with rule and device it
    names the episode. value, threshold: float64, the deciding reading and the limit it met (NaN
    = none). quantity: int16 of the deciding reading, -1 = none; from
    len(QUANTITIES) on, which of its card's `terms` it is. decided_ms: int64 event time of
    the deciding reading. flags: uint16 `Flag` bits of the deciding reading. heard_ms: int64 when
    that was accepted. position: int64, row: int32 of the record that made it known. severity: uint8
    at which the alert stands with this change, 1 to 4; 0 = that of the rule's card. level: int8
    index into the card's levels, at which it stands now; -1 = the card has none. waited_ms: int64,
    of a raise that had to wait for longer, because the device flapped, how long; 0 = it had not.
    flapping_ms: int64, of a raise after which the device flaps, the on-delay of the next; 0 = it
    doesn't. groups: None
    = all are changes of devices; where it names a group, device is -1, value how many of its
    devices (or which share) decided, and quantity -1.
    """

    rule: NDArray[np.int32]
    device: NDArray[np.int32]
    change: NDArray[np.uint8]
    lane: NDArray[np.uint8]
    at_ms: NDArray[np.int64]
    onset_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    threshold: NDArray[np.float64]
    quantity: NDArray[np.int16]
    decided_ms: NDArray[np.int64]
    flags: NDArray[np.uint16]
    heard_ms: NDArray[np.int64]
    position: NDArray[np.int64]
    row: NDArray[np.int32]
    severity: NDArray[np.uint8]
    level: NDArray[np.int8]
    waited_ms: NDArray[np.int64]
    flapping_ms: NDArray[np.int64]
    groups: GroupColumns | None = None

    def __len__(self) -> int:
        return len(self.rule)

    @staticmethod
    def of_rows(rows: Sequence[Mapping[str, Any]]) -> TransitionBatch:
        """Changes of devices, each by column."""
        return _built(
            np.array([row[name] for row in rows], dtype) for name, dtype in COLUMNS.items()
        )

    def take(self, index: NDArray[np.intp]) -> TransitionBatch:
        groups = None if self.groups is None else self.groups.take(index)
        return _built((getattr(self, name)[index] for name in COLUMNS), groups)

    @staticmethod
    def empty() -> TransitionBatch:
        """Always the same one: columns without rows can't be changed."""
        return _EMPTY

    @staticmethod
    def join(parts: Sequence[TransitionBatch]) -> TransitionBatch:
        full = [part for part in parts if len(part)]
        if not full:
            return TransitionBatch.empty()
        if len(full) == 1:
            return full[0]
        groups = None
        if any(part.groups is not None for part in full):
            groups = GroupColumns.join(
                [part.groups or GroupColumns.none(len(part)) for part in full]
            )
        columns = (np.concatenate([getattr(part, name) for part in full]) for name in COLUMNS)
        return _built(columns, groups)

    def in_log_order(self) -> TransitionBatch:
        """Sorted by (position, row, at_ms, rule, device): the same however the log was cut."""
        if len(self) < 2:
            return self
        return self.take(np.lexsort((self.device, self.rule, self.at_ms, self.row, self.position)))


COLUMNS: dict[str, type] = {
    "rule": np.int32,
    "device": np.int32,
    "change": np.uint8,
    "lane": np.uint8,
    "at_ms": np.int64,
    "onset_ms": np.int64,
    "value": np.float64,
    "threshold": np.float64,
    "quantity": np.int16,
    "decided_ms": np.int64,
    "flags": np.uint16,
    "heard_ms": np.int64,
    "position": np.int64,
    "row": np.int32,
    "severity": np.uint8,
    "level": np.int8,
    "waited_ms": np.int64,
    "flapping_ms": np.int64,
}


def _built(columns: Iterable[NDArray[Any]], groups: GroupColumns | None = None) -> TransitionBatch:
    return TransitionBatch(**dict(zip(COLUMNS, columns, strict=True)), groups=groups)


_EMPTY = _built(np.empty(0, dtype) for dtype in COLUMNS.values())
