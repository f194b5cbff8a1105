"""One quantity in one stream: its history, and what is derived of it at readings and at ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from rules.derived.columns import (
    GREATEST,
    MOST,
    Bools,
    Floats,
    Index,
    Times,
    bisected,
    ranges,
)
from rules.derived.functions import Windows
from rules.derived.history import Held, History
from rules.derived.quiet import Quiet, stirs
from rules.derived.rows import Rows
from rules.entries import Entry
from rules.expr.plan import Truth
from rules.expr.window import Age, Window
from rules.instances import AFTER_ALL_MS, NEVER_MS
from rules.positions import true_at
from rules.sheet import LOSES
from rules.watermarks import Watermarks

_COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}


@dataclass(frozen=True, slots=True)
class Fed:
    """Usable readings of one mark in order of event time. row: of the batch. past: history."""

    device: NDArray[np.int32]
    ts_ms: Times
    value: Floats
    row: Index
    past: Bools

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Index) -> Fed:
        return Fed(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Span:
    """Which ticks fall into a mark: those of int64 after_ms to to_ms of each device.

    silent: positions of readings that make none, for they came as history.
    """

    after_ms: Times
    to_ms: Times
    silent: Index


@dataclass(frozen=True, slots=True)
class _Moments:
    """When windows are looked at. segment: device of `Held`; end: readings up to there count.

    row: of the batch, -1 = a tick.
    """

    segment: Index
    ts_ms: Times
    end: Index
    row: Index

    def and_then(self, others: _Moments) -> _Moments:
        if not len(others.row):
            return self
        names = (field.name for field in fields(self))
        pairs = ((getattr(self, name), getattr(others, name)) for name in names)
        return _Moments(*map(np.concatenate, pairs))


@dataclass(frozen=True, slots=True)
class _Said:
    """Answers at moments, by derived quantity. seen_ms: the newest reading behind each."""

    moments: _Moments
    values: dict[int, Floats]
    seen_ms: Times


class Track:
    """ticks: whether time alone makes rows. left_early: readings that left before their window
    had passed, because there were more than `MOST`. misfits: readings too great to be added.
    """

    def __init__(
        self, entries: tuple[Entry, ...], directory: DeviceDirectory, quiet: Quiet, *, ticks: bool
    ) -> None:
        self._directory = directory
        self._ticks = ticks
        self._windows: dict[int, list[tuple[int, Window]]] = {}
        self._ages: dict[int, int] = {}
        for entry in entries:
            derived = entry.derived
            if isinstance(derived, Window):
                self._windows.setdefault(derived.window_ms, []).append((entry.index, derived))
            elif isinstance(derived, Age):
                self._ages[derived.limit_ms] = entry.index
        self._plans = {
            length_ms: quiet.plans(index for index, _ in asked)
            for length_ms, asked in self._windows.items()
        }
        self._age_plans = {limit: quiet.plans([index]) for limit, index in self._ages.items()}
        self._longest_ms = max(self._windows, default=0)
        asked = {window.function for many in self._windows.values() for _, window in many}
        self._history = History(asked)
        self._due = np.empty(0, np.int64)
        self._restored = np.empty(0, np.int64)
        self._ticked: Watermarks | None = None
        self._soonest_ms = AFTER_ALL_MS
        self.left_early = 0
        self.misfits = 0

    def due_ms(self) -> int:
        """When the next reading leaves a window or becomes too old."""
        return self._soonest_ms

    def feed(self, fed: Fed, watermarks: Watermarks, active: NDArray[np.int32]) -> list[Rows]:
        """What the readings make, and ticks up to the watermarks, as far as rules want it.

        active: int32 per directory row, how many instances of the device are active.
        """
        if not len(fed) and self._soonest_ms > watermarks.newest_ms:
            self._ticked = watermarks
            return []
        slots = self._history.slots(fed.device)
        self._grow()
        touched = self._touched(slots, watermarks)
        if not len(touched):
            self._ticked = watermarks
            return []
        order = np.argsort(slots, kind="stable")
        fed, slots = fed.take(order), slots[order]
        at = self._history.put(slots, fed.ts_ms, fed.value)
        held = self._history.held(touched)
        devices = self._history.device[touched]
        to_ms = watermarks.of(devices)
        span = _Span(self._ticked_ms(touched, devices), to_ms, at[fed.past])
        segment = np.empty(len(self._history), np.intp)
        segment[touched] = np.arange(len(touched))
        readings = _Moments(segment[slots], fed.ts_ms, at + 1, fed.row)
        wanted = active[devices] > 0
        rows = []
        for window_ms, asked in self._windows.items():
            said = self._window_said(window_ms, asked, held, touched, readings, span)
            rows += _made(said, devices, self._plans[window_ms], wanted)
        for limit_ms, index in self._ages.items():
            said = self._age_said(limit_ms, index, held, readings, span)
            rows += _made(said, devices, self._age_plans[limit_ms], wanted)
        self.misfits += int((np.abs(fed.value) > GREATEST).sum())
        self._keep(touched, held, to_ms)
        self._ticked = watermarks
        return rows

    def _touched(self, slots: NDArray[np.int32], watermarks: Watermarks) -> Index:
        """Slots with readings or with a tick that is due, ascending."""
        touched = np.zeros(len(self._history), np.bool_)
        touched[slots] = True
        if self._soonest_ms <= watermarks.newest_ms:
            touched |= self._due <= watermarks.of(self._history.device)
        return true_at(touched)

    def _ticked_ms(self, slots: Index, devices: NDArray[np.int32]) -> Times:
        """How far ticks have been made: to the mark before this one."""
        restored = self._restored[slots]
        return restored if self._ticked is None else np.maximum(restored, self._ticked.of(devices))

    def _window_said(
        self,
        window_ms: int,
        asked: list[tuple[int, Window]],
        held: Held,
        touched: Index,
        readings: _Moments,
        span: _Span,
    ) -> list[_Said]:
        columns = self._history.columns
        moments = readings
        if self._ticks:
            moments = moments.and_then(_departures(columns.ts_ms, held, window_ms, span))
        if not len(moments.row):
            return []
        first = held.first[moments.segment]
        begins = moments.ts_ms - window_ms
        low = bisected(columns.ts_ms, first, moments.end, begins)
        capped = moments.end - low > MOST
        low = np.where(capped, moments.end - MOST, low)
        before = np.where(low > first, low - 1, -1)
        windows = Windows(columns, first, low, moments.end, before)
        covered = columns.ts_ms[first] <= begins
        covered &= (self._history.lost_ms[touched][moments.segment] <= begins) & ~capped
        seen_ms = columns.ts_ms[np.maximum(moments.end - 1, 0)]
        answers: dict[str, Floats] = {}
        values = {}
        for index, window in asked:
            if window.name not in answers:
                answers[window.name] = windows.answer(window)
            values[index] = _settled(window, answers[window.name], covered)
        return [_Said(moments, values, seen_ms)]

    def _age_said(
        self, limit_ms: int, index: int, held: Held, readings: _Moments, span: _Span
    ) -> list[_Said]:
        """0 at each reading; 1 when the next one hasn't come in time."""
        said = [_Said(readings, {index: np.zeros(len(readings.row))}, readings.ts_ms)]
        if self._ticks:
            old = _outlived(self._history.columns.ts_ms, held, limit_ms, span)
            said.append(_Said(old, {index: np.ones(len(old.row))}, old.ts_ms - limit_ms))
        return [part for part in said if len(part.moments.row)]

    def _keep(self, touched: Index, held: Held, mark_ms: Times) -> None:
        """What windows to come may look at: the longest one behind the newest reading, the one
        before it, and no more than `MOST`."""
        ts_ms = self._history.columns.ts_ms
        newest = ts_ms[held.end - 1]
        if self._ticks:
            # Readings ahead of the mark still have ticks before them.
            newest = np.where(mark_ms > NEVER_MS, np.minimum(newest, mark_ms), newest)
        low = bisected(ts_ms, held.first, held.end, newest - self._longest_ms)
        low = np.maximum(low - 1, held.first)
        capped = np.maximum(held.end - MOST, low)
        self.left_early += int((capped - low).sum())
        lost = true_at(capped > held.first)
        at = touched[lost]
        # What went is older than what is now the oldest: from there on all is known.
        self._history.lost_ms[at] = np.maximum(self._history.lost_ms[at], ts_ms[capped[lost]])
        self._history.forget(at, capped[lost])
        self._await(touched, mark_ms)

    def _await(self, slots: Index, mark_ms: Times) -> None:
        """The first tick after the mark, by slot."""
        if not self._ticks:
            return
        ts_ms, held = self._history.columns.ts_ms, self._history.held(slots)
        due = np.full(len(slots), AFTER_ALL_MS)
        for window_ms in self._windows:
            at = bisected(ts_ms, held.first, held.end, mark_ms - window_ms)
            there = at < held.end
            due[there] = np.minimum(due, ts_ms[np.where(there, at, 0)] + window_ms)[there]
        for limit_ms in self._ages:
            old_ms = ts_ms[held.end - 1] + limit_ms
            due = np.where(old_ms > mark_ms, np.minimum(due, old_ms), due)
        self._due[slots] = due
        self._soonest_ms = int(self._due.min(initial=AFTER_ALL_MS))

    def _grow(self) -> None:
        more = len(self._history) - len(self._due)
        if more > 0:
            self._due = np.append(self._due, np.full(more, AFTER_ALL_MS))
            self._restored = np.append(self._restored, np.full(more, NEVER_MS))

    def state(self) -> Mapping[str, NDArray[Any]]:
        """By device; readings one device after another."""
        slots = np.argsort(self._history.device, kind="stable")
        device, held = self._history.device[slots], self._history.held(slots)
        at = ranges(held.first, held.count)
        return {
            "device": device,
            "count": held.count,
            "lost": self._history.lost_ms[slots],
            "ticked": self._ticked_ms(slots, device),
            "ts": self._history.columns.ts_ms[at],
            "value": self._history.columns.value[at],
            "counts": np.array([self.left_early, self.misfits], np.int64),
        }

    def load(self, columns: Mapping[str, NDArray[Any]], device: NDArray[np.int32]) -> None:
        """device: rows of now, -1 = gone."""
        there = device >= 0
        slots = self._history.slots(device[there])
        self._grow()
        self._history.lost_ms[slots] = columns["lost"][there]
        self._restored[slots] = columns["ticked"][there]
        left_early, misfits = map(int, columns["counts"])
        # Devices may come one by one, each time with the counts of all.
        self.left_early = max(self.left_early, left_early)
        self.misfits = max(self.misfits, misfits)
        count = columns["count"]
        of = np.repeat(slots, count[there])
        order = np.argsort(of, kind="stable")
        at = true_at(np.repeat(there, count))[order]
        self._history.empty(slots)
        self._history.put(of[order], columns["ts"][at], columns["value"][at])
        some = slots[count[there] > 0].astype(np.intp)
        self._await(some, self._restored[some])

    def state_bytes(self) -> int:
        return self._history.state_bytes() + self._due.nbytes + self._restored.nbytes


