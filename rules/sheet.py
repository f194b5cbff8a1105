"""One batch, sorted once by (family, quantity) for all rules that look at it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.quantities import FAMILIES, QUANTITIES, Kind

Index = NDArray[np.intp]
Bools = NDArray[np.bool_]

_QUANTITIES = len(QUANTITIES)
_UNSURE = int(Flag.BAD | Flag.STALE)
_PAST = int(Flag.LATE | Flag.HISTORICAL | Flag.CLOCK_UNKNOWN)
_IS_ALARM = np.array([q.kind in (Kind.SIGNAL, Kind.CODE) for q in QUANTITIES])


class Sheet:
    """Columns of a batch with what rules ask of every row.

    unsure: rows whose value is no evidence (no value, bad or stale); None = there are none.
    alarming: of those, the ones that still raise a safety rule. past: rows that are history for
    all but safety rules (late, historical, clock unknown); None = there are none.
    """

    def __init__(self, batch: TaggedBatch, families: NDArray[np.int8]) -> None:
        self.batch = batch
        key = families[batch.device].astype(np.int16)
        key *= _QUANTITIES
        key += batch.quantity
        self._order = np.argsort(key, kind="stable")
        counts = np.bincount(key, minlength=len(FAMILIES) * _QUANTITIES)
        self._bounds = np.concatenate([[0], np.cumsum(counts)])
        self.unsure = _or_none(((batch.flags & _UNSURE) != 0) | np.isnan(batch.value))
        self.past = _or_none((batch.flags & _PAST) != 0)
        self.alarming = None if self.unsure is None else self._alarming(self.unsure)

    def _alarming(self, unsure: Bools) -> Bools:
        batch = self.batch
        said = ((batch.flags & int(Flag.ALARM)) != 0) | _IS_ALARM[batch.quantity]
        alarming: Bools = unsure & said & ~np.isnan(batch.value)
        return alarming

    def rows(self, family: int, quantity: int) -> Index:
        """Rows of the batch, ascending."""
        key = family * _QUANTITIES + quantity
        return self._order[self._bounds[key] : self._bounds[key + 1]]

    def rows_of(self, family: int, quantities: Iterable[int]) -> Index:
        """Rows of several quantities, ascending."""
        parts = [self.rows(family, quantity) for quantity in quantities]
        return np.sort(np.concatenate(parts)) if len(parts) > 1 else parts[0]

    def family_rows(self, family: int) -> Index:
        """All rows of a family, ascending."""
        first = self._bounds[family * _QUANTITIES]
        return np.sort(self._order[first : self._bounds[(family + 1) * _QUANTITIES]])

    def usable(self, rows: Index, *, safety: bool) -> Bools | None:
        """Which rows a rule may look at; None = all."""
        if self.unsure is None or self.alarming is None:
            return None
        usable: Bools = ~self.unsure[rows]
        return usable | self.alarming[rows] if safety else usable


def _or_none(mask: Bools) -> Bools | None:
    return mask if mask.any() else None
