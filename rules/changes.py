"""Gathers transitions while a batch is worked through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.transitions import Change, TransitionBatch
from rules.instances import State

Index = NDArray[np.intp]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Revealed:
    """Where changes became known, one entry each: position, row of the record; when accepted."""

    position: NDArray[np.int64]
    row: NDArray[np.int32]
    heard_ms: Times

    def take(self, index: Index) -> Revealed:
        return Revealed(self.position[index], self.row[index], self.heard_ms[index])


@dataclass(frozen=True, slots=True)
class Deciding:
    """The deciding readings, one entry a change. value NaN and quantity -1: there is none."""

    value: NDArray[np.float64]
    quantity: NDArray[np.int16]
    decided_ms: Times
    flags: NDArray[np.uint16]
    heard_ms: Times

    def take(self, index: Index) -> Deciding:
        return Deciding(
            self.value[index],
            self.quantity[index],
            self.decided_ms[index],
            self.flags[index],
            self.heard_ms[index],
        )

    @staticmethod
    def none(decided_ms: Times, heard_ms: Times) -> Deciding:
        n = len(decided_ms)
        return Deciding(
            np.full(n, np.nan),
            np.full(n, -1, np.int16),
            decided_ms,
            np.zeros(n, np.uint16),
            heard_ms,
        )


class Changes:
    """A growing `TransitionBatch`; within one instance, changes stand in their order."""

    def __init__(self) -> None:
        self._parts: list[TransitionBatch] = []

    def add(
        self,
        change: Change,
        state: State,
        index: Index,
        *,
        at_ms: Times,
        threshold: NDArray[np.float64],
        deciding: Deciding,
        revealed: Revealed,
        waited_ms: Times | None = None,
        flapping_ms: Times | None = None,
    ) -> None:
        """One change for each instance in `index`; the other columns are of its length.

        waited_ms, flapping_ms: None = 0 for all.
        """
        n = len(index)
        self._parts.append(
            TransitionBatch(
                rule=state.rule[index].astype(np.int32),
                device=state.device[index],
                change=np.full(n, change, np.uint8),
                lane=state.lane[index],
                at_ms=at_ms.copy(),
                onset_ms=state.onset[index],
                value=deciding.value,
                threshold=threshold,
                quantity=deciding.quantity,
                decided_ms=deciding.decided_ms,
                flags=deciding.flags,
                heard_ms=deciding.heard_ms,
                position=revealed.position,
                row=revealed.row,
                severity=np.zeros(n, np.uint8),
                level=np.full(n, -1, np.int8),
                waited_ms=np.zeros(n, np.int64) if waited_ms is None else waited_ms,
                flapping_ms=np.zeros(n, np.int64) if flapping_ms is None else flapping_ms,
            )
        )

    def in_log_order(self) -> TransitionBatch:
        """See `in_log_order`."""
        return in_log_order(TransitionBatch.join(self._parts))

    def in_time_order(self) -> TransitionBatch:
        """See `in_time_order`."""
        return in_time_order(TransitionBatch.join(self._parts))


def in_log_order(found: TransitionBatch) -> TransitionBatch:
    """By (position, row, at_ms, rule, device, lane), then as they happened."""
    return _sorted(found, "lane", "device", "rule", "at_ms", "row", "position")


def in_time_order(found: TransitionBatch) -> TransitionBatch:
    """By (at_ms, rule, device, lane), then as they happened."""
    return _sorted(found, "lane", "device", "rule", "at_ms")


def _sorted(found: TransitionBatch, *keys: str) -> TransitionBatch:
    if len(found) < 2:
        return found
    return found.take(np.lexsort([getattr(found, key) for key in keys]))
