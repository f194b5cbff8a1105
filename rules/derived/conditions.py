"""Sequences and debounce: conditions of a device's readings, and what became of them so far.

A group holds what one family asks of the same rows; its entries share one memory of the newest
values, as rules do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX
from rules.derived.debounce import Register
from rules.derived.deriver import Kept, NewRows
from rules.derived.quiet import Quiet
from rules.derived.rows import Rows
from rules.derived.sequence import Progress
from rules.entries import FIRST, Entry, names
from rules.expr.composed import Debounced, Sequence
from rules.expr.evaluate import Bools, Floats, judge
from rules.expr.plan import Attribute, Truth, attributes_of, quantities_of
from rules.instances import NEVER_MS
from rules.members import answer, no_answers
from rules.memory import Memory
from rules.owners import OWNERS, column_of, predecessors
from rules.sheet import UNSURE, Beside, Index, Sheet
from rules.watermarks import Watermarks

Columns = Mapping[str, NDArray[Any]]


class Conditions:
    """Implements `stage.Deriver`."""

    name = "conditions"
    reads_derived = True

    def __init__(self, entries: tuple[Entry, ...], directory: DeviceDirectory) -> None:
        self._directory = directory
        self._derived = len(entries)
        name_of = names(entries)
        mine = [entry for entry in entries if isinstance(entry.derived, Sequence | Debounced)]
        kinds = sorted({(family, entry.safety) for entry in mine for family in entry.families})
        self._groups = [
            _Group(
                [e for e in mine if e.safety == safety and family in e.families],
                family,
                directory,
                name_of,
                safety=safety,
            )
            for family, safety in kinds
        ]

    @staticmethod
    def of(
        entries: tuple[Entry, ...], directory: DeviceDirectory, quiet: Quiet
    ) -> Conditions | None:
        del quiet  # Each of its rows may decide what comes later.
        if any(isinstance(entry.derived, Sequence | Debounced) for entry in entries):
            return Conditions(entries, directory)
        return None

    def asked(self) -> set[int]:
        return {quantity for group in self._groups for quantity in group.quantities}

    def feed(
        self,
        batch: TaggedBatch,
        beside: Beside,
        watermarks: Watermarks,
        active: NDArray[np.int32],
    ) -> Rows | None:
        del active
        del watermarks
        if not len(batch):
            return None
        sheet = Sheet(batch, self._directory.family, beside, derived=self._derived)
        found = [rows for group in self._groups for rows in group.feed(sheet, beside)]
        return Rows.join(found) if found else None

    def next_ms(self) -> int | None:
        return None

    def state(self) -> Kept:
        return {key: columns for group in self._groups for key, columns in group.state()}

    def load(self, kept: Kept, new_rows: NewRows) -> None:
        for group in self._groups:
            group.load(kept, new_rows)

    def state_bytes(self) -> int:
        return sum(group.state_bytes() for group in self._groups)

    def counts(self) -> Mapping[str, int]:
        return {}


class _Operator(Protocol):
    """What one entry keeps of one stream; rank is the directory row."""

    def make_room(self, room: int) -> None: ...

    def take(self, met: _Met) -> tuple[NDArray[np.intp], Bools]:
        """(rows that say something, whether it is true there)."""
        ...

    def state(self) -> Columns: ...

    def load(self, columns: Columns, device: NDArray[np.int32]) -> None: ...


class _Met:
    """Rows of one device each, in order. true, false: bool[conditions, rows]. sure: rows that are
    evidence; others only count where they breach. tick: rows that time alone made.
    """

    def __init__(
        self,
        device: NDArray[np.int32],
        ts_ms: NDArray[np.int64],
        true: NDArray[np.bool_],
        false: NDArray[np.bool_],
        sure: Bools,
        tick: Bools,
    ) -> None:
        self.device, self.ts_ms, self.true, self.false = device, ts_ms, true, false
        self.sure, self.tick = sure, tick


class _Group:
    """What one family asks of one class of streams."""

    def __init__(
        self,
        entries: list[Entry],
        family: str,
        directory: DeviceDirectory,
        name_of: tuple[str, ...],
        *,
        safety: bool,
    ) -> None:
        self._family = FAMILY_INDEX[family]
        self._label = f"{family} {'safety' if safety else 'ordinary'}"
        self._directory = directory
        self._name_of = name_of
        self._safety = safety
        self._streams = ("all",) if safety else ("live", "late")
        self._asked = [
            _Asked(entry, entry.derived, self._streams)
            for entry in entries
            if isinstance(entry.derived, Sequence | Debounced)
        ]
        asked = {quantity for one in self._asked for quantity in one.quantities}
        self._quantities = tuple(sorted(asked))
        self._memories = {
            stream: Memory(self._quantities, 0, timed=True) for stream in self._streams
        }
        self._answers: dict[Attribute, NDArray[Any]] = {
            plan: no_answers(plan) for one in self._asked for plan in one.attributes
        }

    @property
    def quantities(self) -> tuple[int, ...]:
        return self._quantities

    def feed(self, sheet: Sheet, beside: Beside) -> Iterator[Rows]:
        if self._family not in sheet.families:
            return
        rows = sheet.rows_of(self._family, self._quantities)
        usable = sheet.usable(rows, safety=self._safety)
        if usable is not None:
            rows = rows[usable | (sheet.batch.quantity[rows] >= FIRST)]
        if not len(rows):
            return
        self._grow()
        for stream, mine in self._parts(sheet, rows):
            yield from self._feed(stream, sheet, beside, rows[mine])

    def _parts(self, sheet: Sheet, rows: Index) -> Iterator[tuple[str, Bools | slice]]:
        if self._safety or sheet.past is None:
            yield self._streams[0], slice(None)
            return
        past = sheet.past[rows]
        yield "live", ~past
        yield "late", past

    def _feed(self, stream: str, sheet: Sheet, beside: Beside, rows: Index) -> Iterator[Rows]:
        if not len(rows):
            return
        batch = sheet.batch
        room = len(self._directory)
        values = self._memories[stream].recall(sheet, rows, batch.device[rows], room)
        for asked in self._asked:
            own = np.flatnonzero(np.isin(batch.quantity[rows], asked.quantities))
            at, known = sheet.settled(rows, own)
            if not len(at):
                continue
            picked = rows[at]
            columns = _Rows(
                batch.device[picked], {q: v[known] for q, v in values.items()}, self._answers
            )
            judged = [judge(condition, columns) for condition in asked.conditions]
            own_true = [
                true & self._about(sheet, rows, picked, read)
                for (true, _), read in zip(judged, asked.read, strict=True)
            ]
            unsure = sheet.unsure
            met = _Met(
                batch.device[picked],
                batch.ts_ms[picked],
                np.array(own_true),
                np.array([false for _, false in judged]),
                np.ones(len(picked), np.bool_) if unsure is None else ~unsure[picked],
                beside.tick[picked] != 0,
            )
            said, true = asked.operators[stream].take(met)
            if len(said):
                yield _told(asked.index, batch, picked[said], true, beside)

    def _about(
        self, sheet: Sheet, rows: Index, picked: Index, quantities: tuple[int, ...]
    ) -> Bools:
        """Which of `picked` came of readings that a condition looks at: a step happens at one."""
        if len(quantities) == len(self._quantities) or sheet.beside is None:
            return np.ones(len(picked), np.bool_)
        own = np.isin(sheet.batch.quantity[rows], quantities)
        cause = sheet.beside.cause
        return np.isin(cause[picked], cause[rows[own]])

    def _grow(self) -> None:
        room = len(self._directory)
        for asked in self._asked:
            for operator in asked.operators.values():
                operator.make_room(room)
        for plan, answers in self._answers.items():
            fresh = np.arange(len(answers), room, dtype=np.int32)
            if len(fresh):
                more = answer(self._directory, plan, fresh)
                self._answers[plan] = np.append(answers, more)

    def state(self) -> Iterator[tuple[str, Columns]]:
        for asked in self._asked:
            for stream, operator in asked.operators.items():
                columns = {**operator.state(), OWNERS: column_of(asked.owners)}
                yield f"{asked.shape} | {self._label} {stream} | {asked.name}", columns
        for stream, memory in self._memories.items():
            for quantity, kept in memory.kept.items():
                known = np.flatnonzero(kept.ts_ms > NEVER_MS)
                yield (
                    f"newest | {self._label} {stream} | {self._name_of[quantity]}",
                    {
                        "device": known.astype(np.int32),
                        "value": kept.value[known],
                        "ts": kept.ts_ms[known],
                    },
                )

    def load(self, kept: Kept, new_rows: NewRows) -> None:
        self._grow()
        for asked in self._asked:
            for stream, operator in asked.operators.items():
                columns = _found(kept, f"{asked.shape} | {self._label} {stream} | ", asked)
                if columns is not None:
                    operator.load(columns, self._now(new_rows, columns))
        for stream, memory in self._memories.items():
            for quantity, remembered in memory.kept.items():
                columns = kept.get(f"newest | {self._label} {stream} | {self._name_of[quantity]}")
                if columns is None:
                    continue
                device = self._now(new_rows, columns)
                there = device >= 0
                remembered.make_room(len(self._directory))
                remembered.value[device[there]] = columns["value"][there]
                remembered.ts_ms[device[there]] = columns["ts"][there]

    def _now(self, new_rows: NewRows, columns: Columns) -> NDArray[np.int32]:
        """Directory rows, -1 = gone or of another family now."""
        device = new_rows(columns["device"])
        there = device >= 0
        device[there] = np.where(
            self._directory.family[device[there]] == self._family, device[there], -1
        )
        return device

    def state_bytes(self) -> int:
        kept = [kept for memory in self._memories.values() for kept in memory.kept.values()]
        operators = [o for asked in self._asked for o in asked.operators.values()]
        newest = sum(one.value.nbytes + one.ts_ms.nbytes for one in kept)
        return newest + sum(c.nbytes for o in operators for c in o.state().values())


def _found(kept: Kept, prefix: str, asked: _Asked) -> Columns | None:
    """Of the same words, else what its rule had under others of the same shape: only numbers
    changed. What other rules have of the same quantities is theirs."""
    exact = kept.get(f"{prefix}{asked.name}")
    if exact is not None:
        return exact
    there = predecessors(asked.owners, {key: kept[key] for key in kept if key.startswith(prefix)})
    # Rules that came to different things and ask the same now begin anew.
    return there[0] if len(there) == 1 else None


def _told(index: int, batch: TaggedBatch, cause: Index, true: Bools, beside: Beside) -> Rows:
    n = len(cause)
    return Rows(
        device=batch.device[cause],
        quantity=np.full(n, index, np.int16),
        ts_ms=batch.ts_ms[cause],
        value=true.astype(np.float64),
        cause=cause,
        tick=beside.tick[cause],
        seen_ms=beside.seen_ms[cause],
        # The alarm of a bad reading counts; its flags are told with the reading.
        flags=batch.flags[cause].astype(np.int32) & ~UNSURE,
    )


class _Asked:
    """One entry: its conditions, and an operator for each stream."""

    def __init__(
        self, entry: Entry, derived: Sequence | Debounced, streams: tuple[str, ...]
    ) -> None:
        self.index = entry.index
        self.name = entry.name
        self.owners = entry.owners
        self.shape = derived.shape
        self.conditions: tuple[Truth, ...] = derived.conditions
        self.read = [quantities_of(condition) for condition in self.conditions]
        self.quantities = tuple(dict.fromkeys(q for read in self.read for q in read))
        asked = [plan for condition in self.conditions for plan in attributes_of(condition)]
        self.attributes = tuple(dict.fromkeys(asked))
        self.operators: dict[str, _Operator] = {
            stream: _Following(derived) if isinstance(derived, Sequence) else _Counting(derived)
            for stream in streams
        }


class _Following:
    """`_Operator` of a sequence."""

    def __init__(self, sequence: Sequence) -> None:
        self._steps = sequence.steps
        self._progress = Progress(sequence.within_ms)

    def make_room(self, room: int) -> None:
        self._progress.make_room(room)

    def take(self, met: _Met) -> tuple[NDArray[np.intp], Bools]:
        completed = self._progress.follow(met.device, met.ts_ms, met.true)
        said = np.flatnonzero(met.sure | completed)
        return said, completed[said]

    def state(self) -> Columns:
        reached = self._progress.reached_ms
        device = np.flatnonzero((reached > NEVER_MS).any(axis=0))
        return {"device": device.astype(np.int32), "reached": reached[:, device].ravel()}

    def load(self, columns: Columns, device: NDArray[np.int32]) -> None:
        there = device >= 0
        reached = columns["reached"].reshape(len(self._progress.within_ms), len(device))
        self._progress.reached_ms[:, device[there]] = reached[:, there]


class _Counting:
    """`_Operator` of n of m."""

    def __init__(self, debounced: Debounced) -> None:
        self._least = debounced.least
        self._register = Register(debounced.of)

    def make_room(self, room: int) -> None:
        self._register.make_room(room)

    def take(self, met: _Met) -> tuple[NDArray[np.intp], Bools]:
        """Only readings count, and only those that can be judged."""
        said = np.flatnonzero((met.true[0] | met.false[0]) & met.sure & ~met.tick)
        counted = self._register.shift(met.device[said], met.true[0][said])
        return said, counted >= self._least

    def state(self) -> Columns:
        device = np.flatnonzero(self._register.bits)
        return {"device": device.astype(np.int32), "bits": self._register.bits[device]}

    def load(self, columns: Columns, device: NDArray[np.int32]) -> None:
        there = device >= 0
        self._register.bits[device[there]] = columns["bits"][there]


class _Rows:
    """Rows as an expression sees them."""

    def __init__(
        self,
        device: NDArray[np.int32],
        values: dict[int, Floats],
        answers: dict[Attribute, NDArray[Any]],
    ) -> None:
        self._device = device
        self._values = values
        self._answers = answers

    def reading(self, quantity: int) -> Floats:
        return self._values[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._answers[plan][self._device]

    def silent(self, for_ms: int) -> Bools:
        raise KeyError(for_ms)
