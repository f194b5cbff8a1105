"""Derived rows, and how they are put among the readings that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from rules.entries import FIRST
from rules.positions import true_at
from rules.sheet import ENDS, Beside, begins


@dataclass(frozen=True, slots=True)
class Rows:
    """Row i is one value of one derived quantity.

    device: int32 row of the directory. quantity: int16 index of the `Entry`. ts_ms: int64. value:
    float64, NaN = not known any more. cause: intp row of the batch that made it, -1 = time did.
    tick: uint8, 0 with a cause, else `LOSES` or `ENDS`. seen_ms: int64 event time of the newest
    reading behind it. flags: int32 `Flag` bits, -1 = those of the cause; None = all are.
    """

    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    cause: NDArray[np.intp]
    tick: NDArray[np.uint8]
    seen_ms: NDArray[np.int64]
    flags: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.ts_ms)

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES)
        if all(part.flags is None for part in parts):
            return Rows(*columns)
        flags = np.concatenate([part.own_flags() for part in parts])
        return replace(Rows(*columns), flags=flags)

    def take(self, index: NDArray[np.intp]) -> Rows:
        taken = Rows(*(getattr(self, name)[index] for name in _NAMES))
        return taken if self.flags is None else replace(taken, flags=self.flags[index])

    def caused_by(self, rows: NDArray[np.intp]) -> Rows:
        """With causes in another batch. rows: which row of it each row of the former one is."""
        made = self.cause >= 0
        if not len(rows):
            return self
        return replace(self, cause=np.where(made, rows[np.where(made, self.cause, 0)], -1))

    def own_flags(self) -> NDArray[np.int32]:
        return np.full(len(self), -1, np.int32) if self.flags is None else self.flags


_NAMES = tuple(field.name for field in fields(Rows) if field.name != "flags")


def plain(batch: TaggedBatch) -> Beside:
    """Of a batch without derived rows: each reading is its own cause."""
    n = len(batch)
    return Beside(np.arange(n), np.zeros(n, np.uint8), batch.ts_ms)


def merged(
    batch: TaggedBatch, beside: Beside, rows: Rows, *, position: int, heard_ms: int
) -> tuple[TaggedBatch, Beside]:
    """Both in order of event time.

    At one moment ticks come first, by device. What a reading made stands before it, so that a
    rule meets the reading when all that follows from it is known. position, heard_ms: of the
    mark, for rows that no reading made.
    """
    made = rows.cause >= 0
    at = rows.cause[made]
    fresh = _as_batch(batch, rows, position, heard_ms)
    cause = np.full(len(rows), -1)
    cause[made] = beside.cause[at]
    tick = np.where(
        made, beside.tick[np.where(made, rows.cause, 0)] if len(batch) else 0, rows.tick
    )
    joined = TaggedBatch.join([batch, fresh])
    causes = np.concatenate([beside.cause, cause])
    ticks = np.concatenate([beside.tick, tick.astype(np.uint8)])
    seen_ms = np.concatenate([beside.seen_ms, rows.seen_ms])
    inner = np.where(joined.quantity >= FIRST, joined.quantity.astype(np.int64), 2**15)
    inner += np.where(ticks == ENDS, 2**16, 0)
    timed = ticks != 0
    if len(batch) and batch.quantity.max() >= FIRST:
        group = np.where(timed, joined.device, causes)
        order = np.lexsort((inner, group, ~timed, joined.ts_ms))
    else:
        order = _inserted(batch.ts_ms, fresh, cause, inner[len(batch) :])
    joined, ticks = joined.take(order), ticks[order]
    causes = _numbered(causes[order], ticks != 0, joined)
    return joined, Beside(causes, ticks, seen_ms[order])


def _inserted(
    ts_ms: NDArray[np.int64], fresh: TaggedBatch, cause: NDArray[np.int64], inner: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The order of rows without derived ones and fresh rows behind them: only these are sorted."""
    made = cause >= 0
    before = np.where(made, cause, np.searchsorted(ts_ms, fresh.ts_ms))
    ticks = true_at(~made)
    ticks = ticks[np.lexsort((inner[ticks], fresh.device[ticks], fresh.ts_ms[ticks]))]
    listed = np.concatenate([ticks, true_at(made)])
    key = (2 * before + made) << 18 | np.where(made, inner, 0)
    listed = listed[np.argsort(key[listed], kind="stable")]
    order = np.empty(len(ts_ms) + len(listed), np.intp)
    old = np.ones(len(order), np.bool_)
    place = before[listed] + np.arange(len(listed))
    old[place] = False
    order[place] = len(ts_ms) + listed
    order[old] = np.arange(len(ts_ms))
    return order


def _as_batch(batch: TaggedBatch, rows: Rows, position: int, heard_ms: int) -> TaggedBatch:
    n = len(rows)
    made = np.flatnonzero(rows.cause >= 0)
    at = rows.cause[made]

    def told(column: NDArray[Any], otherwise: int) -> NDArray[Any]:
        filled = np.full(n, otherwise, column.dtype)
        filled[made] = column[at]
        return filled

    return TaggedBatch(
        device=rows.device,
        quantity=rows.quantity,
        ts_ms=rows.ts_ms,
        value=rows.value,
        flags=_flags(rows, told(batch.flags, 0)),
        heard_ms=told(batch.heard_ms, heard_ms),
        position=told(batch.position, position),
        row=told(batch.row, -1),
        order=told(batch.order, 0),
    )


def _flags(rows: Rows, told: NDArray[np.uint16]) -> NDArray[np.uint16]:
    if rows.flags is None:
        return told
    return np.where(rows.flags < 0, told, rows.flags).astype(np.uint16)


def shown(batch: TaggedBatch, beside: Beside, silent: NDArray[np.bool_]) -> Beside:
    """What stands for rows that say only yes or no: the reading that made them, or none.

    silent: bool by quantity.
    """
    row = np.arange(len(batch))
    last = np.append(begins(beside.cause)[1:], True) if len(batch) else np.empty(0, np.bool_)
    end = np.flatnonzero(last)[np.cumsum(last) - last] if len(batch) else row
    own = ~silent[batch.quantity]
    return replace(beside, shown=np.where(own, row, np.where(beside.tick == 0, end, -1)))


def _numbered(
    cause: NDArray[np.int64], timed: NDArray[np.bool_], batch: TaggedBatch
) -> NDArray[np.int64]:
    """Causes of ticks anew, below 0: one for each device and moment."""
    at = np.flatnonzero(timed)
    if len(at):
        device, ts_ms = batch.device[at], batch.ts_ms[at]
        other = np.ones(len(at), np.bool_)
        other[1:] = (device[1:] != device[:-1]) | (ts_ms[1:] != ts_ms[:-1])
        cause[at] = -np.cumsum(other, dtype=np.int64)
    return cause
