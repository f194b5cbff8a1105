"""A recorded home from its folder: `home.json` and `events.csv.gz` (or `events.csv`).

Of `home.json` the detector gets the time zone and each sensor's room, kind and role. What else
stands there (outages, absences) is truth for scoring and is read by `read_truth` alone.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.layout import KINDS, ROOMS, Kind, Layout, Role, Room, role_of
from rules.zones import zone, zone_names

STRAY_MS = 24 * 3_600_000
"""A row so far ahead of the row before and of the next one has a wrong clock."""
ASTRAY_MS = 31 * 24 * 3_600_000
ASTRAY_SHARE = 20
"""Rows so far from all others, and that many times fewer, have a wrong clock as well (proposal)."""
COLUMNS = ("time", "sensor", "room", "kind", "value")


class HomeError(Exception):
    """A home that can't be used; one line with file, field and mend."""


@dataclass(frozen=True, slots=True)
class RecordedHome:
    """name: its code. sensor: int32 row of the layout. ts_ms: int64. value: float64. By time.

    repaired: what was mended in reading, by name, with how many rows.
    """

    name: str
    layout: Layout
    sensor: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    repaired: dict[str, int]


Spans = list[tuple[int, int]]
Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class Truth:
    """Unix ms, for scoring only."""

    outages: Spans
    absences: Spans


class _Sensor(msgspec.Struct, frozen=True):
    sensor: str
    room: str
    kind: str
    role: str = ""


class _Home(msgspec.Struct, frozen=True):
    home: str
    timezone: str
    sensors: list[_Sensor]


class _Span(msgspec.Struct, frozen=True):
    start: datetime
    end: datetime


class _Truth(msgspec.Struct, frozen=True):
    outages: list[_Span] = []
    absences_over_12h: list[_Span] = []


def read_home(folder: Path) -> RecordedHome:
    """Raises `HomeError`."""
    path = folder / "home.json"
    known = _decoded(path, _Home)
    layout = _layout(path, known)
    events, plain = folder / "events.csv.gz", folder / "events.csv"
    if events.exists() and plain.exists():
        raise HomeError(f"{plain}: stands beside events.csv.gz; keep one of them")
    if not events.exists():
        events = plain
    row = {name: i for i, name in enumerate(layout.sensors)}
    declared = {one.sensor: (one.room, one.kind) for one in known.sensors}
    sensor, ts, value = _events(events, row, declared)
    return _in_order(known.home, layout, sensor, ts, value)


def read_truth(folder: Path) -> Truth:
    """Raises `HomeError`."""
    found = _decoded(folder / "home.json", _Truth)
    return Truth(_spans(found.outages), _spans(found.absences_over_12h))


def _spans(found: list[_Span]) -> Spans:
    return [
        (round(one.start.timestamp() * 1000), round(one.end.timestamp() * 1000)) for one in found
    ]


def _decoded(path: Path, wanted: type[Wanted]) -> Wanted:
    try:
        return msgspec.json.decode(path.read_bytes(), type=wanted)
    except OSError as error:
        raise HomeError(
            f"{path}: can't be read ({error.strerror}); a home is a folder with home.json "
            "and events.csv.gz"
        ) from None
    except msgspec.DecodeError as error:
        raise HomeError(f"{path}: {error}") from None


def _layout(path: Path, known: _Home) -> Layout:
    if known.timezone not in zone_names():
        raise HomeError(f"{path}: timezone: {known.timezone!r} is no time zone; e.g. Asia/Shanghai")
    if not known.home:
        raise HomeError(f"{path}: home: is empty; give the home's code")
    sensors: list[tuple[str, str, Kind, Room, Role]] = []
    names: set[str] = set()
    for at, one in enumerate(known.sensors):
        if one.sensor in names:
            raise HomeError(f"{path}: sensors[{at}].sensor: {one.sensor!r} stands there twice")
        names.add(one.sensor)
        if one.kind not in KINDS:
            raise HomeError(
                f"{path}: sensors[{at}].kind: {one.kind!r}; choose from {', '.join(KINDS)}"
            )
        if one.room not in ROOMS:
            raise HomeError(
                f"{path}: sensors[{at}].room: {one.room!r}; choose from {', '.join(ROOMS)}"
            )
        fault = _role_fault(one)
        if fault:
            raise HomeError(f"{path}: sensors[{at}].role: {one.role!r}; {fault}")
        sensors.append(
            (known.home, one.sensor, KINDS[one.kind], ROOMS[one.room], role_of(one.role))
        )
    if not any(kind < Kind.HEARTBEAT for _, _, kind, _, _ in sensors):
        raise HomeError(f"{path}: sensors: none of them shows a person")
    return Layout.of({known.home: zone(known.timezone).info}, sensors)


