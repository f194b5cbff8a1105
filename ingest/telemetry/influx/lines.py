"""Rows as InfluxDB line protocol, built from columns. Pure.

    reading,community=340111002015,device=fw-0012,family=firewater,gateway=gw-07,\\
grid=340111002015001,street=340111002 static_pressure=0.31 1760000000000

One measurement, `reading`; a field per quantity, a float in the quantity's canonical unit; times
are event times in milliseconds. A row without a value is the field `<quantity>.none` = 1i. Tags
that are empty are left out; `flags` has the set bits by name (`alarm+late`). A point is told by
its tags and its time, so a row that is written again, after a crash or an outage, replaces itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag
from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITIES
from contracts.registry import Registry
from ingest.telemetry.buffer import Rows

MEASUREMENT = "reading"
NONE = ".none"
BODY_ROWS = 5_000
"""Rows of a request: InfluxDB advises 5 000 lines ("Optimize writes to InfluxDB")."""
FIRST_MS, LAST_MS = -9_223_372_036_854, 9_223_372_036_854
"""InfluxDB keeps nanoseconds in 64 bits: the years 1677 to 2262. One line outside would make it
refuse what stands beside it."""

_FIELDS = tuple(name for q in QUANTITIES for name in (q.name, q.name + NONE))
_FIELD_BITS = 10
_CACHED_HEADS = 100_000
_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_UNWRITABLE = re.compile(r"[\\\x00-\x1f\x7f]")
"""Line protocol can't hold a line break in a tag, and a backslash only in some places."""
_NEVER = np.iinfo(np.int64)
_FLAGS = tuple((int(flag), (flag.name or "").lower()) for flag in Flag)


@dataclass(frozen=True, slots=True)
class Body:
    """Lines of one request, each ended by a line break. rows: readings in them.

    heard_ms: accepted_ms of the newest reading that was handed over by then.
    """

    data: bytes
    rows: int
    heard_ms: int


class Refusal(NamedTuple):
    """What can't be stored: the line, or the reading as text where it has no line."""

    content: bytes
    detail: str
    rows: int = 1


class Unwritable(Exception):
    """A tag of a device can't be written as line protocol."""

    def __init__(self, device: int, tag: str) -> None:
        super().__init__(f"{tag}: a backslash or a control character can't be written")
        self.device, self.tag = device, tag


def flag_names(flags: int) -> str:
    """The set bits by name, lowest first, joined by "+"."""
    return "+".join(name for bit, name in _FLAGS if flags & bit)


def flags_of(names: str) -> int:
    """The inverse of `flag_names`; names that aren't known count for nothing."""
    wanted = set(names.split("+"))
    return sum(bit for bit, name in _FLAGS if name in wanted)


def escaped(text: str) -> str:
    """A tag value or key as line protocol. Raises `ValueError` where there is no way to write it.

    Backslashes are refused, not doubled: the servers' parsers don't agree on them.
    """
    if _UNWRITABLE.search(text):
        raise ValueError("a backslash or a control character can't be written")
    return text.translate(_ESCAPES)