def _settled(window: Window, value: Floats, covered: Bools) -> Floats:
    """Unknown where the history doesn't cover the window and more readings might change it."""
    if window.early is not None:
        operator, limit = window.early
        return np.where(covered | _COMPARE[operator](value, limit), value, np.nan)
    return np.where(covered, value, np.nan) if window.full else value


def _made(
    said: list[_Said], devices: NDArray[np.int32], plans: tuple[Truth, ...] | None, wanted: Bools
) -> list[Rows]:
    """Rows of devices that are wanted, or of which a plan may be true; plans None = all rows.

    wanted: bool per device of `Held`.
    """
    if plans is None:
        return [row for part in said for row in _rows(part, devices, slice(None))]
    stirred = wanted.copy()
    for part in said:
        moments = part.moments
        stirred[moments.segment[stirs(plans, part.values, len(moments.row))]] = True
    if not stirred.any():
        return []
    picked = [(part, true_at(stirred[part.moments.segment])) for part in said]
    return [row for part, at in picked if len(at) for row in _rows(part, devices, at)]


def _rows(part: _Said, devices: NDArray[np.int32], at: Index | slice) -> list[Rows]:
    moments = part.moments
    device, ts_ms, row = devices[moments.segment[at]], moments.ts_ms[at], moments.row[at]
    tick = np.where(row < 0, LOSES, 0).astype(np.uint8)
    return [
        Rows(
            device,
            np.full(len(row), index, np.int16),
            ts_ms,
            value[at],
            row,
            tick,
            part.seen_ms[at],
        )
        for index, value in part.values.items()
    ]


