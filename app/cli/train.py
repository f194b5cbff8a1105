"""`gridwarden train`: models anew from simulated input. Needs gridwarden[train]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import fail
from app.cli.train_falling import falling
from app.cli.trained import keep

app = typer.Typer(no_args_is_help=True, help="Make models anew (needs gridwarden[train]).")


@app.callback()
def _train() -> None:
    """Make models anew (needs gridwarden[train])."""


app.command("falling")(falling)


@app.command("inactivity")
def inactivity(
    out: Annotated[Path, typer.Option(help="folder for inactivity.onnx and manifest.json")],
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same homes")] = 1,
    homes: Annotated[int, typer.Option(min=4, help="simulated homes to learn from")] = 120,
    days: Annotated[int, typer.Option(min=4, help="days of each")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """The model of quiet homes, from simulated homes alone."""
    try:
        from detectors.training.inactivity import Plan, train
    except ModuleNotFoundError as error:
        fail(f"train: {error.name} is not installed; install gridwarden[train]")
    from app.models import inactivity_session
    from rules.zones import zone

    plan = Plan(seed=seed, homes=homes, checked=max(2, homes // 2), days=days)
    trained = train(
        plan,
        zone("Asia/Shanghai").info,
        inactivity_session,
        lambda line: print(line, file=sys.stderr),
    )
    keep(trained, out, "inactivity.onnx", as_json=as_json)
