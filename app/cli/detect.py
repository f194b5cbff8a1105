"""`gridwarden detect`: one detector over one recording, without rules, broker or server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.detect_falling import falling
from app.cli.outcome import fail

app = typer.Typer(no_args_is_help=True, help="Run one detector over a recording.")


@app.callback()
def _detect() -> None:
    """Run one detector over a recording."""


app.command("falling")(falling)


@app.command("inactivity")
def inactivity(
    home: Annotated[Path, typer.Option(help="folder with home.json and events.csv.gz")],
    out: Annotated[Path, typer.Option(help="alarms and changes of state as JSON lines")],
    model: Annotated[Path | None, typer.Option(help="folder of another model")] = None,
    step_min: Annotated[
        int, typer.Option(min=1, max=60, help="minutes between two looks; a live server takes 1")
    ] = 5,
    picture: Annotated[
        Path | None, typer.Option(help="the home's days and its line as SVG")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="calls accepted in 30 days; 1 if not given")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """One home in event time without look-ahead: alarms, states, sensors that aren't believed."""
    from app.homes import HomeError, read_home
    from app.models import INACTIVITY, ModelError, load_inactivity
    from app.runners.home import watch
    from app.runners.home_line import LearntLine
    from app.runners.home_picture import picture as draw
    from detectors.inactivity.alarms import BUDGET

    if 60 % step_min:
        fail(f"--step-min: {step_min} doesn't divide an hour; choose from 1, 2, 5, 10, 15, 30, 60")
    try:
        recorded = read_home(home)
        infer, prior, manifest = load_inactivity(model or INACTIVITY)
    except (HomeError, ModelError) as error:
        fail(str(error))
    counts: dict[str, int] = {}
    lines: list[dict[str, object]] = []
    learnt: list[LearntLine] = []
    try:
        with out.open("w", encoding="utf-8") as handle:
            for line in watch(
                recorded,
                infer,
                prior,
                step_min=step_min,
                budget=BUDGET if budget is None else budget,
                lines=None if picture is None else learnt,
            ):
                told = str(line.get("level", line["type"]))
                counts[told] = counts.get(told, 0) + 1
                handle.write(json.dumps(line) + "\n")
                lines.append(line)
        if picture is not None:
            picture.write_text(draw(recorded, lines, learnt), encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; name a file that can be written")
    document = {
        "home": recorded.name,
        "events": len(recorded.ts_ms),
        "repaired": recorded.repaired,
        "model": manifest.sha256,
        "told": counts,
    }
    if as_json:
        print(json.dumps(document))
        return
    mended = ", ".join(f"{n} {what}" for what, n in recorded.repaired.items() if n)
    told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    said = f"{recorded.name}: {len(recorded.ts_ms)} events; {told or 'nothing to tell'}"
    print(said + (f"; mended: {mended}" if mended else ""), file=sys.stderr)
