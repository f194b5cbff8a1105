"""One batch, sorted once by (family, quantity) for all rules that look at it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.quantities import QUANTITIES, Kind

Index = NDArray[np.intp]
Bools = NDArray[np.bool_]

_QUANTITIES = len(QUANTITIES)
_UNSURE = int(Flag.BAD | Flag.STALE)
_PAST = int(Flag.LATE | Flag.HISTORICAL | Flag.CLOCK_UNKNOWN)
_IS_ALARM = np.array([q.kind in (Kind.SIGNAL, Kind.CODE) for q in QUANTITIES])


_NO_ROWS = np.empty(0, np.intp)


class Sheet:
    """Columns of a batch with what rules ask of every row.

    rows: (family, quantity) -> its rows of the batch, ascending; only what the batch has.
    unsure: rows whose value is no evidence (no value, bad or stale); None = there are none.
    alarming: of those, the ones that still raise a safety rule. past: rows that are history for
    all but safety rules (late, historical, clock unknown); None = there are none.
    """

    def __init__(self, batch: TaggedBatch, families: NDArray[np.int8]) -> None:
        self.batch = batch
        key = families[batch.device].astype(np.int16)
        key *= _QUANTITIES
        key += batch.quantity
        self.rows = _by_key(key)
        self.families = {family for family, _ in self.rows}
        said = int(np.bitwise_or.reduce(batch.flags)) if len(batch) else 0
        unsure = np.isnan(batch.value)
        if said & _UNSURE:
            unsure |= (batch.flags & _UNSURE) != 0
        self.unsure = unsure if unsure.any() else None
        self.past = (batch.flags & _PAST) != 0 if said & _PAST else None
        self.alarming = None if self.unsure is None else self._alarming(self.unsure)

    def _alarming(self, unsure: Bools) -> Bools:
        batch = self.batch
        said = ((batch.flags & int(Flag.ALARM)) != 0) | _IS_ALARM[batch.quantity]
        alarming: Bools = unsure & said & ~np.isnan(batch.value)
        return alarming

    def rows_of(self, family: int, quantities: Iterable[int]) -> Index:
        """Rows of several quantities, ascending."""
        found = (self.rows.get((family, quantity)) for quantity in quantities)
        return _joined([rows for rows in found if rows is not None])

    def family_rows(self, family: int) -> Index:
        """All rows of a family, ascending."""
        return _joined([rows for (found, _), rows in self.rows.items() if found == family])

    def usable(self, rows: Index, *, safety: bool) -> Bools | None:
        """Which rows a rule may look at; None = all."""
        if self.unsure is None or self.alarming is None:
            return None
        usable: Bools = ~self.unsure[rows]
        return usable | self.alarming[rows] if safety else usable


def begins(column: NDArray[np.generic]) -> Bools:
    """bool per entry: whether it differs from the one before it."""
    first = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=first[1:])
    return first


def _by_key(key: NDArray[np.int16]) -> dict[tuple[int, int], Index]:
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key)
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present]).tolist()
    rows, start = {}, 0
    for pair, end in zip(present.tolist(), ends, strict=True):
        rows[divmod(pair, _QUANTITIES)] = order[start:end]
        start = end
    return rows


def _joined(parts: list[Index]) -> Index:
    if len(parts) == 1:
        return parts[0]
    return np.sort(np.concatenate(parts)) if parts else _NO_ROWS