def _passing(ts_ms: Times, held: Held, length_ms: int, span: _Span) -> tuple[Index, Index, Times]:
    """(position, device of `Held`, moment) of readings that become `length_ms` old, of equal ones
    only the last."""
    begin = bisected(ts_ms, held.first, held.end, span.after_ms - length_ms)
    end = bisected(ts_ms, begin, held.end, span.to_ms - length_ms)
    count = np.maximum(end - begin, 0)
    at, segment = ranges(begin, count), np.repeat(np.arange(len(count)), count)
    if len(span.silent):
        speaks = ~np.isin(at, span.silent)
        at, segment = at[speaks], segment[speaks]
    moment_ms = ts_ms[at] + length_ms
    last = _once(moment_ms, segment)
    return at[last], segment[last], moment_ms[last]


def _departures(ts_ms: Times, held: Held, window_ms: int, span: _Span) -> _Moments:
    """When readings leave their window, as far as no other reading comes at that very moment."""
    at, segment, leaves = _passing(ts_ms, held, window_ms, span)
    end = bisected(ts_ms, at + 1, held.end[segment], leaves)
    alone = ts_ms[end - 1] < leaves
    return _Moments(segment[alone], leaves[alone], end[alone], np.full(int(alone.sum()), -1))


def _outlived(ts_ms: Times, held: Held, limit_ms: int, span: _Span) -> _Moments:
    """When readings became too old before the next one came; one at that moment is too late."""
    at, segment, old_ms = _passing(ts_ms, held, limit_ms, span)
    following = bisected(ts_ms, at + 1, held.end[segment], ts_ms[at])
    last = following == held.end[segment]
    outlived = last | (ts_ms[np.where(last, at, following)] >= old_ms)
    end = following[outlived]
    return _Moments(segment[outlived], old_ms[outlived], end, np.full(len(end), -1))


def _once(moment_ms: Times, segment: Index) -> Bools:
    """Of readings of one moment and device only the last."""
    last = np.ones(len(moment_ms), np.bool_)
    last[:-1] = (moment_ms[1:] != moment_ms[:-1]) | (segment[1:] != segment[:-1])
    return last
