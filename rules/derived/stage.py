"""The stage before timed rules: everything derived is made here, kind by kind.

A kind sees the rows of the kinds before it, so that a sequence may ask for an average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from rules.derived.rows import Rows, merged, plain
from rules.derived.windows import Windows
from rules.entries import Entry
from rules.sheet import Beside
from rules.watermarks import Watermarks

Kept: TypeAlias = Mapping[str, Mapping[str, NDArray[Any]]]
"""State as columns, under names of one's own; directory rows are int32."""

NewRows: TypeAlias = Callable[[NDArray[np.int32]], NDArray[np.int32]]
"""Directory rows of a snapshot to those of now, -1 = gone."""


class Deriver(Protocol):
    """Makes the rows of one kind of derived quantities; those are the entries it was built with.

    feed: rows in order of event time, each mark's in one call, with all of earlier kinds; answers
    with the rows to add, in any order. Ticks up to the watermark belong to the mark too. Only
    what is known by a row's own time and place may decide it.
    next_ms: the earliest event time of a tick to come; None = none.
    state, load: all that must survive. The same state gives the same columns, whatever was
    called how often; `load` fills a newly built one, and leaves out what it doesn't know.
    """

    name: str

    def wanted(self) -> set[int]:
        """Indices into `QUANTITIES`."""
        ...

    def feed(self, batch: TaggedBatch, beside: Beside, watermarks: Watermarks) -> Rows | None: ...

    def next_ms(self) -> int | None: ...

    def state(self) -> Kept: ...

    def load(self, kept: Kept, new_rows: NewRows) -> None: ...

    def state_bytes(self) -> int: ...

    def counts(self) -> Mapping[str, int]:
        """What couldn't be kept or computed, by reason."""
        ...


Maker: TypeAlias = Callable[[tuple[Entry, ...], DeviceDirectory], "Deriver | None"]
"""Picks its entries; None = there are none."""

MAKERS: tuple[Maker, ...] = (Windows.of,)
"""In the order in which they see each other's rows."""


class Derive:
    """All kinds, in their order. Nothing is done where a rule set asks for nothing."""

    def __init__(self, entries: tuple[Entry, ...], directory: DeviceDirectory) -> None:
        self.entries = entries
        made = (maker(entries, directory) for maker in MAKERS)
        self.derivers: tuple[Deriver, ...] = tuple(one for one in made if one is not None)

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
