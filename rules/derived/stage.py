"""The stage before timed rules: everything derived is made here, kind by kind.

A kind sees the rows of the kinds before it, so that a sequence may ask for an average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from rules.derived.conditions import Conditions
from rules.derived.deriver import Deriver, Kept, NewRows
from rules.derived.durings import Durings
from rules.derived.rows import merged, plain, shown
from rules.derived.windows import Windows
from rules.entries import Entry, told_by_readings
from rules.sheet import Beside
from rules.watermarks import Watermarks

Maker: TypeAlias = Callable[[tuple[Entry, ...], DeviceDirectory], "Deriver | None"]
"""Picks its entries; None = there are none."""

MAKERS: tuple[Maker, ...] = (Windows.of, Conditions.of, Durings.of)
"""In the order in which they see each other's rows."""


class Derive:
    """All kinds, in their order. Nothing is done where a rule set asks for nothing."""

    def __init__(self, entries: tuple[Entry, ...], directory: DeviceDirectory) -> None:
        self.entries = entries
        made = (maker(entries, directory) for maker in MAKERS)
        self.derivers: tuple[Deriver, ...] = tuple(one for one in made if one is not None)
        self._told_by_readings = told_by_readings(entries)

    def wanted(self) -> set[int]:
        return {quantity for deriver in self.derivers for quantity in deriver.wanted()}

    def extended(
        self, batch: TaggedBatch, watermarks: Watermarks, progress: Progress
    ) -> tuple[TaggedBatch, Beside | None]:
        """The rows, in order of event time, with all that is derived of them and of time."""
        if not self.derivers:
            return batch, None
        beside = plain(batch)
        for deriver in self.derivers:
            rows = deriver.feed(batch, beside, watermarks)
            if rows is not None and len(rows):
                batch, beside = merged(
                    batch, beside, rows, position=progress.position, heard_ms=progress.heard_ms
                )
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
