"""Holidays and make-up workdays: days that aren't what their weekday says.

Every day is a workday or a day off. Monday to Friday are workdays, Saturday and Sunday the
weekend; a calendar names the exceptions: holidays, and weekend days that are worked (调休).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

Kind = Literal["holiday", "workday"]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KINDS_OF_DAY = ("workday", "weekend", "holiday")
DAY_WORDS = (*WEEKDAYS, *KINDS_OF_DAY)


@dataclass(frozen=True, slots=True)
class Calendar:
    """days: date -> what it is. A year is known when any of its days is named."""

    days: Mapping[date, Kind] = field(default_factory=dict)

    @property
    def years(self) -> tuple[int, ...]:
        return tuple(sorted({day.year for day in self.days}))

    def is_one_of(self, day: date, words: Iterable[str]) -> bool:
        """Whether any of the words of `DAY_WORDS` fits the day.

        `weekend`: Saturday or Sunday that isn't worked, in holidays too. `workday`: neither
        weekend nor holiday. Names of weekdays ask for no calendar.

        >>> Calendar().is_one_of(date(2026, 5, 9), ["sat"])
        True
        """
        named = self.days.get(day)
        weekend = day.weekday() >= 5 and named != "workday"
        fits = {
            WEEKDAYS[day.weekday()],
            "weekend" if weekend else "",
            "holiday" if named == "holiday" else "",
            "" if weekend or named == "holiday" else "workday",
        }
        return not fits.isdisjoint(words)
