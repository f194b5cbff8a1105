"""Rows that passed judgement, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Judged:
    """Good rows in log order. `record` is the index of the row's record.

    home: int32 row of the gateway that may speak for the device. counts_time: bool, the row's
    time may move a watermark; None when every row's may and `home` is the speaker's throughout.
    The other columns are those of `TaggedBatch`.
    """

    record: NDArray[np.int32]
    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]
    row: NDArray[np.int32]
    home: NDArray[np.int32]
    counts_time: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ts_ms)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Judged:
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        kept = None if self.counts_time is None else self.counts_time[index]
        return Judged(**columns, counts_time=kept)

    def counting(self) -> NDArray[np.bool_]:
        """`counts_time` written out."""
        return np.ones(len(self), np.bool_) if self.counts_time is None else self.counts_time


COLUMNS: dict[str, type] = {
    "record": np.int32,
    "device": np.int32,
    "quantity": np.int16,
    "ts_ms": np.int64,
    "value": np.float64,
    "flags": np.uint16,
    "row": np.int32,
    "home": np.int32,
}


def merge(first: Judged, second: Judged) -> Judged:
    """The rows of both by record; of the same record, those of `first` come first."""
    columns = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in COLUMNS
    }
    counts_time = None
    if first.counts_time is not None or second.counts_time is not None:
        counts_time = np.concatenate([first.counting(), second.counting()])
    both = Judged(**columns, counts_time=counts_time)
    return both.take(np.argsort(both.record, kind="stable"))
