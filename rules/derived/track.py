"""One quantity in one stream: its history, and what is derived of it at readings and at ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from rules.derived.functions import GREATEST, MOST, Windows, bisected
from rules.derived.history import Content, Floats, History, Index, Times
from rules.derived.rows import Rows
from rules.entries import Entry
from rules.expr.window import Age, Window
from rules.instances import AFTER_ALL_MS, NEVER_MS
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
    past: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Index) -> Fed:
        return Fed(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Span:
    """Which ticks fall into a mark. after_ms: int64 per reading of the content, those up to it
    have been made or never will be; to_ms: int64 per device, those up to it are made now.
    """

    after_ms: Times
    to_ms: Times


@dataclass(frozen=True, slots=True)
class _Moments:
    """When windows are looked at. segment: device of `Content`; end: readings up to there count.

    row: of the batch, -1 = a tick.
    """

    segment: Index
    ts_ms: Times
    end: Index
    row: Index


class Track:
    """ticks: whether time alone makes rows. left_early: readings that left before their window
    had passed, because there were more than `MOST`. misfits: readings too great to be added.
    """

    def __init__(
        self, entries: tuple[Entry, ...], directory: DeviceDirectory, *, ticks: bool
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
        self._longest_ms = max(self._windows, default=0)
        self._history = History()
        self._due = np.empty(0, np.int64)
        self._restored = np.empty(0, np.int64)
        self._ticked: Watermarks | None = None
        self._soonest_ms = AFTER_ALL_MS
        self.left_early = 0
        self.misfits = 0

    def due_ms(self) -> int:
        """When the next reading leaves a window or becomes too old."""
        return self._soonest_ms

    def feed(self, fed: Fed, watermarks: Watermarks) -> list[Rows]:
        """What the readings make, and ticks up to the watermarks."""
        slots = self._history.slots(fed.device)
        self._grow()
        touched = self._touched(slots, watermarks)
        if not len(touched):
            self._ticked = watermarks
            return []
        segment = np.searchsorted(touched, slots)
        order = np.argsort(segment, kind="stable")
        fed, segment = fed.take(order), segment[order]
        content, at = _inserted(self._history.content(touched), fed, segment)
        devices = self._history.device[touched]
        to_ms = watermarks.of(devices)
        after_ms = self._ticked_ms(touched, devices)[content.segment]
        # What comes as history makes no ticks of the time that is over.
        after_ms[at[fed.past]] = to_ms[segment[fed.past]]
        span = _Span(after_ms, to_ms)
        readings = _Moments(segment, fed.ts_ms, at + 1, fed.row)
        rows = [
            part
            for window_ms, asked in self._windows.items()
            for part in self._window_rows(window_ms, asked, content, touched, readings, span)
        ]
        for limit_ms, index in self._ages.items():
            rows.extend(self._age_rows(limit_ms, index, content, touched, readings, span))
        self.misfits += int((np.abs(fed.value) > GREATEST).sum())
        self._keep(touched, content, to_ms)
        self._ticked = watermarks
        return rows

    def _touched(self, slots: NDArray[np.int32], watermarks: Watermarks) -> Index:
        """Slots with readings or with a tick that is due, ascending."""
        due = np.empty(0, np.intp)
        if self._soonest_ms <= watermarks.newest_ms:
            due = np.flatnonzero(self._due <= watermarks.of(self._history.device))
        return np.unique(np.concatenate([slots.astype(np.intp), due]))

    def _ticked_ms(self, slots: Index, devices: NDArray[np.int32]) -> Times:
        """How far ticks have been made: to the mark before this one."""
        restored = self._restored[slots]
        return restored if self._ticked is None else np.maximum(restored, self._ticked.of(devices))

    def _window_rows(
        self,
        window_ms: int,
        asked: list[tuple[int, Window]],
        content: Content,
        touched: Index,
        readings: _Moments,
        span: _Span,
    ) -> list[Rows]:
        parts = [readings]
        if self._ticks:
            parts.append(_departures(content, window_ms, span))
        rows = []
        for moments in parts:
            if not len(moments.row):
                continue
            first = content.first[moments.segment]
            begins = moments.ts_ms - window_ms
            low = bisected(content.ts_ms, first, moments.end, begins)
            capped = moments.end - low > MOST
            low = np.where(capped, moments.end - MOST, low)
            before = np.where(low > first, low - 1, -1)
            windows = Windows(content, low, moments.end, before)
            covered = content.ts_ms[first] <= begins
            covered &= (self._history.lost_ms[touched][moments.segment] <= begins) & ~capped
            seen_ms = content.ts_ms[np.maximum(moments.end - 1, 0)]
            device = self._history.device[touched][moments.segment]
            for index, window in asked:
                value = _settled(window, windows.answer(window), covered)
                rows.append(_rows(index, device, moments, value, seen_ms))
        return rows

    def _age_rows(
        self,
        limit_ms: int,
        index: int,
        content: Content,
        touched: Index,
        readings: _Moments,
        span: _Span,
    ) -> list[Rows]:
        """0 at each reading; 1 when the next one hasn't come in time."""
        device = self._history.device[touched]
        zeros = np.zeros(len(readings.row))
        rows = [_rows(index, device[readings.segment], readings, zeros, readings.ts_ms)]
        if self._ticks:
            old = _outlived(content, limit_ms, span)
            seen_ms = old.ts_ms - limit_ms
            rows.append(_rows(index, device[old.segment], old, np.ones(len(old.row)), seen_ms))
        return [part for part in rows if len(part)]

    def _keep(self, touched: Index, content: Content, mark_ms: Times) -> None:
        """What windows to come may look at: the longest one behind the newest reading, the one
        before it, and no more than `MOST`."""
        newest = content.ts_ms[content.end - 1]
        if self._ticks:
            # Readings ahead of the mark still have ticks before them.
            newest = np.where(mark_ms > NEVER_MS, np.minimum(newest, mark_ms), newest)
        low = bisected(content.ts_ms, content.first, content.end, newest - self._longest_ms)
        low = np.maximum(low - 1, content.first)
        capped = np.maximum(content.end - MOST, low)
        self.left_early += int((capped - low).sum())
        lost = np.flatnonzero(capped > content.first)
        at = touched[lost]
        # What went is older than what is now the oldest: from there on all is known.
        self._history.lost_ms[at] = np.maximum(
            self._history.lost_ms[at], content.ts_ms[capped[lost]]
        )
        kept = np.arange(len(content.ts_ms)) >= capped[content.segment]
        count = content.end - capped
        left = Content(np.cumsum(count) - count, count, content.ts_ms[kept], content.value[kept])
        self._history.replace(touched, left)
        if self._ticks:
            self._due[touched] = self._next_ms(left, mark_ms)
            self._soonest_ms = int(self._due.min(initial=AFTER_ALL_MS))

    def _next_ms(self, content: Content, mark_ms: Times) -> Times:
        """Per device the first tick after the mark."""
        due = np.full(len(content.count), AFTER_ALL_MS)
        for window_ms in self._windows:
            at = bisected(content.ts_ms, content.first, content.end, mark_ms - window_ms)
            there = at < content.end
            due[there] = np.minimum(due, content.ts_ms[np.where(there, at, 0)] + window_ms)[there]
        for limit_ms in self._ages:
            old_ms = content.ts_ms[content.end - 1] + limit_ms
            due = np.where(old_ms > mark_ms, np.minimum(due, old_ms), due)
        return due

    def _grow(self) -> None:
        more = len(self._history) - len(self._due)
        if more > 0:
            self._due = np.append(self._due, np.full(more, AFTER_ALL_MS))
            self._restored = np.append(self._restored, np.full(more, NEVER_MS))

    def state(self) -> Mapping[str, NDArray[Any]]:
        """By device; readings one device after another."""
        slots = np.argsort(self._history.device, kind="stable")
        content = self._history.content(slots)
        device = self._history.device[slots]
        return {
            "device": device,
            "count": content.count.astype(np.int64),
            "lost": self._history.lost_ms[slots],
            "ticked": self._ticked_ms(slots, device),
            "ts": content.ts_ms,
            "value": content.value,
            "counts": np.array([self.left_early, self.misfits], np.int64),
        }

    def load(self, columns: Mapping[str, NDArray[Any]], device: NDArray[np.int32]) -> None:
        """device: rows of now, -1 = gone."""
        count = columns["count"].astype(np.intp)
        there = device >= 0
        stays = np.repeat(there, count)
        kept = count[there]
        content = Content(
            np.cumsum(kept) - kept, kept, columns["ts"][stays], columns["value"][stays]
        )
        slots = self._history.slots(device[there]).astype(np.intp)
        self._grow()
        self._history.lost_ms[slots] = columns["lost"][there]
        self._restored[slots] = columns["ticked"][there]
        left_early, misfits = map(int, columns["counts"])
        # Devices may come one by one, each time with the counts of all.
        self.left_early = max(self.left_early, left_early)
        self.misfits = max(self.misfits, misfits)
        if len(slots):
            self._history.replace(slots, content)
            if self._ticks:
                self._due[slots] = self._next_ms(content, self._restored[slots])
                self._soonest_ms = int(self._due.min(initial=AFTER_ALL_MS))

    def state_bytes(self) -> int:
        return self._history.state_bytes() + self._due.nbytes + self._restored.nbytes


