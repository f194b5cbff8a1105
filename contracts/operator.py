"""The Operator protocol: a deterministic step over batches. No clock, no I/O, no globals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.transitions import TransitionBatch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far event time has got, at one time mark of the log.

    position, heard_ms: of the mark's record. watermark_ms: int64 per gateway row of the
    directory: all that is on time up to this event time (inclusive) has been handed over. It
    stays behind what is known to be complete while a backlog is handed over bit by bit.
    """

    position: int
    heard_ms: int
    watermark_ms: NDArray[np.int64]


class Operator(Protocol):
    """State lives in arrays with one row per device of the directory and grows with it.

    on_rows: rows in log order, as accepted, duplicates removed (instant rules).
    on_time: rows in event-time order behind the watermark, then deadlines up to it (timed rules).
    next_ms: the earliest event time at which `on_time` has something to do, None = never.
    snapshot/restore: versioned bytes; `restore(snapshot())` on a newly built operator gives the
    same answers from there on. `remap[old row] = new row or -1` when the registry has changed.
    """

    def on_rows(self, batch: TaggedBatch) -> TransitionBatch: ...

    def on_time(self, batch: TaggedBatch, progress: Progress) -> TransitionBatch: ...

    def next_ms(self) -> int | None: ...

    def snapshot(self) -> bytes: ...

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None: ...
