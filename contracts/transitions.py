"""What rules say to dispatch: changes of (rule, device) instances, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Change(IntEnum):
    RAISED = 1  # the condition holds (after `for`)
    AGAIN = 2  # a new onset while a latched alert waits for its reset
    CLEARED = 3  # the clear condition held (after `clear_for`)
    UNKNOWN = 4  # data was lost while the alert is open
    KNOWN = 5  # data is back


class Episode(IntEnum):
    """Which lane an episode was decided in."""

    LIVE = 0
    LATE = 1  # decided from data that was behind the watermark: history, unless safety


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """Row i is one change.

    rule: int32 row of the rule set's cards. device: int32 row of the directory. change: uint8
    `Change`. lane: uint8 `Episode`. at_ms: int64 event time of the change (a deadline's own time).
    onset_ms: int64 event time at which the episode's condition began; with rule and device it
    names the episode. value, threshold: float64, the deciding reading and the limit it met (NaN
    = none). quantity: int16 of the deciding reading, -1 = none. decided_ms: int64 event time of
    the deciding reading. flags: uint16 `Flag` bits of the deciding reading. heard_ms: int64 when
    that was accepted. position: int64, row: int32 of the record that made it known. severity: uint8
    at which the alert stands with this change, 1 to 4; 0 = that of the rule's card.
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

    def __len__(self) -> int:
        return len(self.rule)

    def take(self, index: NDArray[np.intp]) -> TransitionBatch:
        return TransitionBatch(*(getattr(self, name)[index] for name in COLUMNS))

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
        return TransitionBatch(
            *(np.concatenate([getattr(part, name) for part in full]) for name in COLUMNS)
        )

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
}
_EMPTY = TransitionBatch(*(np.empty(0, dtype) for dtype in COLUMNS.values()))
