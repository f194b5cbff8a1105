"""areas.csv: the districts, streets and communities that grids lie in."""

from __future__ import annotations

from pathlib import Path

from contracts.registry import Area, Level
from ingest.registry.codes import LEVELS, code_faults, parents
from ingest.registry.findings import Findings
from ingest.registry.options import Options
from ingest.registry.tables import read_csv

FILE = "areas.csv"
_LEVELS: dict[str, Level] = {
    "district": "district", "区": "district", "区县": "district", "县": "district",
    "street": "street", "街道": "street", "街镇": "street", "镇": "street", "乡": "street",
    "community": "community", "社区": "community", "村": "community", "居村": "community",
}  # fmt: skip


def read_areas(folder: Path, options: Options, findings: Findings) -> dict[str, Area]:
    """Code -> area, of the good rows. Raises `Malformed`."""
    areas: dict[str, Area] = {}
    lines: dict[str, int] = {}
    for chunk in read_csv(folder / FILE, ("code", "level", "name"), findings):
        rows = zip(
            chunk.lines.tolist(),
            chunk.column("code"),
            chunk.column("level"),
            chunk.column("name"),
            strict=True,
        )
        for line, code, level_text, name in rows:
            level = _LEVELS.get(level_text)
            if level is None:
                mend = "write district, street or community"
                problem = f"{level_text[:40]!r} is no level"
                findings.add(FILE, line, "level", problem, mend, kind="level")
                continue
            if not _add_code(code, level, line, options, findings):
                continue
            if code in lines:
                mend = "keep one of the two"
                problem = f"{code} stands on line {lines[code]} already"
                findings.add(FILE, line, "code", problem, mend, kind="twice")
                continue
            if not name:
                findings.add(FILE, line, "name", "empty", f"name the {level}", warning=True)
            areas[code] = Area(code, level, name)
            lines[code] = line
    _check_parents(areas, lines, options, findings)
    return areas


def _add_code(code: str, level: Level, line: int, options: Options, findings: Findings) -> bool:
    faults = code_faults(code, level, options)
    for fault in faults:
        findings.add(
            FILE, line, "code", fault.problem, fault.mend, warning=fault.warning, kind=fault.kind
        )
    return all(fault.warning for fault in faults)


def _check_parents(
    areas: dict[str, Area], lines: dict[str, int], options: Options, findings: Findings
) -> None:
    for code, area in areas.items():
        for line_field in missing_parents(code, LEVELS.index(area.level), areas, options):
            level, parent = line_field
            mend = f"add a row {parent},{level},... to {FILE}"
            problem = f"its {level} {parent} is missing"
            findings.add(FILE, lines[code], "code", problem, mend, kind="parent")


def missing_parents(
    code: str, depth: int, areas: dict[str, Area] | None, options: Options
) -> list[tuple[Level, str]]:
    """The (level, code) of each parent that isn't in the registry; none when that is unknown."""
    if areas is None:
        return []
    above = parents(code, LEVELS[depth], options)
    return [(level, parent) for level, parent in above if parent not in areas]
