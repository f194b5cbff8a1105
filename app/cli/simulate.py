"""`gridwarden simulate`: a recording of a simulated district, its registry and its truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail
from edge.sources import SourceError
from edge.sources.simulate import write_recording, write_registry
from edge.sources.simulate.district import DEFAULT_START_MS
from edge.sources.simulate.options import instant_ms, make_district, parse_options

READINGS = "readings.jsonl"
TRUTH = "truth.jsonl"
REGISTRY = "registry"


def command(
    out: Annotated[Path, typer.Option(help="folder to write into; made if missing")],
    hours: Annotated[float, typer.Option(min=0.001, help="how long, in simulated hours")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same bytes")] = 1,
    profile: Annotated[str, typer.Option(help="district, demo, quiet or load")] = "district",
    start: Annotated[
        str, typer.Option(help="RFC 3339 with an offset; 2026-01-01T08:00:00+08:00 if not given")
    ] = "",
    gateways: Annotated[int, typer.Option(min=1)] = 8,
    devices: Annotated[int, typer.Option(min=1)] = 600,
    grids: Annotated[int, typer.Option(min=1, max=900)] = 5,
    homes: Annotated[int | None, typer.Option(min=0, help="homes of people living alone")] = None,
    incidents: Annotated[float | None, typer.Option(min=0, help="incidents per hour")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Write readings.jsonl (input of `gridwarden replay`), truth.jsonl and registry/ into OUT."""
    table: dict[str, Any] = {
        "profile": profile,
        "seed": seed,
        "gateways": gateways,
        "devices": devices,
        "grids": grids,
        "homes": homes,
        "incidents_per_hour": incidents,
    }
    try:
        options = parse_options(table)
        start_ms = instant_ms("start", start) if start else DEFAULT_START_MS
    except SourceError as error:
        fail(str(error))
    district = make_district(options, start_ms)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_registry(out / REGISTRY, district)
        end_ms = start_ms + round(hours * 3_600_000)
        rows, told = write_recording(out / READINGS, out / TRUTH, district, start_ms, end_ms)
    except OSError as error:
        fail(f"--out {out}: can't be written: {error}")
    _report(out, rows, told, as_json)


def _report(out: Path, rows: int, told: int, as_json: bool) -> None:
    paths = {"input": out / READINGS, "truth": out / TRUTH, "registry": out / REGISTRY}
    if as_json:
        named = {name: str(path) for name, path in paths.items()}
        print(json.dumps({"readings": rows, "happenings": told, **named}, ensure_ascii=False))
        return
    line = f"{rows} readings, {told} happenings; " + ", ".join(str(p) for p in paths.values())
    print(line, file=sys.stderr)
