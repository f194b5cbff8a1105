"""The written mapping from a recorded table's columns to readings.

    file = "ambient-temperature.csv"          # beside the mapping; .gz is fine

    [time]
    column = "time"
    zone = "Asia/Shanghai"                     # for times without an offset

    [[series]]
    device = "ef-0001"                         # or "home-a-{sensor}" with a column's name
    family = "efire"
    quantity = "cable_temperature"
    column = "value"                           # or: value = 1
    scale = 0.5555555555555556                 # canonical = cell * scale + offset (degF to degC)
    offset = -17.77777777777778

`[time]` is one of: `column` with ISO 8601 texts; `column` and `unit = "ms" | "s"` counted from
1970 or from `start`; `start` and `interval_ms` for tables without a clock. A series may have
`where = {kind = "motion"}` (only rows with that text), `alarm_column` (a cell that isn't 0 marks
the reading as an alarm), `blank = "null"` (an empty cell is a reading without a value; else it is
none). `[rename]` gives devices other names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import FAMILY_INDEX, QUANTITY_INDEX
from contracts.rejects import Reason
from contracts.topics import ID
from edge.sources import SourceError

RefuseRow = Callable[[int, Reason, str, str], None]
"""(input row, reason, field, detail)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FACTOR = {"ms": 1, "s": 1000}


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    column: str = ""
    zone: str = ""
    unit: Literal["iso", "ms", "s"] = "iso"
    start: str = ""
    interval_ms: int = 0


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One quantity of one device, or of the devices that a column names."""

    device: str
    family: str
    quantity: str
    column: str = ""
    value: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    where: dict[str, str] = {}
    alarm_column: str = ""
    blank: Literal["skip", "null"] = "skip"


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: str
    time: Time
    series: tuple[Series, ...]
    rename: dict[str, str] = {}


class _Readings:
    """Columns under construction over the series of a chunk."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], int] = {}
        self.quantities: dict[str, int] = {}
        self.device: list[int] = []
        self.quantity: list[int] = []
        self.value: list[float] = []
        self.flags: list[int] = []
        self.row: list[int] = []

    def batch(self, first: int, ts_ms: NDArray[np.int64]) -> tuple[ReadingBatch, NDArray[np.int64]]:
        row = np.array(self.row, np.int64)
        # Series by series they were built; as the table has them they are read.
        order = np.argsort(row, kind="stable")
        batch = ReadingBatch(
            tuple(device for device, _ in self.devices),
            tuple(family for _, family in self.devices),
            tuple(self.quantities),
            np.array(self.device, np.int32)[order],
            np.array(self.quantity, np.int16)[order],
            ts_ms[row[order]] if len(row) else np.empty(0, np.int64),
            np.array(self.value, np.float64)[order],
            np.array(self.flags, np.uint16)[order],
        )
        return batch, row[order] + first


