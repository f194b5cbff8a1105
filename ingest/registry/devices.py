"""devices.csv as columns: never an object per device, for there may be a million."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.registry import Column, DeviceTable, Grid
from contracts.topics import ID
from ingest.registry.codes import code_faults
from ingest.registry.findings import Findings
from ingest.registry.options import Options
from ingest.registry.polygons import Points
from ingest.registry.tables import Chunk, read_csv

FILE = "devices.csv"
_REQUIRED = ("device", "family")
_OWN = frozenset({"device", "family", "gateway", "grid", "lon", "lat"})
_ID_MEND = "use 1 to 64 of A-Z a-z 0-9 _ -, without blanks"


class _Interned:
    """A text column under construction: codes into a dictionary in order of appearance."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {"": -1}
        self.parts: list[NDArray[np.int32]] = []

    def add(self, column: Sequence[str]) -> None:
        values = self.values
        for text in dict.fromkeys(column):
            if text not in values:
                values[text] = len(values) - 1
        self.parts.append(np.fromiter(map(values.__getitem__, column), np.int32, len(column)))

    def names(self) -> tuple[str, ...]:
        return tuple(self.values)[1:]

    def codes(self) -> NDArray[np.int32]:
        return np.concatenate(self.parts) if self.parts else np.empty(0, np.int32)


