"""`schedules:`, `during:` and `calendar:` as files write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

import yaml

from rules.calendar import DAY_WORDS, Kind
from rules.document import Reader
from rules.finding import suggest
from rules.schedule import DAY_MINUTES, FIRST_YEAR, LAST_YEAR, Hours, Part
from rules.zones import DEFAULT_ZONE, zone, zone_names

NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
DATES = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.\.([0-9]{4}-[0-9]{2}-[0-9]{2}))?", re.ASCII)
PART_KEYS = ("hours", "days", "zone")
KINDS: tuple[Kind, ...] = ("holiday", "workday")

MOST_PARTS = 24
"""Parts of a schedule, and ranges of hours in a part."""

LONGEST_HOLIDAY = 31
"""Days that one line of a calendar may name; more is a slip of the pen."""


@dataclass(frozen=True, slots=True)
class WrittenSchedule:
    parts: tuple[Part, ...]
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class WrittenDay:
    kind: Kind
    file: str
    line: int


def read_schedules(reader: Reader, node: yaml.Node, path: str) -> dict[str, WrittenSchedule]:
    found: dict[str, WrittenSchedule] = {}
    for name, (key, value) in reader.mapping(node, path).items():
        at = f"{path}.{name}"
        if not NAME.fullmatch(name):
            reader.fault(key, at, f"{name!r} is no name", "write a-z, 0-9, _")
        parts = read_parts(reader, value, at)
        found[name] = WrittenSchedule(parts, reader.file, key.start_mark.line + 1)
    return found


def read_during(reader: Reader, node: yaml.Node, path: str) -> str | tuple[Part, ...]:
    """The name of a schedule, or what it would stand for; "" with a finding."""
    if isinstance(node, yaml.ScalarNode):
        return reader.text(node, path)
    return read_parts(reader, node, path)


def read_parts(reader: Reader, node: yaml.Node, path: str) -> tuple[Part, ...]:
    """One mapping, or a list of them."""
    nodes = [(path, node)]
    if isinstance(node, yaml.SequenceNode):
        nodes = reader.items(node, path)
        if not 0 < len(nodes) <= MOST_PARTS:
            reader.fault(node, path, f"{len(nodes)} parts", f"write 1 to {MOST_PARTS}")
            return ()
    return tuple(_part(reader, one, at) for at, one in nodes)


def _part(reader: Reader, node: yaml.Node, path: str) -> Part:
    found = reader.mapping(node, path)
    reader.known(found, path, PART_KEYS)
    if not {"hours", "days"} & found.keys():
        reader.fault(node, path, "neither hours nor days", 'write {hours: "22:00-06:00"}')
    hours: tuple[Hours, ...] = (Hours(),)
    days: tuple[str, ...] = ()
    name = DEFAULT_ZONE
    if "hours" in found:
        hours = _hours(reader, found["hours"][1], f"{path}.hours")
    if "days" in found:
        days = _days(reader, found["days"][1], f"{path}.days")
    if "zone" in found:
        name = reader.text(found["zone"][1], f"{path}.zone")
        if name and name not in zone_names():
            mend = suggest(name, zone_names()) or "write a name as Asia/Shanghai"
            reader.fault(found["zone"][1], f"{path}.zone", f"unknown time zone {name}", mend)
            name = DEFAULT_ZONE
    return Part(hours, days, zone(name or DEFAULT_ZONE))


def _hours(reader: Reader, node: yaml.Node, path: str) -> tuple[Hours, ...]:
    ranges = [_range(reader, node, path, text) for text in reader.texts(node, path)]
    if len(ranges) > MOST_PARTS:
        reader.fault(node, path, f"more than {MOST_PARTS} ranges", "name fewer")
    return tuple(sorted({hours for hours in ranges if hours is not None}))


def _range(reader: Reader, node: yaml.Node, path: str, text: str) -> Hours | None:
    found = HOURS.fullmatch(text.replace(" ", ""))
    if found is None:
        if text:
            mend = "write 22:00-06:00, in quotes"
            reader.fault(node, path, f"{text!r} is no range of hours", mend)
        return None
    h, m, to_h, to_m = map(int, found.groups())
    start, end = h * 60 + m, to_h * 60 + to_m
    if end > DAY_MINUTES:
        reader.fault(node, path, f"{text!r} ends after 24:00", "a day ends at 24:00")
        return None
    if start == end:
        reader.fault(node, path, f"{text!r} is empty", "for the whole day write 00:00-24:00")
        return None
    return Hours(start, end if end > start else end + DAY_MINUTES)


def _days(reader: Reader, node: yaml.Node, path: str) -> tuple[str, ...]:
    words = reader.texts(node, path)
    for word in words:
        if word and word not in DAY_WORDS:
            mend = suggest(word, DAY_WORDS)
            reader.fault(node, path, f"unknown day {word}", mend)
    return tuple(word for word in DAY_WORDS if word in words)


def read_calendar(reader: Reader, node: yaml.Node, path: str) -> dict[date, WrittenDay]:
    """Every day that is named, ranges spelt out."""
    days: dict[date, WrittenDay] = {}
    for text, (key, value) in reader.mapping(node, path).items():
        at = f"{path}.{text}"
        kind = _kind(reader, value, at)
        written = WrittenDay(kind, reader.file, key.start_mark.line + 1)
        for day in _dates(reader, key, at, text):
            if day in days:
                reader.fault(key, at, f"{day} is there twice", "remove one")
            days[day] = written
    return days


def _kind(reader: Reader, node: yaml.Node, path: str) -> Kind:
    found = reader.mapping(node, path)
    reader.known(found, path, KINDS)
    if len(found) != 1:
        mend = "write {holiday: its name} or {workday: its name}"
        reader.fault(node, path, "a day is a holiday or a workday", mend)
    for word, (_, value) in found.items():
        reader.text(value, f"{path}.{word}")
    return "workday" if "workday" in found else "holiday"


def _dates(reader: Reader, node: yaml.Node, path: str, text: str) -> list[date]:
    found = DATES.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        first = date.fromisoformat(found.group(1))
        last = date.fromisoformat(found.group(2) or found.group(1))
    except ValueError:
        mend = "write 2026-01-01, or 2026-01-01..2026-01-03"
        reader.fault(node, path, f"{text!r} is no date", mend)
        return []
    number = (last - first).days + 1
    if not 0 < number <= LONGEST_HOLIDAY:
        problem = f"{text!r} is no range of 1 to {LONGEST_HOLIDAY} days"
        reader.fault(node, path, problem, "write the first day first")
        return []
    if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
        reader.fault(node, path, f"not in {FIRST_YEAR} to {LAST_YEAR}", "look at the year")
        return []
    return [first + timedelta(days=n) for n in range(number)]
