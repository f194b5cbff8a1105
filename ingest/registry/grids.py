"""Grids from grids.csv, grids.geojson or both: a feature with the code of a row is its polygon."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from contracts.registry import Area, Grid, GridKind
from ingest.registry.areas import FILE as AREAS
from ingest.registry.areas import missing_parents
from ingest.registry.codes import code_faults
from ingest.registry.findings import Findings, Malformed
from ingest.registry.geojson import FILE as GEOJSON
from ingest.registry.geojson import read_features, read_polygon
from ingest.registry.options import Options
from ingest.registry.polygons import Rings
from ingest.registry.tables import read_csv

FILE = "grids.csv"
_KINDS: dict[str, GridKind] = {
    "residential": "residential", "居民区": "residential", "居民区网格": "residential",
    "base": "base", "基础": "base", "基础网格": "base",
    "dedicated": "dedicated", "专属": "dedicated", "专属网格": "dedicated",
}  # fmt: skip
_STATES = {"": False, "有效": False, "valid": False, "作废": True, "void": True}
_COLUMNS = ("code", "name", "kind", "valid_from", "valid_to", "state", "reason")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Row:
    """A grid as it was read, and where."""

    file: str
    line: int
    grid: Grid


def read_grids(
    folder: Path, areas: dict[str, Area] | None, options: Options, findings: Findings
) -> list[Grid]:
    """The good grids in the order of the files. Raises `Malformed`."""
    reader = _Reader(areas, options, findings)
    rows: list[Row] = []
    with_csv, with_geojson = (folder / FILE).exists(), (folder / GEOJSON).exists()
    if not with_csv and not with_geojson:
        raise Malformed(FILE, 0, "file", "missing", f"put {FILE} or {GEOJSON} into {folder}")
    if with_csv:
        rows += reader.table(folder / FILE)
    if with_geojson:
        rows = reader.drawn(folder / GEOJSON, rows)
    _check_reuse(rows, findings)
    return [row.grid for row in rows]


class _Reader:
    def __init__(self, areas: dict[str, Area] | None, options: Options, findings: Findings) -> None:
        self.areas = areas
        self.options = options
        self.findings = findings

    def table(self, path: Path) -> Iterator[Row]:
        for chunk in read_csv(path, ("code", "name", "kind"), self.findings):
            columns = [chunk.column(name) for name in _COLUMNS]
            for line, *texts in zip(chunk.lines.tolist(), *columns, strict=True):
                grid = self.grid(FILE, line, dict(zip(_COLUMNS, texts, strict=True)), ())
                if grid is not None:
                    yield Row(FILE, line, grid)

    def drawn(self, path: Path, rows: list[Row]) -> list[Row]:
        """The rows with the polygons of the features; features without a row are added."""
        place = {row.grid.code: i for i, row in enumerate(rows)}
        by_code = len(rows)
        for feature in read_features(path):
            rings = self._polygon(feature.line, feature.geometry)
            texts = self._texts(feature.line, feature.properties)
            at = place.get(texts["code"], by_code)
            if at < by_code and not rows[at].grid.polygon:
                rows[at] = replace(rows[at], grid=replace(rows[at].grid, polygon=rings))
                self._compare(feature.line, texts, rows[at].grid)
                continue
            grid = self.grid(GEOJSON, feature.line, texts, rings)
            if grid is not None:
                rows.append(Row(GEOJSON, feature.line, grid))
        return rows

    def _compare(self, line: int, texts: dict[str, str], grid: Grid) -> None:
        """The row of the table is the one that counts."""
        for name, wanted in (("name", grid.name), ("kind", grid.kind)):
            given = _KINDS.get(texts[name]) if name == "kind" else texts[name]
            if texts[name] and given != wanted:
                problem = f"{texts[name][:40]!r} differs from {wanted!r} in {FILE}, which counts"
                mend = "make both the same, or leave it out here"
                self.findings.add(GEOJSON, line, name, problem, mend, warning=True, kind="differs")

    def _polygon(self, line: int, geometry: object) -> Rings:
        rings, faults = read_polygon(geometry)
        for fault in faults:
            self.findings.add(GEOJSON, line, "geometry", fault.problem, fault.mend)
        return rings

    def _texts(self, line: int, properties: dict[str, Any]) -> dict[str, str]:
        texts: dict[str, str] = {}
        for name in _COLUMNS:
            value = properties.get(name)
            if value is not None and not isinstance(value, str):
                mend = f'write it in quotes: "{name}": "..."; a code is never a number'
                self.findings.add(GEOJSON, line, name, "no text", mend)
            texts[name] = "" if value is None else str(value)
        return texts

    def grid(self, file: str, line: int, texts: dict[str, str], polygon: Rings) -> Grid | None:
        """The grid of one row; None when its code or kind can't be used."""
        if not self._good_code(file, line, texts["code"]):
            return None
        kind = _KINDS.get(texts["kind"])
        if kind is None:
            mend = "write 居民区, 基础 or 专属 (residential, base, dedicated)"
            problem = f"{texts['kind'][:40]!r} is no kind of grid"
            self.findings.add(file, line, "kind", problem, mend, kind="kind")
            return None
        grid = Grid(
            code=texts["code"],
            name=texts["name"],
            kind=kind,
            valid_from_ms=self._time(file, line, "valid_from", texts["valid_from"]),
            valid_to_ms=self._time(file, line, "valid_to", texts["valid_to"]),
            void=self._void(file, line, texts["state"]),
            void_reason=texts["reason"],
            polygon=polygon,
        )
        self._check(file, line, grid)
        return grid

    def _good_code(self, file: str, line: int, code: str) -> bool:
        faults = code_faults(code, "grid", self.options)
        for fault in faults:
            self.findings.add(
                file,
                line,
                "code",
                fault.problem,
                fault.mend,
                warning=fault.warning,
                kind=fault.kind,
            )
        if not all(fault.warning for fault in faults):
            return False
        for level, parent in missing_parents(code, 3, self.areas, self.options):
            mend = f"add a row {parent},{level},... to {AREAS}"
            problem = f"its {level} {parent} is missing"
            self.findings.add(file, line, "code", problem, mend, kind="parent")
        return True

    def _time(self, file: str, line: int, field: str, text: str) -> int | None:
        if not text:
            return None
        try:
            if _DATE.fullmatch(text):
                at = datetime.fromisoformat(text).replace(tzinfo=self.options.zone)
            else:
                at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise ValueError("no time zone")
            return (at - _EPOCH) // _MS
        except (ValueError, OverflowError):
            mend = "write a date as 2026-03-01, or a time as 2026-03-01T08:00:00+08:00"
            problem = f"{text[:40]!r} is no time"
            self.findings.add(file, line, field, problem, mend, kind="time")
            return None

    def _void(self, file: str, line: int, state: str) -> bool:
        if state not in _STATES:
            problem = f"{state[:40]!r} is no state"
            mend = "write 有效 or 作废 (valid, void)"
            self.findings.add(file, line, "state", problem, mend, kind="state")
        return _STATES.get(state, False)

    def _check(self, file: str, line: int, grid: Grid) -> None:
        add = self.findings.add
        if not grid.name:
            add(file, line, "name", "empty", "name the grid", warning=True)
        start, end = grid.valid_from_ms, grid.valid_to_ms
        if start is not None and end is not None and start >= end:
            mend = "valid_to is the first moment at which the code is no longer valid"
            add(file, line, "valid_to", "not later than valid_from", mend)
        if grid.void and not grid.void_reason:
            add(file, line, "reason", "void without a reason", "say why", warning=True)
        if grid.void and end is None:
            mend = "give the time; until then the code counts as never valid"
            add(file, line, "valid_to", "void without a time", mend, warning=True)
        scheme = self.options.scheme
        own = grid.code[scheme.lengths[2] :]
        marked = bool(scheme.dedicated_marker and re.fullmatch(scheme.dedicated_marker, own))
        if scheme.dedicated_marker and marked != (grid.kind == "dedicated"):
            says = "dedicated" if marked else "not dedicated"
            mend = "correct the kind, the code, or codes.dedicated_marker in registry.toml"
            problem = f"the code says {says}, the kind says {grid.kind}"
            add(file, line, "kind", problem, mend, warning=True, kind="marker")


def _check_reuse(rows: list[Row], findings: Findings) -> None:
    """A void code is never used again; valid ones of one code don't overlap in time."""
    by_code: dict[str, list[Row]] = {}
    for row in rows:
        by_code.setdefault(row.grid.code, []).append(row)
    for code, same in by_code.items():
        if len(same) == 1:
            continue
        if any(row.grid.void for row in same):
            for later in same[1:]:
                problem = f"void code {code} is used again, see {same[0].file}:{same[0].line}"
                mend = "give the grid a new code; void codes are never used again"
                findings.add(later.file, later.line, "code", problem, mend, kind="reuse")
            continue
        same.sort(key=lambda row: _span(row.grid)[0])
        for earlier, later in pairwise(same):
            if _span(later.grid)[0] < _span(earlier.grid)[1]:
                problem = f"{code} is valid twice at a time, see {earlier.file}:{earlier.line}"
                mend = "keep one row, or end the earlier with valid_to"
                findings.add(later.file, later.line, "code", problem, mend, kind="overlap")


def _span(grid: Grid) -> tuple[float, float]:
    return (
        -math.inf if grid.valid_from_ms is None else grid.valid_from_ms,
        math.inf if grid.valid_to_ms is None else grid.valid_to_ms,
    )