class _Reader:
    """Columns of all good rows so far. A row without a usable id or family is left out."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.seen: set[str] = set()
        self.ids: list[str] = []
        self.lines: list[NDArray[np.int32]] = []
        self.family: list[NDArray[np.int8]] = []
        self.lon: list[NDArray[np.float64]] = []
        self.lat: list[NDArray[np.float64]] = []
        self.spoilt: list[NDArray[np.bool_]] = []  # A point that has its finding already.
        self.gateway, self.grid = _Interned(), _Interned()
        self.attributes: dict[str, _Interned] = {}

    def add(self, chunk: Chunk) -> None:
        good = self._families(chunk, self._ids(chunk))
        if len(good) < len(chunk):
            chunk = Chunk(
                chunk.lines[good],
                {name: tuple(column[i] for i in good) for name, column in chunk.columns.items()},
            )
        ids = chunk.column("device")
        self.ids.extend(ids)
        self.lines.append(chunk.lines)
        families = map(FAMILY_INDEX.__getitem__, chunk.column("family"))
        self.family.append(np.fromiter(families, np.int8, len(chunk)))
        self._gateways(chunk)
        self.grid.add(chunk.column("grid"))
        self.spoilt.append(np.zeros(len(chunk), np.bool_))
        self.lon.append(self._degrees(chunk, "lon", 180))
        self.lat.append(self._degrees(chunk, "lat", 90))
        for name, column in chunk.columns.items():
            if name not in _OWN:
                self.attributes.setdefault(name, _Interned()).add(column)

    def _ids(self, chunk: Chunk) -> list[int]:
        """The rows whose id is an id and new."""
        ids = chunk.column("device")
        fresh = set(ids)
        is_id = ID.fullmatch
        if (
            len(fresh) == len(ids)
            and self.seen.isdisjoint(fresh)
            and all(is_id(one) for one in fresh)
        ):
            self.seen |= fresh
            return list(range(len(ids)))
        good = []
        for row, device in enumerate(ids):
            line = int(chunk.lines[row])
            if not is_id(device):
                problem = f"{device[:60]!r} is no id"
                self.findings.add(FILE, line, "device", problem, _ID_MEND, kind="id")
            elif device in self.seen:
                mend = "keep one of the rows; the first counts"
                problem = f"{device} stands in an earlier row already"
                self.findings.add(FILE, line, "device", problem, mend, kind="twice")
            else:
                self.seen.add(device)
                good.append(row)
        return good

    def _families(self, chunk: Chunk, rows: list[int]) -> list[int]:
        families = chunk.column("family")
        if FAMILY_INDEX.keys() >= set(families):
            return rows
        good = []
        for row in rows:
            if families[row] in FAMILY_INDEX:
                good.append(row)
                continue
            problem = f"{families[row][:40]!r} is no family"
            mend = f"write one of {', '.join(FAMILIES)}"
            line = int(chunk.lines[row])
            self.findings.add(FILE, line, "family", problem, mend, kind="family")
        return good

    def _gateways(self, chunk: Chunk) -> None:
        column = chunk.column("gateway")
        new = set(column) - self.gateway.values.keys()
        self.gateway.add(column)
        bad = {one for one in new if not ID.fullmatch(one)}
        for row in [i for i, one in enumerate(column) if one in bad] if bad else ():
            # Kept as it stands: no gateway can have this name, so nobody speaks for the device
            # unnoticed.
            problem = f"{column[row][:60]!r} is no id"
            line = int(chunk.lines[row])
            self.findings.add(FILE, line, "gateway", problem, _ID_MEND, kind="id")

    def _degrees(self, chunk: Chunk, name: str, limit: int) -> NDArray[np.float64]:
        column = chunk.column(name)
        try:
            degrees = np.array([float(text) if text else math.nan for text in column])
        except ValueError:
            degrees = np.array([_float(text) for text in column])
        given = np.array([text != "" for text in column], np.bool_)
        bad = given & ~(np.abs(degrees) <= limit)
        for row in np.flatnonzero(bad).tolist():
            mend = f"write degrees from -{limit} to {limit}, as 117.283"
            if name == "lat" and abs(degrees[row]) <= 180:
                mend = "are lon and lat swapped? Latitude is from -90 to 90"
            problem = f"{column[row][:40]!r} is no {name}"
            line = int(chunk.lines[row])
            self.findings.add(FILE, line, name, problem, mend, kind="degrees")
        degrees[bad] = math.nan
        self.spoilt[-1] |= bad
        return degrees


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_devices(
    folder: Path, grids: Sequence[Grid], options: Options, findings: Findings, *, thorough: bool
) -> DeviceTable:
    """The device table. With `thorough`, given grids are compared with the points too.

    Raises `Malformed`. A device whose grid can't be found has grid -1 and a finding.
    """
    reader = _Reader(findings)
    for chunk in read_csv(folder / FILE, _REQUIRED, findings):
        reader.add(chunk)
    lon, lat = _joined(reader.lon, np.float64), _joined(reader.lat, np.float64)
    lines = _joined(reader.lines, np.int32)
    half = np.isnan(lon) != np.isnan(lat)
    spoilt = _joined(reader.spoilt, np.bool_)
    for row in np.flatnonzero(half & ~spoilt).tolist():
        mend = "give both lon and lat, or neither"
        findings.add(FILE, int(lines[row]), "lon", "half a point", mend)
    lon[half], lat[half] = math.nan, math.nan
    placer = _Placer(grids, options, findings, lines, lon, lat, spoilt | half)
    return DeviceTable(
        ids=tuple(reader.ids),
        family=_joined(reader.family, np.int8),
        gateways=reader.gateway.names(),
        gateway=reader.gateway.codes(),
        grid=placer.grids(reader.grid, thorough=thorough),
        lon=lon,
        lat=lat,
        attributes={
            name: Column(column.codes(), column.names())
            for name, column in reader.attributes.items()
        },
    )


_T = TypeVar("_T", bound=np.generic)


def _joined(parts: list[NDArray[_T]], dtype: type[_T]) -> NDArray[_T]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


class _Placer:
    """Gives each device the row of its grid: as written, or by the polygon it stands in."""

    def __init__(
        self,
        grids: Sequence[Grid],
        options: Options,
        findings: Findings,
        lines: NDArray[np.int32],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        told: NDArray[np.bool_],
    ) -> None:
        self.all = grids
        self.options = options
        self.findings = findings
        self.lines = lines
        self.lon, self.lat = lon, lat
        self.told = told  # Rows whose missing point has a finding already.
        # Usable ones first, of those the ones that end last: they win.
        self.preferred = sorted(range(len(grids)), key=lambda i: _preference(grids[i]))

    def grids(self, written: _Interned, *, thorough: bool) -> NDArray[np.int32]:
        codes = written.codes()
        row_of = {self.all[i].code: i for i in reversed(self.preferred)}
        rows = np.array([row_of.get(code, -1) for code in written.names()] + [-1], np.int32)
        grid = rows[codes]
        self._check_written(written.names(), codes, rows)
        free = codes < 0
        asked = ~np.isnan(self.lon) & (free | thorough)
        found = self._by_point(asked)
        grid[free] = found[free]
        self._check_points(grid, found, free, thorough)
        return grid

    def _by_point(self, asked: NDArray[np.bool_]) -> NDArray[np.int32]:
        """int32 per device: the row of the grid around its point, -1 = none or not asked."""
        found = np.full(len(self.lon), -1, np.int32)
        if not asked.any():
            return found
        which = np.flatnonzero(asked)
        points = Points(self.lon[which], self.lat[which])
        for row in reversed(self.preferred):
            if self.all[row].polygon and not self.all[row].void:
                found[which[points.inside(self.all[row].polygon)]] = row
        return found

    def _check_written(
        self, names: tuple[str, ...], codes: NDArray[np.int32], rows: NDArray[np.int32]
    ) -> None:
        for code, name in enumerate(names):
            row = int(rows[code])
            if row >= 0 and not self.all[row].void:
                continue
            problem, mend = self._fault(name, row)
            for device in np.flatnonzero(codes == code).tolist():
                line = int(self.lines[device])
                self.findings.add(FILE, line, "grid", problem, mend, kind="grid")

    def _fault(self, name: str, row: int) -> tuple[str, str]:
        if row >= 0:
            return f"grid {name} is void", "give the code of the grid that took its place"
        for fault in code_faults(name, "grid", self.options):
            if not fault.warning:
                return fault.problem, fault.mend
        return f"grid {name} isn't in the registry", "add the grid, or correct the code"

    def _check_points(
        self,
        grid: NDArray[np.int32],
        found: NDArray[np.int32],
        free: NDArray[np.bool_],
        thorough: bool,
    ) -> None:
        add = self.findings.add
        no_point = np.isnan(self.lon)
        for row in np.flatnonzero(free & no_point & ~self.told).tolist():
            mend = "give the code of its grid, or lon and lat"
            add(FILE, int(self.lines[row]), "grid", "neither grid nor point", mend)
        for row in np.flatnonzero(free & ~no_point & (found < 0)).tolist():
            mend = "give the code of its grid, or check the point"
            add(FILE, int(self.lines[row]), "lon", "point lies in no grid", mend)
        drawn = np.array([bool(one.polygon) for one in self.all] + [False], np.bool_)
        if not thorough or not drawn.any():
            return
        given = ~free & ~no_point & (grid >= 0)
        for row in np.flatnonzero(given & (found < 0)).tolist():
            mend = "check the point and the polygon"
            add(FILE, int(self.lines[row]), "lon", "point lies in no grid", mend, warning=True)
        for row in np.flatnonzero(given & (found >= 0) & (found != grid)).tolist():
            if self.all[int(found[row])].code == self.all[int(grid[row])].code:
                continue
            problem = f"point lies in grid {self.all[int(found[row])].code}"
            mend = f"check the point; written is {self.all[int(grid[row])].code}"
            line = int(self.lines[row])
            add(FILE, line, "grid", problem, mend, warning=True, kind="other grid")


def _preference(grid: Grid) -> tuple[bool, float]:
    return grid.void, -math.inf if grid.valid_to_ms is None else -grid.valid_to_ms
