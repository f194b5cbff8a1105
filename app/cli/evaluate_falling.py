"""`gridwarden evaluate falling`: the detector on held-out scenes and on recorded clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.bench.document import document, render
from app.cli.outcome import fail

PICTURES = 6
"""Of each kind."""


def falling(
    recorded: Annotated[
        Path | None, typer.Option(help="folder with clips.csv, gt.csv and the clips")
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="throws of each promised cell")] = 400,
    hours: Annotated[float, typer.Option(min=0.0, help="without throws")] = 3.0,
    minutes: Annotated[float, typer.Option(help="stop then, with what is done; 0 = never")] = 0.0,
    work: Annotated[
        Path | None, typer.Option(help="folder that keeps tracklets, to go on another time")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="that watch scenes")] = 1,
    pictures: Annotated[
        Path | None, typer.Option(help="a PNG of throws told and missed; wants --work")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="folder of another model")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="ends within 40 s, says little")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
    out: Annotated[Path | None, typer.Option(help="write the document here as well")] = None,
) -> None:
    """Recall, storeys, false alarms and latency, with intervals; generated and recorded apart."""
    try:
        from app.falling import evaluate, figures
        from app.falling import recorded as clips
        from app.falling.session import SHIPPED
        from app.models import ModelError
        from edge.camera import CameraError
    except ModuleNotFoundError as error:
        fail(f"evaluate: {error.name} is not installed; install gridwarden[camera]")
    most_s = minutes * 60 if minutes > 0 else float("inf")
    extent = (
        evaluate.Extent.quick()
        if quick
        else evaluate.Extent(events=events, hours=hours, most_s=most_s)
    )
    folder = model or SHIPPED
    try:
        outcomes = evaluate.run(extent, folder=folder, work=work, processes=processes, say=_say)
        real = clips.evaluate(recorded, model=folder, say=_say) if recorded else []
        mark = evaluate.digest(folder)
        if pictures is not None:
            _draw(pictures, extent, folder, work)
    except (ModelError, CameraError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"evaluate: {error}; name folders that can be read and written")
    made = figures.figures(outcomes) | clips.figures(real)
    settings: dict[str, Any] = {"events": extent.events, "hours": extent.hours, "judged": mark}
    told = document("falling", made, seed=0, settings=settings)
    told["results"] = figures.tables(outcomes) | {"recorded": clips.table(real)}
    if out is not None:
        try:
            out.write_text(render(told) + "\n", encoding="utf-8")
        except OSError as error:
            fail(f"--out {out}: {error.strerror}; name a file that can be written")
    if as_json:
        print(render(told))
        return
    for name, value in made.items():
        print(f"{name:36} {value:12.4g}")


def _draw(path: Path, extent: Any, folder: Path, work: Path | None) -> None:
    """Told throws in the first row, missed ones below. Raises OSError."""
    from dataclasses import replace

    from app.falling import evaluate
    from app.falling.pictures import tiles, write_sheet
    from app.falling.session import detector

    if work is None:
        fail("--pictures: say with --work where the tracklets are kept")
    kept = evaluate.judged(replace(extent, most_s=0.0), folder=folder, work=work)
    told, missed = tiles(kept, detector(folder), PICTURES)
    write_sheet(path, [told, missed])


def _say(line: str) -> None:
    print(line, file=sys.stderr)