def _settled(window: Window, value: Floats, covered: NDArray[np.bool_]) -> Floats:
    """Unknown where the history doesn't cover the window and more readings might change it."""
    if window.early is not None:
        operator, limit = window.early
        return np.where(covered | _COMPARE[operator](value, limit), value, np.nan)
    return np.where(covered, value, np.nan) if window.full else value


def _rows(
    index: int, device: NDArray[np.int32], moments: _Moments, value: Floats, seen_ms: Times
) -> Rows:
    n = len(moments.row)
    tick = np.where(moments.row < 0, LOSES, 0).astype(np.uint8)
    quantity = np.full(n, index, np.int16)
    return Rows(device, quantity, moments.ts_ms, value, moments.row, tick, seen_ms)


def _inserted(old: Content, fed: Fed, segment: Index) -> tuple[Content, Index]:
    """Readings put in their places, and those places. fed: by segment, in order inside each.

    Of equal times the newcomer is last.
    """
    at = bisected(old.ts_ms, old.first[segment], old.end[segment], fed.ts_ms)
    at = at + np.arange(len(fed))
    fresh = np.zeros(len(old.ts_ms) + len(fed), np.bool_)
    fresh[at] = True
    ts_ms, value = np.empty(len(fresh), np.int64), np.empty(len(fresh))
    ts_ms[at], value[at] = fed.ts_ms, fed.value
    ts_ms[~fresh], value[~fresh] = old.ts_ms, old.value
    count = old.count + np.bincount(segment, minlength=len(old.count))
    return Content(np.cumsum(count) - count, count, ts_ms, value), at