class Sheet:
    """A mapping that fits the columns of its table. Raises `SourceError` where it doesn't."""

    def __init__(
        self, mapping: Mapping, header: Sequence[str], *, mapping_path: Path, table_path: Path
    ) -> None:
        self._mapping = mapping
        self._names = tuple(header)
        self._at = {name: index for index, name in enumerate(header)}
        self._where = mapping_path
        self._table = table_path
        self._check()
        self._zone = self._loaded_zone()
        self._start_ms = self._loaded_start()

    def read(
        self, table: Sequence[list[str]], first: int, refuse: RefuseRow
    ) -> tuple[ReadingBatch, NDArray[np.int64]]:
        """Readings of the rows first, first+1, ... and int64 `row` of each."""
        ts_ms = np.zeros(len(table), np.int64)
        good: list[int] = []
        for index, cells in enumerate(table):
            if len(cells) != len(self._names):
                detail = f"{len(cells)} cells, not {len(self._names)}"
                refuse(first + index, Reason.BAD_RECORDING, "row", detail)
                continue
            try:
                ts_ms[index] = self._ms(cells, first + index)
            except (ValueError, OverflowError) as error:
                refuse(first + index, Reason.BAD_FIELD, self._mapping.time.column, str(error)[:120])
                continue
            good.append(index)
        readings = _Readings()
        for series in self._mapping.series:
            self._add(readings, series, table, good, first, refuse)
        return readings.batch(first, ts_ms)

    def _add(
        self,
        readings: _Readings,
        series: Series,
        table: Sequence[list[str]],
        good: Sequence[int],
        first: int,
        refuse: RefuseRow,
    ) -> None:
        wanted = [(self._at[name], text) for name, text in series.where.items()]
        alarm = self._at.get(series.alarm_column, -1)
        for index in good:
            cells = table[index]
            if any(cells[at] != text for at, text in wanted):
                continue
            try:
                value = self._value(series, cells)
                if value is None:
                    continue
                flags = int(Flag.ALARM) if alarm >= 0 and float(cells[alarm] or 0) else 0
            except ValueError as error:
                refuse(first + index, Reason.BAD_FIELD, series.column, str(error)[:120])
                continue
            if math.isinf(value) or (math.isnan(value) and series.blank != "null"):
                refuse(first + index, Reason.NON_FINITE, series.column, "")
                continue
            device = self._device(series, cells)
            if not ID.fullmatch(device):
                refuse(first + index, Reason.BAD_FIELD, "device", ascii(device)[:80])
                continue
            pair = (device, series.family)
            readings.device.append(readings.devices.setdefault(pair, len(readings.devices)))
            quantities = readings.quantities
            readings.quantity.append(quantities.setdefault(series.quantity, len(quantities)))
            readings.value.append(value)
            readings.flags.append(flags)
            readings.row.append(index)

    def _value(self, series: Series, cells: Sequence[str]) -> float | None:
        if series.value is not None:
            return series.value
        text = cells[self._at[series.column]].strip()
        if not text:
            return math.nan if series.blank == "null" else None
        return float(text) * series.scale + series.offset

    def _device(self, series: Series, cells: Sequence[str]) -> str:
        name = series.device
        if "{" in name:
            name = name.format_map({column: cells[at] for column, at in self._at.items()})
        return self._mapping.rename.get(name, name)

    def _ms(self, cells: Sequence[str], row: int) -> int:
        time = self._mapping.time
        if not time.column:
            return self._start_ms + row * time.interval_ms
        text = cells[self._at[time.column]]
        if time.unit != "iso":
            return self._start_ms + round(float(text) * _FACTOR[time.unit])
        return iso_ms(text, self._zone)

    # Checks, once.

    def _check(self) -> None:
        time, series = self._mapping.time, self._mapping.series
        if not time.column and not (time.start and time.interval_ms > 0):
            raise self._fault("time", "needs a column, or start and interval_ms; add them")
        if not series:
            raise self._fault("series", "is empty; add one [[series]]")
        if time.column:
            self._known(time.column, "time.column")
        for n, one in enumerate(series):
            self._check_series(one, f"series[{n}]")

    def _check_series(self, series: Series, at: str) -> None:
        if series.family not in FAMILY_INDEX:
            raise self._fault(
                f"{at}.family", f"{series.family!r} is no family; see docs/gateway.md"
            )
        if series.quantity not in QUANTITY_INDEX:
            raise self._fault(f"{at}.quantity", f"{series.quantity!r} is no quantity; mend it")
        if bool(series.column) == (series.value is not None):
            raise self._fault(f"{at}.column", "give either a column or a value")
        for name in (series.column, series.alarm_column, *series.where):
            if name:
                self._known(name, at)
        try:
            fields = [name for _, name, _, _ in Formatter().parse(series.device) if name]
        except ValueError as error:
            raise self._fault(f"{at}.device", f"{error}; mend the braces") from None
        for name in fields:
            self._known(name, f"{at}.device")

    def _known(self, column: str, at: str) -> None:
        if column not in self._at:
            have = ", ".join(self._names[:12])
            raise self._fault(at, f"{self._table.name} has no column {column!r}; it has {have}")

    def _loaded_zone(self) -> ZoneInfo | None:
        name = self._mapping.time.zone
        if not name:
            return None
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise self._fault(
                "time.zone", f"no time zone {name!r} on this machine; mend it or install tzdata"
            ) from None

    def _loaded_start(self) -> int:
        start = self._mapping.time.start
        if not start:
            return 0
        try:
            return iso_ms(start, self._zone)
        except ValueError as error:
            raise self._fault("time.start", f"{error}; mend it") from None

    def _fault(self, field: str, text: str) -> SourceError:
        return SourceError(f"{self._where}: {field}: {text}")


def iso_ms(text: str, zone: ZoneInfo | None) -> int:
    """Unix milliseconds of an ISO 8601 text. Raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} has no offset and time.zone is not given")
        at = at.replace(tzinfo=zone)
    return (at - _EPOCH) // _MS