class Encoder:
    """Encodes the rows of one directory; it keeps the written tags of devices that spoke."""

    def __init__(self, directory: DeviceDirectory) -> None:
        self.directory = directory
        self._registry: Registry = directory.registry
        self._grid, self._from_ms, self._to_ms = _validity(directory.registry)
        self._heads: dict[tuple[int, int, bool], str] = {}

    def encode(self, rows: Rows, heard_ms: int) -> tuple[list[Body], list[Refusal]]:
        """Bodies of at most `BODY_ROWS` rows, and what can't be written."""
        sound = ~np.isinf(rows.value) & (rows.ts_ms > FIRST_MS) & (rows.ts_ms < LAST_MS)
        refused: list[Refusal] = []
        if not sound.all():
            bad = np.flatnonzero(~sound)
            refused += self._refuse(rows.take(bad), "no finite value, or a time beyond 1677-2262")
            rows = rows.take(np.flatnonzero(sound))
        bodies: list[Body] = []
        for at in range(0, len(rows.ts_ms), BODY_ROWS):
            part = Rows._make(column[at : at + BODY_ROWS] for column in rows)
            body = self._body(part, heard_ms, refused)
            if body.rows:
                bodies.append(body)
        return bodies, refused

    def _body(self, rows: Rows, heard_ms: int, refused: list[Refusal]) -> Body:
        while True:
            try:
                return Body(self._lines(rows).encode(), len(rows.ts_ms), heard_ms)
            except Unwritable as error:
                told = rows.device == error.device
                refused += self._refuse(rows.take(np.flatnonzero(told)), str(error))
                rows = rows.take(np.flatnonzero(~told))

    def _lines(self, rows: Rows) -> str:
        """Raises `Unwritable`."""
        count = len(rows.ts_ms)
        if not count:
            return ""
        none = np.isnan(rows.value)
        field = rows.quantity.astype(np.int64) << 1 | none
        first = _first_of_line(rows, field)
        tokens: list[str] = [""] * (3 * count)
        tokens[0::3] = self._prefixes(rows, field, first)
        values = list(map(repr, rows.value.tolist()))
        for at in np.flatnonzero(none).tolist():
            values[at] = "1i"
        tokens[1::3] = values
        ends = list(map(" %d\n".__mod__, rows.ts_ms.tolist()))
        for at in (np.flatnonzero(~first) - 1).tolist():
            ends[at] = ""
        tokens[2::3] = ends
        return "".join(tokens)

    def _prefixes(
        self, rows: Rows, field: NDArray[np.int64], first: NDArray[np.bool_]
    ) -> list[str]:
        """What stands before each value: tags and field, or only the field inside a line."""
        placed = self._placed(rows)
        device, flags = rows.device.astype(np.int64), rows.flags.astype(np.int64)
        key = (device << 17 | flags << 1 | placed) << _FIELD_BITS | field
        key = np.where(first, key, -1 - field)
        unique, inverse = np.unique(key, return_inverse=True)
        texts = np.array([self._prefix(one) for one in unique.tolist()], object)
        found: list[str] = texts[inverse].tolist()
        return found

    def _prefix(self, key: int) -> str:
        if key < 0:
            return f",{_FIELDS[-1 - key]}="
        field, rest = key & ((1 << _FIELD_BITS) - 1), key >> _FIELD_BITS
        head = (rest >> 17, rest >> 1 & 0xFFFF, bool(rest & 1))
        text = self._heads.get(head)
        if text is None:
            if len(self._heads) >= _CACHED_HEADS:
                self._heads.clear()
            text = self._heads[head] = self._head(*head)
        return f"{text}{_FIELDS[field]}="

    def _head(self, device: int, flags: int, placed: bool) -> str:
        """Measurement and tags, in the order of their keys as InfluxDB advises."""
        directory, grid = self.directory, ""
        if placed:
            grid = self._registry.grids[int(self._grid[device])].code
        _, street, community, _ = self._registry.scheme.lengths
        gateway = int(directory.gateway[device])
        tags = {
            "community": grid[:community],
            "device": directory.ids[device],
            "family": directory.family_name(device),
            "flags": flag_names(flags),
            "gateway": directory.gateways[gateway] if gateway >= 0 else "",
            "grid": grid,
            "street": grid[:street],
        }
        parts = [MEASUREMENT]
        for name, text in tags.items():
            if text:
                try:
                    parts.append(f"{name}={escaped(text)}")
                except ValueError:
                    raise Unwritable(device, name) from None
        return ",".join(parts) + " "

    def _placed(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each row's device stands in a grid whose code may be used at the row's time."""
        if not len(self._grid):
            return np.zeros(len(rows.ts_ms), np.bool_)
        known = rows.device < len(self._grid)
        grid = np.where(known, self._grid[np.where(known, rows.device, 0)], -1)
        inside = (rows.ts_ms >= self._from_ms[grid]) & (rows.ts_ms < self._to_ms[grid])
        placed: NDArray[np.bool_] = (grid >= 0) & inside
        return placed

    def _refuse(self, rows: Rows, detail: str) -> list[Refusal]:
        """The rows as texts: they have no line."""
        ids, columns = self.directory.ids, (column.tolist() for column in rows)
        return [
            Refusal(f"{ids[d]} {QUANTITIES[q].name}={v!r} {t} flags={f}".encode(), detail)
            for d, q, t, v, f in zip(*columns, strict=True)
        ]


def _first_of_line(rows: Rows, field: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows that begin a line. Neighbours of one point share it, while each field comes once."""
    first = np.ones(len(field), np.bool_)
    first[1:] = (
        (rows.device[1:] != rows.device[:-1])
        | (rows.ts_ms[1:] != rows.ts_ms[:-1])
        | (rows.flags[1:] != rows.flags[:-1])
        | (field[1:] <= field[:-1])
    )
    return first


def _validity(
    registry: Registry,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Per device its grid's row, and per grid from when to when its code may be used; the last
    element stands for "no grid". As `contracts.registry.valid_at` has it."""
    first = [_NEVER.min if g.valid_from_ms is None else g.valid_from_ms for g in registry.grids]
    last = [_last(g.valid_to_ms, void=g.void) for g in registry.grids]
    return (
        registry.devices.grid,
        np.array([*first, _NEVER.max], np.int64),
        np.array([*last, _NEVER.min], np.int64),
    )


def _last(to_ms: int | None, *, void: bool) -> int:
    if to_ms is not None:
        return to_ms
    return int(_NEVER.min if void else _NEVER.max)
