"""The shipped calendar against the regulation that it carries out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rules.calendar import Calendar
from rules.document import Reader
from rules.named import gathered
from rules.schema import read_file

FILE = Path(__file__).parents[2] / "deploy" / "rules" / "calendar.yml"

STATUTORY = {2025: 13, 2026: 13}
"""Days off for everyone in a year: 全国年节及纪念日放假办法 as revised in November 2024, art. 2."""


def shipped() -> Calendar:
    reader = Reader(FILE.name)
    named = gathered([(reader, read_file(reader, FILE.read_text(encoding="utf-8")))])
    assert reader.findings == []
    return named.calendar


def test_only_weekend_days_are_worked() -> None:
    worked = [day for day, kind in shipped().days.items() if kind == "workday"]
    assert worked
    assert [day for day in worked if day.weekday() < 5] == []


def test_what_is_off_on_weekdays_is_statutory_or_worked_for() -> None:
    days = shipped().days.items()
    off = Counter(day.year for day, kind in days if kind == "holiday" and day.weekday() < 5)
    worked = Counter(day.year for day, kind in days if kind == "workday")
    assert {year: off[year] - worked[year] for year in off} == STATUTORY
