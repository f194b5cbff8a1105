"""What rule files of one folder share: schedules by name, and one calendar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from rules.calendar import Calendar
from rules.document import Reader
from rules.read_schedule import WrittenDay, WrittenSchedule
from rules.schedule import Part, Schedule
from rules.schema import WrittenFile


@dataclass(frozen=True, slots=True)
class Named:
    schedules: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    calendar: Calendar = field(default_factory=Calendar)

    def schedule(self, parts: tuple[Part, ...]) -> Schedule:
        return Schedule.of(parts, self.calendar)


def gathered(files: Iterable[tuple[Reader, WrittenFile]]) -> Named:
    """Everything once; what is said twice is a finding in the later file."""
    schedules: dict[str, WrittenSchedule] = {}
    days: dict[date, WrittenDay] = {}
    for reader, written in files:
        for name, schedule in written.schedules.items():
            first = schedules.setdefault(name, schedule)
            if first is not schedule:
                problem = f"{name} is already defined in {first.file}:{first.line}"
                reader.fault(schedule.line, f"schedules.{name}", problem, "rename one")
        for day, said in written.calendar.items():
            named = days.setdefault(day, said)
            if named is not said:
                problem = f"{day} is already named in {named.file}:{named.line}"
                reader.fault(said.line, "calendar", problem, "remove one")
    return Named(
        {name: schedule.parts for name, schedule in schedules.items()},
        Calendar({day: said.kind for day, said in days.items()}),
    )
