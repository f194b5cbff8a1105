"""Findings on schedules: never, always, too short, or of a year that the calendar doesn't know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import numpy as np

from rules.durations import duration_text
from rules.expr.composed import schedules_of
from rules.ruleset import Rule
from rules.schedule import Schedule, turns_of

_A_LEAP_YEAR = 2028
"""What a schedule that asks no calendar is tried on; one year is as good as another."""


def schedule_findings(rule: Rule, today: date | None) -> Iterator[tuple[str, str, str]]:
    """(key, problem, mend). today: None = not known."""
    for schedule in schedules_of(rule.when):
        yield from _periods(schedule, rule.for_ms)
        if schedule.asks_calendar:
            yield from _calendar(schedule, today)


def _periods(schedule: Schedule, for_ms: int) -> Iterator[tuple[str, str, str]]:
    years = sorted({day.year for day, _ in schedule.named}) or [_A_LEAP_YEAR]
    first, last = _start_ms(years[0]), _start_ms(years[-1] + 1)
    turns = turns_of(schedule)
    edges = np.concatenate([[first], turns.between(first, last), [last]])
    inside = turns.inside(edges[:-1])
    longest_ms = int((np.diff(edges) * inside).max())
    if not longest_ms:
        yield "during", "the schedule never begins", "look at its days"
    elif longest_ms == last - first:
        yield "during", "it is always inside", "leave during out"
    elif for_ms >= longest_ms:
        problem = f"no period is longer than for, {duration_text(for_ms)}"
        yield "during", problem, "make for shorter"


def _calendar(schedule: Schedule, today: date | None) -> Iterator[tuple[str, str, str]]:
    """From December on the next year must be there too: its notice is out by then."""
    known = {day.year for day, _ in schedule.named}
    wanted = [] if today is None else [today.year] + [today.year + 1] * (today.month == 12)
    for year in wanted:
        if year not in known:
            problem = f"the calendar names no day of {year}: only weekdays count in it"
            yield "during", problem, "add the year to calendar:"
    if today is None and not known:
        problem = "there is no calendar: workday, weekend and holiday are plain weekdays"
        yield "during", problem, "add calendar: with the holidays and the weekend days worked"


def _start_ms(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)
