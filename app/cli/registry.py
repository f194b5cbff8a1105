"""`gridwarden registry check DIR`: grids and devices, with line and mend for every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import FINDINGS, WRONG_USE
from ingest.registry import Finding, check

app = typer.Typer(
    help="Grids and devices / 网格与设备登记.", no_args_is_help=True, add_completion=False
)


@app.callback()
def registry() -> None:
    """Grids and devices / 网格与设备登记."""


@app.command("check")
def check_folder(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="holds areas.csv, grids.csv or .geojson, devices.csv"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Check codes, parents, polygons and tagging / 检查编码、上级、边界和归属.

    Exit status: 0 fine (warnings included), 1 errors, 2 a file can't be read.
    """
    findings = check(folder)
    status = _status(findings)
    if as_json:
        _print_json(folder, findings)
        raise typer.Exit(status)
    for finding in findings:
        # What can't be read is wrong use: it is said where scripts look for that.
        typer.echo(str(finding), err=finding.unreadable)
    if status != WRONG_USE:
        errors = sum(one.level == "error" for one in findings)
        typer.echo(f"{folder}: {errors} errors, {len(findings) - errors} warnings")
    raise typer.Exit(status)


def _status(findings: list[Finding]) -> int:
    if any(one.unreadable for one in findings):
        return WRONG_USE
    return FINDINGS if any(one.level == "error" for one in findings) else 0


def _print_json(folder: Path, findings: list[Finding]) -> None:
    errors = sum(one.level == "error" for one in findings)
    document = {
        "folder": str(folder),
        "errors": errors,
        "warnings": len(findings) - errors,
        "findings": [one.as_dict() for one in findings],
    }
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
