"""One batch, sorted once by (family, quantity) for all rules that look at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.quantities import FAMILIES, QUANTITIES, Kind
from rules.positions import true_at

Index = NDArray[np.intp]
Bools = NDArray[np.bool_]

UNSURE = int(Flag.BAD | Flag.STALE)
PAST = int(Flag.LATE | Flag.HISTORICAL | Flag.CLOCK_UNKNOWN)
DOUBT = UNSURE | PAST
"""All that makes a reading count otherwise; other flags are only told."""
_IS_ALARM = np.array([q.kind in (Kind.SIGNAL, Kind.CODE) for q in QUANTITIES])
_NO_ROWS = np.empty(0, np.intp)

LOSES = 1
"""A tick: time has passed and readings are missing. It may begin or keep a breach, never end it."""

ENDS = 2
"""A tick that may end a breach too: what it says hangs on no reading."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What rows say beyond their columns, where a batch has derived ones; one entry a row.

    cause: int64, the same for rows that came of the same reading, or of time at the same moment
    for one device; such rows stand together. tick: uint8, 0 = a reading stands behind the row,
    else `LOSES` or `ENDS`. seen_ms: int64 event time of the newest reading behind it. shown: intp,
    the row that people are told of in place of it, -1 = none; None = all stand for themselves.
    """

    cause: NDArray[np.int64]
    tick: NDArray[np.uint8]
    seen_ms: NDArray[np.int64]
    shown: Index | None = None


class Sheet:
    """Columns of a batch with what rules ask of every row.

    rows: (family, quantity) -> its rows of the batch, ascending; only what the batch has.
    unsure: rows whose value is no evidence (no value, bad or stale); None = there are none.
    alarming: of those, the ones that still raise a safety rule. past: rows that are history for
    all but safety rules (late, historical, clock unknown); None = there are none.
    """

    def __init__(
        self,
        batch: TaggedBatch,
        families: NDArray[np.int8],
        beside: Beside | None = None,
        *,
        derived: int = 0,
    ) -> None:
        """derived: how many quantities there are behind those of `QUANTITIES`."""
        self.batch = batch
        self.beside = beside
        width = len(QUANTITIES) + derived
        key: NDArray[Any] = families[batch.device].astype(_key_type(width))
        key *= width
        key += batch.quantity
        self.rows = _by_key(key, width)
        self.families = {family for family, _ in self.rows}
        said = int(np.bitwise_or.reduce(batch.flags)) if len(batch) else 0
        unsure = np.isnan(batch.value)
        if said & UNSURE:
            unsure |= (batch.flags & UNSURE) != 0
        self.unsure = unsure if unsure.any() else None
        self.past = (batch.flags & PAST) != 0 if said & PAST else None
        self.alarming = None if self.unsure is None else self._alarming(self.unsure)

    def _alarming(self, unsure: Bools) -> Bools:
        batch = self.batch
        said = ((batch.flags & int(Flag.ALARM)) != 0) | _is_alarm(batch.quantity)
        alarming: Bools = unsure & said & ~np.isnan(batch.value)
        return alarming

    def rows_of(self, family: int, quantities: Iterable[int]) -> Index:
        """Rows of several quantities, ascending."""
        found = (self.rows.get((family, quantity)) for quantity in quantities)
        return _joined([rows for rows in found if rows is not None])

    def family_rows(self, family: int) -> Index:
        """All readings of a family, ascending; what was derived of them is none."""
        return _joined(
            [
                rows
                for (found, quantity), rows in self.rows.items()
                if found == family and quantity < len(QUANTITIES)
            ]
        )

    def settled(self, rows: Index, own: Index) -> tuple[Index, Index]:
        """Of each group of rows with one cause: the row that speaks for it, and the last one,
        beside which all values are those of that moment. Positions in `rows`.

        own: positions that a rule looks at. The last row with a value speaks; without one, none.
        """
        if self.beside is None or not len(own):
            return own, own
        ends = np.append(begins(self.beside.cause[rows[own]])[1:], True)
        last = true_at(ends)
        sure = np.arange(len(own))
        if self.unsure is not None:
            unsure = self.unsure[rows[own]] & (self.batch.quantity[rows[own]] >= len(QUANTITIES))
            sure = np.maximum.accumulate(np.where(unsure, -1, sure))
        speaks = sure[last]
        there = speaks >= np.concatenate([[0], last[:-1] + 1])
        return own[speaks[there]], own[last[there]]

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


def _is_alarm(quantity: NDArray[np.int16]) -> Bools:
    plain = quantity < len(_IS_ALARM)
    said: Bools = plain & _IS_ALARM[np.where(plain, quantity, 0)]
    return said


def _key_type(width: int) -> type[np.signedinteger[Any]]:
    """The smaller it is, the faster it sorts."""
    return np.int16 if len(FAMILIES) * width < 2**15 else np.int32


def _by_key(key: NDArray[Any], width: int) -> dict[tuple[int, int], Index]:
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key)
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present]).tolist()
    rows, start = {}, 0
    for pair, end in zip(present.tolist(), ends, strict=True):
        rows[divmod(pair, width)] = order[start:end]
        start = end
    return rows


def _joined(parts: list[Index]) -> Index:
    if len(parts) == 1:
        return parts[0]
    return np.sort(np.concatenate(parts)) if parts else _NO_ROWS
