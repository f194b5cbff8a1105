"""`during`: the times of day, days and zone in which a rule can be breached.

A schedule is a set of periods. A period belongs to the local day on which it begins and may
reach into the next; it runs from the first moment at which the local clock shows its beginning
to the last at which it shows less than its end, so that a clock that is put back neither
interrupts nor shortens it. Periods that touch are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rules.calendar import KINDS_OF_DAY, Calendar, Kind
from rules.instances import AFTER_ALL_MS
from rules.zones import Zone

Times = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY_MINUTES = 24 * 60
FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Times outside these years are in no schedule."""

_DAY = timedelta(days=1)
_NO_TURNS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, order=True)
class Hours:
    """Minutes after local midnight; end: after start, at most a day later.

    >>> str(Hours(22 * 60, 30 * 60))
    '22:00-06:00'
    """

    start: int = 0
    end: int = DAY_MINUTES

    def __str__(self) -> str:
        end = self.end if self.end <= DAY_MINUTES else self.end - DAY_MINUTES
        return f"{_clock(self.start)}-{_clock(end)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@dataclass(frozen=True, slots=True)
class Part:
    """hours: sorted. days: words of `DAY_WORDS` in that order; () = every day."""

    hours: tuple[Hours, ...]
    days: tuple[str, ...]
    zone: Zone

    def __str__(self) -> str:
        hours = ",".join(map(str, self.hours))
        days = f" {','.join(self.days)}" if self.days else ""
        return f"{hours}{days} {self.zone.name}"

    @property
    def asks_calendar(self) -> bool:
        return not set(self.days).isdisjoint(KINDS_OF_DAY)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A moment is inside when it is in a period of any part.

    named: what the calendar says, sorted by date; () where no part asks it. Schedules are
    equal when they mean the same.
    """

    parts: tuple[Part, ...]
    named: tuple[tuple[date, Kind], ...] = ()

    @staticmethod
    def of(parts: tuple[Part, ...], calendar: Calendar) -> Schedule:
        asked = any(part.asks_calendar for part in parts)
        return Schedule(parts, tuple(sorted(calendar.days.items())) if asked else ())

    @property
    def asks_calendar(self) -> bool:
        return any(part.asks_calendar for part in self.parts)

    def __str__(self) -> str:
        return "; ".join(map(str, self.parts))

    @property
    def key(self) -> str:
        """Tells it from every schedule that means something else, by zone data and calendar too."""
        zones = [part.zone.digest for part in self.parts]
        said = json.dumps([zones, [[day.isoformat(), kind] for day, kind in self.named]])
        return f"{self} ({hashlib.sha256(said.encode()).hexdigest()[:16]})"


@lru_cache(maxsize=256)
def turns_of(schedule: Schedule) -> Turns:
    return Turns(schedule)


class Turns:
    """When a schedule begins and ends, as sorted arrays, made a year at a time when asked for."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._calendar = Calendar(dict(schedule.named))
        self._years: dict[int, tuple[bool, Times]] = {}

    def inside(self, ts_ms: Times) -> Bools:
        """bool per time. A period's beginning is inside, its end isn't."""
        found = np.zeros(len(ts_ms), np.bool_)
        for year, mine in _by_year(ts_ms):
            before, turns = self._year(year)
            passed = np.searchsorted(turns, ts_ms[mine], side="right")
            found[mine] = ((passed & 1) == 1) ^ before
        return found

    def between(self, after_ms: int, up_to_ms: int) -> Times:
        """The turns later than `after_ms` and not later than `up_to_ms`, ascending."""
        first, last = _year_of(after_ms), _year_of(up_to_ms)
        joined = [self._year(year)[1] for year in range(first, last + 1)]
        turns = np.concatenate(joined) if joined else _NO_TURNS
        low, high = np.searchsorted(turns, [after_ms, up_to_ms], side="right").tolist()
        return turns[low:high]

    def next_ms(self, after_ms: int) -> int:
        """No turn comes between `after_ms` and this: the next turn, or the end of next year."""
        far = _start_ms(_year_of(after_ms) + 2)
        if far <= after_ms:
            return AFTER_ALL_MS
        found = self.between(after_ms, far)
        return int(found[0]) if len(found) else far

    def last_ms(self, up_to_ms: int) -> int | None:
        """The last turn not later than this, of this year and the one before."""
        found = self.between(_start_ms(_year_of(up_to_ms) - 1) - 1, up_to_ms)
        return int(found[-1]) if len(found) else None

    def turn_after(self, ts_ms: Times) -> Times:
        """`next_ms` of each time: the end of its period for times that are inside."""
        found = np.full(len(ts_ms), AFTER_ALL_MS)
        for year, mine in _by_year(ts_ms):
            far = max(_start_ms(year + 2), int(ts_ms.max()) + 1)
            turns = np.concatenate([self._year(year)[1], self._year(year + 1)[1], [far]])
            found[mine] = turns[np.searchsorted(turns, ts_ms[mine], side="right")]
        return found

    def _year(self, year: int) -> tuple[bool, Times]:
        """Whether the moment before the UTC year is inside; the turns in the year."""
        made = self._years.get(year)
        if made is None:
            made = self._years[year] = self._made(year)
        return made

    def _made(self, year: int) -> tuple[bool, Times]:
        if not FIRST_YEAR <= year <= LAST_YEAR:
            return False, _NO_TURNS
        turns = np.array(_joined(sorted(self._periods(year))), np.int64)
        first, last = np.searchsorted(turns, [_start_ms(year), _start_ms(year + 1)]).tolist()
        return first % 2 == 1, turns[first:last]

    def _periods(self, year: int) -> Iterator[tuple[int, int]]:
        """Of all days whose periods can touch the UTC year: local days are up to 14 h ahead,
        and a period reaches up to two days from its day's beginning.
        """
        day, end = date(year, 1, 1) - 3 * _DAY, date(year + 1, 1, 1) + 2 * _DAY
        while day < end:
            midnight = datetime.combine(day, time())
            for part in self._schedule.parts:
                if part.days and not self._calendar.is_one_of(day, part.days):
                    continue
                for hours in part.hours:
                    start = part.zone.first_ms(midnight + timedelta(minutes=hours.start))
                    stop = part.zone.last_ms(midnight + timedelta(minutes=hours.end))
                    if start < stop:  # A jump of the clock may leave nothing of it.
                        yield start, stop
            day += _DAY