def _role_fault(one: _Sensor) -> str:
    """A role is a free word but for two, which decide what counts as a person: a slip of the pen
    there would change alarms."""
    letters = "".join(char for char in one.role.lower() if char.isalnum())
    if letters == "frontdoor" and one.role != "front_door":
        return "the front door's role is front_door"
    if one.role == "front_door" and one.kind != "contact":
        return f"a front door is a contact, this is {one.kind}"
    if letters.endswith("automatic") and not one.role.endswith("_automatic"):
        return "what runs by itself has a role that ends in _automatic"
    return ""


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as handle:
                yield handle
        else:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                yield handle
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise HomeError(f"{path}: can't be read ({why})") from None


Columns = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def _events(path: Path, row: dict[str, int], declared: dict[str, tuple[str, str]]) -> Columns:
    sensor: list[int] = []
    ts: list[int] = []
    value: list[float] = []
    with _opened(path) as handle:
        lines = csv.reader(handle)
        head = tuple(next(lines, ()))
        if head != COLUMNS:
            raise HomeError(f"{path}:1: the columns are {','.join(COLUMNS)}, not {','.join(head)}")
        for number, line in enumerate(lines, 2):
            at = f"{path}:{number}"
            if len(line) != len(COLUMNS):
                raise HomeError(f"{at}: {len(line)} columns, {len(COLUMNS)} are wanted")
            time, name, room, kind, number_text = line
            if name not in row:
                raise HomeError(f"{at}: sensor: {name!r} isn't in home.json; list it there")
            if declared[name] != (room, kind):
                was = " ".join(declared[name])
                raise HomeError(f"{at}: room, kind: {room} {kind}, home.json says {was}")
            sensor.append(row[name])
            ts.append(_ms(time, at))
            value.append(_number(number_text, at))
    if not ts:
        raise HomeError(f"{path}: holds no event")
    return np.array(sensor, np.int32), np.array(ts, np.int64), np.array(value)


def _ms(text: str, at: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise HomeError(f"{at}: time: {text[:40]!r} is no RFC 3339 time") from None
    if found.tzinfo is None:
        raise HomeError(f"{at}: time: {text!r} has no offset from UTC; e.g. +00:00")
    return round(found.timestamp() * 1000)


def _number(text: str, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise HomeError(f"{at}: value: {text[:40]!r} is no number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise HomeError(f"{at}: value: {text!r} is no finite number")
    return value


def _in_order(
    name: str,
    layout: Layout,
    sensor: NDArray[np.int32],
    ts: NDArray[np.int64],
    value: NDArray[np.float64],
) -> RecordedHome:
    """Sort, drop what stands there twice and what a wrong clock has dated; count it all."""
    before = np.concatenate([ts[:1], ts[:-1]])
    after = np.concatenate([ts[1:], ts[-1:]])
    ahead = (ts - np.maximum(before, after) > STRAY_MS) & (len(ts) > 2)
    ahead[-1:] = False
    sensor, ts, value = sensor[~ahead], ts[~ahead], value[~ahead]
    unsorted = int((np.diff(ts) < 0).sum())
    order = np.argsort(ts, kind="stable")
    sensor, ts, value = sensor[order], ts[order], value[order]
    rows = np.stack([ts.astype(np.float64), sensor.astype(np.float64), value], axis=1)
    _, first = np.unique(rows, axis=0, return_index=True)
    keep = np.zeros(len(ts), bool)
    keep[first] = True
    alone = _astray(ts)
    repaired = {
        "ahead": int(ahead.sum()),
        "unsorted": unsorted,
        "repeated": int((~keep).sum()),
        "astray": int((keep & alone).sum()),
    }
    keep &= ~alone
    return RecordedHome(name, layout, sensor[keep], ts[keep], value[keep], repaired)


def _astray(ts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of sorted times, the few that lie more than `ASTRAY_MS` from all others."""
    part = np.concatenate([[0], np.cumsum(np.diff(ts) > ASTRAY_MS)])
    counts = np.bincount(part)
    return np.asarray((counts * ASTRAY_SHARE <= counts.max())[part])
