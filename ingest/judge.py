"""Row by row: may this gateway say this, and can it have happened then?

All arrivals of a call are judged as one set of columns. What is asked of every row is asked of
whole columns or of a record's extremes; single rows are looked at only where that found a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import SENDER_FLAGS, Flag
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from ingest.binding import Binding
from ingest.decode import Arrival
from ingest.judged import COLUMNS, Judged, merge
from ingest.limits import AdmissionSettings
from ingest.refusal import FIRST_SOFT, Problem, RefusedRow, RowReject, refuse
from ingest.sessions import CLOCK_SKEW, Found

_SAFETY = np.array([quantity.safety for quantity in QUANTITIES])
_UNVERIFIED_SOURCE = QUANTITY_INDEX["unverified_source"]

BEFORE_STEP_MS = 3_600_000
"""A row from before the gateway's clock was set is no older than this (a proposal): agents
flush their packs within seconds."""

_FAR = 1 << 60


class Judge:
    """Judges the arrivals of a call; it remembers nothing from call to call."""

    def __init__(self, binding: Binding, settings: AdmissionSettings) -> None:
        self._binding = binding
        self._settings = settings

    def judge(self, arrivals: list[Arrival]) -> tuple[Judged, list[RowReject], int]:
        """Good rows, refused ones, and how many findings had no room in the directory.

        `arrivals` is not empty. `Judged.record` is an index into it.
        """
        case = _Case(arrivals)
        case.judge_names()
        case.judge_values()
        case.judge_times(self._settings)
        rejects = case.settle()
        judged = case.judged()
        found, unlisted = self._findings(case)
        if found:
            judged = _merged(judged, found)
        return judged, rejects, unlisted

    def _findings(self, case: _Case) -> tuple[list[tuple[int, int, int, int, Found]], int]:
        """(record, row, device, home, reading) of what is told about gateways, and how many
        could not be told."""
        told: list[tuple[int, int, int, int, Found]] = []
        unlisted = 0
        for index, arrival in enumerate(case.arrivals):
            found = arrival.found + case.found.get(index, [])
            device = arrival.own
            if not found or device is None:
                continue
            if device < 0:
                unlisted += len(found)
                continue
            home = int(self._binding.directory.gateway[device])
            flags = 0 if self._binding.is_listed(device) else int(Flag.UNREGISTERED)
            for nth, reading in enumerate(found):
                marked = Found(
                    reading.quantity, reading.ts_ms, reading.value, reading.flags | flags
                )
                told.append((index, len(arrival) + nth, device, home, marked))
        return told, unlisted


class _Case:
    """The rows of one call under judgement. Columns are over all rows, in log order."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self.arrivals = arrivals
        self.found: dict[int, list[Found]] = {}
        self.count = np.array([len(arrival) for arrival in arrivals], np.int64)
        self.start = np.cumsum(self.count) - self.count
        self.full = np.flatnonzero(self.count)
        self.n = int(self.count.sum())
        self.record = np.repeat(np.arange(len(arrivals), dtype=np.int32), self.count)
        names = np.array([len(arrival.speakers.names) for arrival in arrivals], np.int32)
        base = np.cumsum(names, dtype=np.int32) - names
        self.entry = _joined([a.device for a in arrivals], np.int32)
        self.entry += np.repeat(base, self.count)
        self.device = _joined([a.speakers.device for a in arrivals], np.int32)[self.entry]
        self.quantity = self._quantities()
        self.sent_ts = _joined([a.ts_ms for a in arrivals], np.int64)
        self.ts = self.sent_ts
        self.value = _joined([a.value for a in arrivals], np.float64)
        self.flags = _joined([a.flags for a in arrivals], np.uint16)
        self.speaker = np.array([a.gateway for a in arrivals], np.int32)
        self.home: NDArray[np.int32] | None = None
        self.problem = np.zeros(self.n, np.uint8)
        self.untimely = np.zeros(self.n, np.uint8)
        self.kept: NDArray[np.intp] | None = None
        self.has_problem = False
        self.is_odd = False

    def _quantities(self) -> NDArray[np.int16]:
        tables = [arrival.measurands for arrival in self.arrivals]
        sizes = np.array([len(table.names) for table in tables], np.int32)
        entry = _joined([a.quantity for a in self.arrivals], np.int32)
        entry += np.repeat(np.cumsum(sizes, dtype=np.int32) - sizes, self.count)
        index: NDArray[np.int16] = _joined([table.index for table in tables], np.int16)[entry]
        return index

    def judge_names(self) -> None:
        """Unknown quantities, and what `Binding` found about devices."""
        if not all(arrival.measurands.clean for arrival in self.arrivals):
            unknown = self.quantity < 0
            if unknown.any():
                self.problem[unknown] = Problem.UNKNOWN_QUANTITY
                self.has_problem = True
        speakers = [arrival.speakers for arrival in self.arrivals]
        if not all(speaker.listed for speaker in speakers):
            self.flags |= _joined([s.flags for s in speakers], np.uint16)[self.entry]
        home = _joined([s.home for s in speakers], np.int32)
        names = np.array([len(s.names) for s in speakers], np.int32)
        if bool((home != np.repeat(self.speaker, names)).any()):
            self.home = home[self.entry]
            self.is_odd = True
        if not all(speaker.clean for speaker in speakers):
            found = _joined([s.problem for s in speakers], np.uint8)[self.entry]
            self.problem = np.where(self.problem > 0, self.problem, found).astype(np.uint8)
            self.has_problem |= bool(self.problem.any())

    def judge_values(self) -> None:
        infinite = np.isinf(self.value)
        if infinite.any():
            self.problem[infinite & (self.problem == 0)] = Problem.NON_FINITE
            self.has_problem = True

    def judge_times(self, settings: AdmissionSettings) -> None:
        """Repair event times, then look for impossible ones, record by record where needed."""
        if not self.n:
            return
        timings = [self.arrivals[index].timing for index in self.full]
        shift = np.array([timing.shift_ms for timing in timings], np.int64)
        start = self.start[self.full]
        if int(self.ts.min()) < -_FAR or int(self.ts.max()) > _FAR:
            self.ts = np.clip(self.ts, -_FAR, _FAR)
        if shift.any():
            self.ts = self.ts - np.repeat(shift, self.count[self.full])
            marks = np.array([timing.flags for timing in timings], np.uint16)
            self.flags |= np.repeat(marks, self.count[self.full])
        least = np.minimum.reduceat(self.ts, start)
        greatest = np.maximum.reduceat(self.ts, start)
        latest = np.array([timing.latest_ms for timing in timings], np.int64)
        usable = np.array([timing.usable for timing in timings])
        doubtful = (least < settings.floor_ms) | (greatest > latest) | ~usable
        for index in self.full[doubtful].tolist():
            self._judge_time(index, settings)

    def _judge_time(self, index: int, settings: AdmissionSettings) -> None:
        arrival, timing = self.arrivals[index], self.arrivals[index].timing
        rows = slice(int(self.start[index]), int(self.start[index]) + len(arrival))
        ts = self.ts[rows]
        early, late = ts < settings.floor_ms, ts > timing.latest_ms
        if timing.former_ms is not None:
            # Rows from before the gateway's clock was set have its former error.
            former = np.clip(self.sent_ts[rows], -_FAR, _FAR) - timing.former_ms
            mended = (early | late) & (former <= timing.true_ms + settings.skew_ms)
            mended &= former >= timing.true_ms - BEFORE_STEP_MS
            ts[mended] = former[mended]
            self.flags[rows][mended] |= np.uint16(Flag.REPAIRED)
            early &= ~mended
            late &= ~mended
        if not timing.usable:
            early = early | ~late
        self.untimely[rows][late] = Problem.FUTURE
        self.untimely[rows][early] = Problem.IMPLAUSIBLE
        if not (early | late).any():
            return
        self.has_problem = self.is_odd = True
        if late.any() or not timing.usable:
            worst = ts[late].max() if late.any() else ts.max()
            skew = Found(CLOCK_SKEW, arrival.record.accepted_ms, float(worst - timing.true_ms))
            self.found.setdefault(index, []).append(skew)

    def settle(self) -> list[RowReject]:
        """Let safety signals pass, flagged; drop and tell the other rows with a problem."""
        if not self.has_problem:
            return []
        known = np.where(self.quantity < 0, 0, self.quantity)
        safety = _SAFETY[known] & (self.quantity >= 0)
        safety &= (self.value != 0) & ~np.isnan(self.value)
        self._find_unverified()
        passing = safety & (self.problem >= FIRST_SOFT)
        told = passing & (self.problem != Problem.NON_FINITE)
        self.flags[told] |= np.uint16(Flag.UNVERIFIED)
        endless = passing & np.isinf(self.value)
        self.value[endless] = 1.0
        self.flags[endless] |= np.uint16(Flag.BAD)
        self.problem[passing] = Problem.NONE
        self._place(np.flatnonzero(safety & (self.untimely > 0)))
        problem = np.where(self.problem > 0, self.problem, self.untimely)
        refused = np.flatnonzero(problem)
        self.is_odd |= bool(told.any())
        rejects = [self._refuse(row, int(problem[row])) for row in refused.tolist()]
        if len(refused):
            self.kept = np.flatnonzero(problem == 0)
        return rejects

    def _find_unverified(self) -> None:
        """One finding a record about a gateway that speaks for devices of others."""
        foreign = self.problem == Problem.WRONG_GATEWAY
        for index, rows in enumerate(np.bincount(self.record[foreign]).tolist()):
            if rows:
                accepted_ms = self.arrivals[index].record.accepted_ms
                found = Found(_UNVERIFIED_SOURCE, accepted_ms, float(rows), int(Flag.ALARM))
                self.found.setdefault(index, []).append(found)

    def _place(self, rows: NDArray[np.intp]) -> None:
        """Put safety rows with an impossible time at the time of their message."""
        if not len(rows):
            return
        timings = [arrival.timing for arrival in self.arrivals]
        record = self.record[rows]
        self.ts[rows] = np.array([timing.true_ms for timing in timings], np.int64)[record]
        marks = np.array([timing.fallback_flags for timing in timings], np.uint16)[record]
        self.flags[rows] = (self.flags[rows] & ~np.uint16(Flag.REPAIRED)) | marks
        self.untimely[rows] = Problem.NONE

    def _refuse(self, row: int, problem: int) -> RowReject:
        arrival = self.arrivals[int(self.record[row])]
        at = row - int(self.start[self.record[row]])
        entry = int(arrival.device[at])
        sent = RefusedRow(
            row=at,
            device=arrival.speakers.names[entry],
            family=arrival.speakers.families[entry],
            quantity=arrival.measurands.names[int(arrival.quantity[at])],
            ts_ms=int(arrival.ts_ms[at]),
            value=float(arrival.value[at]),
            flags=int(arrival.flags[at]) & SENDER_FLAGS,
        )
        return refuse(arrival.record.position, arrival.record.source, problem, sent)

    def judged(self) -> Judged:
        row = np.arange(self.n, dtype=np.int64) - np.repeat(self.start, self.count)
        home = self.speaker[self.record] if self.home is None else self.home
        judged = Judged(
            self.record,
            self.device,
            self.quantity,
            self.ts,
            self.value,
            self.flags,
            row.astype(np.int32),
            home,
        )
        if self.is_odd:
            doubted = np.uint16(Flag.UNVERIFIED | Flag.CLOCK_UNKNOWN)
            judged.counts_time = (self.flags & doubted) == 0
        return judged if self.kept is None else judged.take(self.kept)


def _joined(parts: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(parts, dtype=dtype, casting="unsafe")


def _merged(judged: Judged, found: list[tuple[int, int, int, int, Found]]) -> Judged:
    """Put readings about gateways behind the rows of their record. They move no watermark."""
    rows = [
        (record, device, reading.quantity, reading.ts_ms, reading.value, reading.flags, row, home)
        for record, row, device, home, reading in found
    ]
    columns: dict[str, NDArray[Any]] = {
        name: np.array(told, dtype)
        for (name, dtype), told in zip(COLUMNS.items(), zip(*rows, strict=True), strict=True)
    }
    return merge(judged, Judged(**columns, counts_time=np.zeros(len(rows), np.bool_)))
