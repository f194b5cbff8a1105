"""`gridwarden evaluate`: detectors on labelled recordings, with intervals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.bench.document import document, render
from app.cli.evaluate_falling import falling
from app.cli.outcome import fail

app = typer.Typer(no_args_is_help=True, help="Evaluate a detector on labelled recordings.")


@app.callback()
def _evaluate() -> None:
    """Evaluate a detector on labelled recordings."""


app.command("falling")(falling)


@app.command("inactivity")
def inactivity(
    homes: Annotated[Path, typer.Option(help="folder of homes, each with home.json")],
    part: Annotated[str, typer.Option(help="test, or choose: the part for choosing")] = "test",
    model: Annotated[Path | None, typer.Option(help="folder of another model")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the simulated collapses")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
    out: Annotated[Path | None, typer.Option(help="write the document here as well")] = None,
) -> None:
    """Delay and false alarms of the quiet-home detector beside three other methods."""
    from app.evaluate import inactivity as evaluation
    from app.homes import HomeError
    from app.models import INACTIVITY, ModelError, load_inactivity

    if part not in ("test", "choose"):
        fail(f"--part: {part!r}; choose from test, choose")
    try:
        infer, prior, manifest = load_inactivity(model or INACTIVITY)
        paths, say = evaluation.folders(homes), _progress
        found = evaluation.run(paths, infer, prior, choosing=part == "choose", seed=seed, say=say)
        past = None
        if part == "test" and evaluation.may_choose(paths):
            past = evaluation.run(paths, infer, prior, choosing=True, seed=seed, say=say)
    except (HomeError, ModelError) as error:
        fail(str(error))
    told = evaluation.results(found, past)
    settings = {"part": part, "model": manifest.sha256[:16], "days": round(found.days, 1)}
    figures = evaluation.figures(told)
    made = document("inactivity", figures, seed=seed, settings=settings) | {"results": told}
    if out is not None:
        out.write_text(render(made) + "\n", encoding="utf-8")
    if as_json:
        print(render(made))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:12.4g}")


def _progress(line: str) -> None:
    print(line, file=sys.stderr)
