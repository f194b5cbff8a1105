"""The stage before timed rules: everything derived is made here, kind by kind.

A kind sees the rows of the kinds before it, so that a sequence may ask for an average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from rules.derived.conditions import Conditions
from rules.derived.deriver import Deriver, Kept, NewRows
from rules.derived.durings import Durings
from rules.derived.quiet import Quiet
from rules.derived.rows import Rows, merged, plain, shown
from rules.derived.windows import Windows
from rules.entries import Entry, told_by_readings
from rules.ruleset import Rule
from rules.sheet import Beside
from rules.watermarks import Watermarks

Maker: TypeAlias = Callable[[tuple[Entry, ...], DeviceDirectory, Quiet], "Deriver | None"]
"""Picks its entries; None = there are none."""

MAKERS: tuple[Maker, ...] = (Windows.of, Conditions.of, Durings.of)
"""In the order in which they see each other's rows."""


class Derive:
    """All kinds, in their order. Nothing is done where a rule set asks for nothing.

    unremembered: derived quantities that rules need no memory of.
    """

    def __init__(
        self, entries: tuple[Entry, ...], directory: DeviceDirectory, rules: Sequence[Rule]
    ) -> None:
        self.entries = entries
        quiet = Quiet(rules, entries)
        made = (maker(entries, directory, quiet) for maker in MAKERS)
        self.derivers: tuple[Deriver, ...] = tuple(one for one in made if one is not None)
        self._told_by_readings = told_by_readings(entries)
        self.unremembered = quiet.quantities

    def wanted(self) -> set[int]:
        return {quantity for deriver in self.derivers for quantity in deriver.wanted()}

    def extended(
        self,
        batch: TaggedBatch,
        watermarks: Watermarks,
        progress: Progress,
        active: NDArray[np.int32],
    ) -> tuple[TaggedBatch, Beside | None]:
        """The rows, in order of event time, with all that is derived of them and of time.

        active: int32 per directory row, how many instances of the device are active.
        """
        if not self.derivers:
            return batch, None
        beside = plain(batch)
        waiting: list[Rows] = []

        def put_in() -> tuple[TaggedBatch, Beside]:
            rows = Rows.join(waiting)
            waiting.clear()
            return merged(
                batch, beside, rows, position=progress.position, heard_ms=progress.heard_ms
            )

        for deriver in self.derivers:
            if waiting and deriver.reads_derived:
                batch, beside = put_in()
            rows = deriver.feed(batch, beside, watermarks, active)
            if rows is not None and len(rows):
                waiting.append(rows)
        if waiting:
            batch, beside = put_in()
        if self._told_by_readings is not None:
            beside = shown(batch, beside, self._told_by_readings)
        return batch, beside

    def next_ms(self) -> int | None:
        due = (deriver.next_ms() for deriver in self.derivers)
        return min((at for at in due if at is not None), default=None)

    def state(self) -> Iterator[tuple[str, Kept]]:
        for deriver in self.derivers:
            yield deriver.name, deriver.state()

    def load(self, name: str, kept: Kept, new_rows: NewRows) -> None:
        for deriver in self.derivers:
            if deriver.name == name:
                deriver.load(kept, new_rows)

    def state_bytes(self) -> int:
        return sum(deriver.state_bytes() for deriver in self.derivers)

    def counts(self) -> dict[str, int]:
        return {
            f"{deriver.name}.{reason}": number
            for deriver in self.derivers
            for reason, number in sorted(deriver.counts().items())
        }
