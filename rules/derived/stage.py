"""The stage before timed rules: everything derived is made here, kind by kind.

Kinds that look at readings alone come first. Others see the rows of all kinds before them, so that
a sequence may ask for an average.
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
from rules.entries import FIRST, Entry, told_by_readings
from rules.positions import true_at
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
        self._plain = [one for one in self.derivers if not one.reads_derived]
        self._later = [one for one in self.derivers if one.reads_derived]
        asked = {quantity for one in self._plain for quantity in one.asked()}
        self._looked_at = np.isin(np.arange(FIRST + len(entries)), sorted(asked))
        self._told_by_readings = told_by_readings(entries)
        self.unremembered = quiet.quantities

    def wanted(self) -> set[int]:
        """Indices into `QUANTITIES`."""
        asked = {quantity for deriver in self.derivers for quantity in deriver.asked()}
        return {quantity for quantity in asked if quantity < FIRST}

    def unresting(self) -> set[int]:
        """Quantities, derived ones too, of which kinds that look at earlier ones need each row."""
        return {quantity for deriver in self._later for quantity in deriver.asked()}

    def made(
        self, batch: TaggedBatch, watermarks: Watermarks, active: NDArray[np.int32]
    ) -> Rows | None:
        """What kinds derive of readings, in order of event time, and of time alone.

        active: int32 per directory row, how many instances of the device are active. Answers with
        causes in the batch; None = nothing.
        """
        if not self._plain:
            return None
        at = true_at(self._looked_at.take(batch.quantity))
        part = batch if len(at) == len(batch) else batch.take(at)
        beside = plain(part)
        found = [deriver.feed(part, beside, watermarks, active) for deriver in self._plain]
        rows = [one for one in found if one is not None and len(one)]
        if not rows:
            return None
        joined = rows[0] if len(rows) == 1 else Rows.join(rows)
        return joined if part is batch else joined.caused_by(at)

    def extended(
        self,
        batch: TaggedBatch,
        made: Rows | None,
        watermarks: Watermarks,
        progress: Progress,
        active: NDArray[np.int32],
    ) -> tuple[TaggedBatch, Beside | None]:
        """The rows with what was made of them, and with all that is derived of both.

        made: causes are rows of this batch.
        """
        if not self.derivers or not (len(batch) or made or self._later):
            return batch, None
        beside = plain(batch)
        waiting = [] if made is None or not len(made) else [made]

        def put_in() -> tuple[TaggedBatch, Beside]:
            rows = Rows.join(waiting)
            waiting.clear()
            return merged(
                batch, beside, rows, position=progress.position, heard_ms=progress.heard_ms
            )

        for deriver in self._later:
            if waiting:
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
