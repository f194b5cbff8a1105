"""`during`, row by row: beside each reading whether its moment is inside, and a tick for each
device that was heard whenever a schedule begins or ends.

In history time is what the readings say: an end is told there before the first row of the
device that comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX
from rules.derived.columns import bisected, ranges
from rules.derived.deriver import Kept, NewRows
from rules.derived.quiet import Quiet
from rules.derived.rows import Rows
from rules.entries import FIRST, Entry
from rules.expr.composed import During
from rules.instances import AFTER_ALL_MS, NEVER_MS
from rules.owners import OWNERS, column_of, predecessors
from rules.positions import true_at
from rules.schedule import turns_of
from rules.sheet import ENDS, PAST, UNSURE, Beside, Index
from rules.watermarks import Watermarks

Times = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST_TURNS = 1_500
"""Beginnings and ends that are told of one device at once, more than two years of nights; of a
longer silence the first and the last ones."""


class Durings:
    """Implements `stage.Deriver`."""

    name = "during"

    def __init__(self, entries: tuple[Entry, ...], directory: DeviceDirectory) -> None:
        self._kinds = [
            _During(entry, entry.derived, directory)
            for entry in entries
            if isinstance(entry.derived, During)
        ]
        self.reads_derived = any(quantity >= FIRST for quantity in self.asked())

    @staticmethod
    def of(entries: tuple[Entry, ...], directory: DeviceDirectory, quiet: Quiet) -> Durings | None:
        del quiet  # Each of its rows may decide what comes later.
        mine = tuple(entry for entry in entries if isinstance(entry.derived, During))
        return Durings(mine, directory) if mine else None

    def asked(self) -> set[int]:
        return {quantity for kind in self._kinds for quantity in kind.about}

    def feed(
        self,
        batch: TaggedBatch,
        beside: Beside,
        watermarks: Watermarks,
        active: NDArray[np.int32],
    ) -> Rows | None:
        del active
        found = [rows for kind in self._kinds for rows in kind.feed(batch, beside, watermarks)]
        return Rows.join(found) if found else None

    def next_ms(self) -> int | None:
        return min(
            (kind.next_ms for kind in self._kinds if kind.next_ms < AFTER_ALL_MS), default=None
        )

    def state(self) -> Kept:
        return {key: columns for kind in self._kinds for key, columns in kind.state()}

    def load(self, kept: Kept, new_rows: NewRows) -> None:
        for kind in self._kinds:
            kind.load(kept, new_rows)

    def state_bytes(self) -> int:
        return sum(kind.state_bytes() for kind in self._kinds)

    def counts(self) -> Mapping[str, int]:
        return {"turns_left_out": sum(kind.left_out for kind in self._kinds)}


class _During:
    """One entry. By directory row: heard_ms, the newest reading on time; told_ms, the last turn
    of the schedule that the device was told, the first such reading while there was none; due_ms,
    the turn after it. `NEVER_MS` = not heard.

    late_device, late_end: ends that are still to be told to history, each pair once.
    """

    def __init__(self, entry: Entry, during: During, directory: DeviceDirectory) -> None:
        self._index = entry.index
        self._during = during
        self._owners = entry.owners
        self._turns = turns_of(during.schedule)
        self._directory = directory
        self._about = np.isin(np.arange(2**15), during.about)
        self._families = np.isin(np.arange(128), [FAMILY_INDEX[name] for name in entry.families])
        self._heard = np.empty(0, np.int64)
        self._told = np.empty(0, np.int64)
        self._due = np.empty(0, np.int64)
        self._soonest_ms = AFTER_ALL_MS
        self._late_device = np.empty(0, np.int32)
        self._late_end = np.empty(0, np.int64)
        self.next_ms = AFTER_ALL_MS
        self.left_out = 0

    @property
    def about(self) -> tuple[int, ...]:
        return self._during.about

    def feed(self, batch: TaggedBatch, beside: Beside, watermarks: Watermarks) -> list[Rows]:
        self._grow()
        at = self._readings(batch, beside)
        if not (len(at) or len(self._late_device)) and self._soonest_ms > watermarks.newest_ms:
            return []
        device, ts_ms = batch.device[at], batch.ts_ms[at]
        past = (batch.flags[at] & PAST) != 0
        inside = self._turns.inside(ts_ms)
        rows = [_beside(self._index, device, ts_ms, inside, at)] if len(at) else []
        live = true_at(~past)
        self._meet(device[live], ts_ms[live])
        ticks = self._ticks(device[live], ts_ms[live], watermarks)
        late = true_at(past & inside)
        if len(late) or len(self._late_device):
            self._expect(device[late], ts_ms[late])
            heard = [(device, ts_ms)] if ticks is None else [(device, ts_ms), _moments(ticks)]
            rows.extend(self._late_ends(heard, ticks))
        self._hear(device[live], ts_ms[live])
        return rows if ticks is None else [*rows, ticks]

    def _readings(self, batch: TaggedBatch, beside: Beside) -> Index:
        """Usable readings that it is about."""
        at = true_at(self._about.take(batch.quantity))
        usable = ~np.isnan(batch.value[at]) & ((batch.flags[at] & UNSURE) == 0)
        usable &= self._families[self._directory.family[batch.device[at]]]
        usable &= beside.tick[at] == 0
        found: Index = at[usable]
        return found

    def _grow(self) -> None:
        more = len(self._directory) - len(self._told)
        if more > 0:
            self._heard = np.append(self._heard, np.full(more, NEVER_MS))
            self._told = np.append(self._told, np.full(more, NEVER_MS))
            self._due = np.append(self._due, np.full(more, AFTER_ALL_MS))

    def _meet(self, device: NDArray[np.int32], ts_ms: Times) -> None:
        """Devices that are heard for the first time: turns after that are theirs."""
        fresh = np.flatnonzero(self._told[device] == NEVER_MS)[::-1]
        if len(fresh):
            # Backwards, so that the earliest reading of a device stays.
            self._told[device[fresh]] = ts_ms[fresh]
            self._await(np.unique(device[fresh]))

    def _await(self, device: NDArray[np.int32]) -> None:
        self._due[device] = self._turns.turn_after(self._told[device])
        self._soonest_ms = min(self._soonest_ms, int(self._due[device].min()))
        self.next_ms = min(self.next_ms, self._soonest_ms)

    def _ticks(
        self, device: NDArray[np.int32], ts_ms: Times, watermarks: Watermarks
    ) -> Rows | None:
        """Of every device that was heard: turns up to the watermark of its gateway.

        device, ts_ms: readings on time of this mark.
        """
        if self._soonest_ms > watermarks.newest_ms:
            return None
        waiting = np.flatnonzero(self._due < AFTER_ALL_MS).astype(np.int32)
        reached = watermarks.of(waiting)
        due = np.flatnonzero(self._due[waiting] <= reached)
        made = self._told_now(waiting[due], reached[due])
        self._soonest_ms = int(self._due.min(initial=AFTER_ALL_MS))
        # Gateways that lag get on by readings, not by waiting.
        ahead = self._due[self._due > watermarks.newest_ms]
        self.next_ms = int(ahead.min(initial=AFTER_ALL_MS))
        if not len(made[0]):
            return None
        at, moment = made
        seen_ms = self._seen(at, moment, device, ts_ms)
        n = len(at)
        return Rows(
            device=at,
            quantity=np.full(n, self._index, np.int16),
            ts_ms=moment,
            value=self._turns.inside(moment).astype(np.float64),
            cause=np.full(n, -1),
            tick=np.full(n, ENDS, np.uint8),
            seen_ms=seen_ms,
        )

    def _told_now(
        self, device: NDArray[np.int32], reached: Times
    ) -> tuple[NDArray[np.int32], Times]:
        """(device, turn) of all that is due; it is told from now on."""
        if not len(device):
            return device, reached
        turns = self._turns.between(int(self._due[device].min()) - 1, int(reached.max()))
        first = np.searchsorted(turns, self._due[device], side="left")
        end = np.searchsorted(turns, reached, side="right")
        count = np.minimum(end - first, MOST_TURNS)
        self.left_out += int((end - first - count).sum())
        at = ranges(end - count, count)
        some = np.flatnonzero(count > 0)
        # The first is always told: what it ends must not last for the whole silence.
        at[(np.cumsum(count) - count)[some]] = first[some]
        self._told[device[some]] = turns[end[some] - 1]
        self._due[device] = self._turns.turn_after(reached)
        return np.repeat(device, count), turns[at]

    def _seen(
        self, at: NDArray[np.int32], moment: Times, device: NDArray[np.int32], ts_ms: Times
    ) -> Times:
        """The newest reading of a device before a moment."""
        order = np.argsort(device, kind="stable")
        device, ts_ms = device[order], ts_ms[order]
        first, end = np.searchsorted(device, at, "left"), np.searchsorted(device, at, "right")
        last = bisected(ts_ms, first, end, moment - 1) - 1
        there = last >= first
        seen = self._heard[at]
        seen[there] = ts_ms[last[there]]
        return seen

    def _hear(self, device: NDArray[np.int32], ts_ms: Times) -> None:
        np.maximum.at(self._heard, device, ts_ms)

    # History

    def _expect(self, device: NDArray[np.int32], ts_ms: Times) -> None:
        """Late readings inside the schedule: its end is to be told before what comes after it."""
        self._add_ends(device, self._turns.turn_after(ts_ms))

    def _add_ends(self, device: NDArray[np.int32], ends: Times) -> None:
        devices = np.concatenate([self._late_device, device])
        ends = np.concatenate([self._late_end, ends])
        order = np.lexsort((ends, devices))
        devices, ends = devices[order], ends[order]
        once = np.ones(len(devices), np.bool_)
        once[1:] = (devices[1:] != devices[:-1]) | (ends[1:] != ends[:-1])
        self._late_device, self._late_end = devices[once], ends[once]

    def _late_ends(
        self, heard: list[tuple[NDArray[np.int32], Times]], ticks: Rows | None
    ) -> list[Rows]:
        newest = np.full(len(self._directory), NEVER_MS)
        for device, ts_ms in heard:
            np.maximum.at(newest, device, ts_ms)
        passed = self._late_end <= newest[self._late_device]
        device, ends = self._late_device[passed], self._late_end[passed]
        self._late_device = self._late_device[~passed]
        self._late_end = self._late_end[~passed]
        if ticks is not None:
            # A tick on time says the same in history.
            told = set(zip(ticks.device.tolist(), ticks.ts_ms.tolist(), strict=True))
            pairs = zip(device.tolist(), ends.tolist(), strict=True)
            fresh = np.array([pair not in told for pair in pairs], np.bool_)
            device, ends = device[fresh], ends[fresh]
        n = len(device)
        if not n:
            return []
        return [
            Rows(
                device=device,
                quantity=np.full(n, self._index, np.int16),
                ts_ms=ends,
                value=self._turns.inside(ends).astype(np.float64),
                cause=np.full(n, -1),
                tick=np.full(n, ENDS, np.uint8),
                seen_ms=ends,
                flags=np.full(n, int(Flag.LATE), np.uint16),
            )
        ]

    # State

    def state(self) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        at = np.flatnonzero(self._told > NEVER_MS)
        yield (
            f"{self._during.about_names} | {self._during.key}",
            {
                "device": at.astype(np.int32),
                "heard": self._heard[at],
                "told": self._told[at],
                "late_device": self._late_device,
                "late_end": self._late_end,
                "left_out": np.array([self.left_out], np.int64),
                OWNERS: column_of(self._owners),
            },
        )

    def load(self, kept: Kept, new_rows: NewRows) -> None:
        """Of the same schedule, else of those that its rules had about the same quantities: a
        changed schedule tells devices that have been heard what it makes of their newest readings.
        Where several rules meet in one schedule, a device is told what any of them wasn't.
        """
        prefix = f"{self._during.about_names} | "
        own = f"{prefix}{self._during.key}"
        others = {key: columns for key, columns in kept.items() if key.startswith(prefix)}
        there = [kept[own]] if own in kept else predecessors(self._owners, others)
        self._grow()
        for columns in there:
            self._load_times(columns, new_rows)
        if own in kept:
            columns = kept[own]
            late = new_rows(columns["late_device"])
            self._add_ends(late[late >= 0], columns["late_end"][late >= 0])
            self.left_out = max(self.left_out, int(columns["left_out"][0]))

    def _load_times(self, columns: Mapping[str, NDArray[Any]], new_rows: NewRows) -> None:
        device = new_rows(columns["device"])
        there = device >= 0
        there[there] = self._families[self._directory.family[device[there]]]
        device = device[there]
        told, before = columns["told"][there], self._told[device]
        self._heard[device] = np.maximum(self._heard[device], columns["heard"][there])
        self._told[device] = np.where(before > NEVER_MS, np.minimum(before, told), told)
        if len(device):
            self._await(device)

    def state_bytes(self) -> int:
        columns = (self._heard, self._told, self._due, self._late_device, self._late_end)
        return sum(column.nbytes for column in columns)


def _beside(index: int, device: NDArray[np.int32], ts_ms: Times, inside: Bools, at: Index) -> Rows:
    n = len(at)
    return Rows(
        device=device,
        quantity=np.full(n, index, np.int16),
        ts_ms=ts_ms,
        value=inside.astype(np.float64),
        cause=at,
        tick=np.zeros(n, np.uint8),
        seen_ms=ts_ms,
    )


def _moments(rows: Rows) -> tuple[NDArray[np.int32], Times]:
    return rows.device, rows.ts_ms