def _departures(content: Content, window_ms: int, span: _Span) -> _Moments:
    """When readings leave their window, as far as no other reading comes at that very moment."""
    segment = content.segment
    leaves = content.ts_ms + window_ms
    at = _once(
        np.flatnonzero((leaves > span.after_ms) & (leaves <= span.to_ms[segment])), leaves, segment
    )
    end = bisected(content.ts_ms, at + 1, content.end[segment[at]], leaves[at])
    alone = content.ts_ms[end - 1] < leaves[at]
    at, end = at[alone], end[alone]
    return _Moments(segment[at], leaves[at], end, np.full(len(at), -1))


def _outlived(content: Content, limit_ms: int, span: _Span) -> _Moments:
    """When readings became too old before the next one came; one at that moment is too late."""
    segment = content.segment
    old_ms = content.ts_ms + limit_ms
    at = _once(
        np.flatnonzero((old_ms > span.after_ms) & (old_ms <= span.to_ms[segment])), old_ms, segment
    )
    following = bisected(content.ts_ms, at + 1, content.end[segment[at]], content.ts_ms[at])
    last = following == content.end[segment[at]]
    at = at[last | (content.ts_ms[np.where(last, at, following)] >= old_ms[at])]
    end = bisected(content.ts_ms, at + 1, content.end[segment[at]], content.ts_ms[at])
    return _Moments(segment[at], old_ms[at], end, np.full(len(at), -1))


def _once(at: Index, moment_ms: Times, segment: Index) -> Index:
    """Of readings of one moment and device only the last."""
    same = (moment_ms[at][1:] == moment_ms[at][:-1]) & (segment[at][1:] == segment[at][:-1])
    return at[np.append(~same, True)] if len(at) else at
