"""A registry folder: areas.csv, grids.csv and/or grids.geojson, devices.csv, registry.toml."""

from __future__ import annotations

import hashlib
from pathlib import Path

from contracts.registry import Area, DeviceTable, Grid, Registry
from ingest.registry import areas, devices, geojson, grids, options
from ingest.registry.findings import Finding, Findings, Malformed, RegistryError

FILES = (options.FILE, areas.FILE, grids.FILE, geojson.FILE, devices.FILE)


def load(folder: Path) -> Registry:
    """The registry, for use. Raises `RegistryError` when a file can't be read.

    Faulty rows are left out (area, grid, device) or stay without a grid; `check` names them.
    """
    registry, findings = _read(folder, thorough=False)
    if findings.fatal:
        raise RegistryError(findings.fatal)
    return registry


def load_with_findings(folder: Path) -> tuple[Registry, list[Finding]]:
    """As `load`, with what is wrong in it; points of devices with a grid aren't looked at."""
    registry, findings = _read(folder, thorough=False)
    if findings.fatal:
        raise RegistryError(findings.fatal)
    return registry, findings.all()


def check(folder: Path) -> list[Finding]:
    """Everything that is wrong, unreadable files among it. Sorted by file and line."""
    return _read(folder, thorough=True)[1].all()


def _read(folder: Path, *, thorough: bool) -> tuple[Registry, Findings]:
    findings = Findings()
    if not folder.is_dir():
        mend = "name the folder that holds areas.csv, grids.csv and devices.csv"
        findings.add_fatal(Malformed(str(folder), 0, "folder", "no such folder", mend))
        return Registry(), findings
    known: dict[str, Area] | None = None
    drawn: list[Grid] | None = None
    table = DeviceTable()
    try:
        chosen = options.read_options(folder / options.FILE)
    except Malformed as malformed:
        # Without it nothing is known of the codes: the rest would be noise.
        findings.add_fatal(malformed)
        return Registry(), findings
    try:
        known = areas.read_areas(folder, chosen, findings)
    except Malformed as malformed:
        findings.add_fatal(malformed)
    try:
        drawn = grids.read_grids(folder, known, chosen, findings)
    except Malformed as malformed:
        findings.add_fatal(malformed)
    # Where the grids can't be read, every device would seem to have an unknown one.
    told = findings if drawn is not None else Findings()
    try:
        table = devices.read_devices(folder, drawn or [], chosen, told, thorough=thorough)
    except Malformed as malformed:
        findings.add_fatal(malformed)
    if known is None or drawn is None or findings.fatal:
        return Registry(), findings
    return Registry(chosen.scheme, known, tuple(drawn), table, _hash(folder)), findings


def _hash(folder: Path) -> str:
    """SHA-256 over names and contents of the files, in a fixed order."""
    whole = hashlib.sha256()
    for name in FILES:
        path = folder / name
        if path.exists():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{name}\0{digest}\n".encode())
    return whole.hexdigest()