def _joined(periods: list[tuple[int, int]]) -> list[int]:
    """Sorted periods to turns: beginnings at even places, ends at odd ones."""
    turns: list[int] = []
    for start, stop in periods:
        if turns and start <= turns[-1]:
            turns[-1] = max(turns[-1], stop)
        else:
            turns += [start, stop]
    return turns


_EDGES = np.array(
    [datetime(y, 1, 1, tzinfo=UTC).timestamp() * 1000 for y in range(FIRST_YEAR, LAST_YEAR + 2)]
).astype(np.int64)


def _start_ms(year: int) -> int:
    return int(_EDGES[min(max(year - FIRST_YEAR, 0), len(_EDGES) - 1)])


def _year_of(ts_ms: int) -> int:
    return FIRST_YEAR - 1 + int(np.searchsorted(_EDGES, ts_ms, side="right"))


def _by_year(ts_ms: Times) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
    """Most batches are of one year."""
    if not len(ts_ms):
        return
    first, last = _year_of(int(ts_ms.min())), _year_of(int(ts_ms.max()))
    if first == last:
        yield first, slice(None)
        return
    years = FIRST_YEAR - 1 + np.searchsorted(_EDGES, ts_ms, side="right")
    for year in np.unique(years).tolist():
        yield year, np.flatnonzero(years == year)
