"""`gridwarden train falling`: the model of falling objects anew, from generated scenes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import fail
from app.cli.trained import keep


def falling(
    out: Annotated[Path, typer.Option(help="folder for falling.onnx and manifest.json")],
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same scenes")] = 1,
    scenes: Annotated[int, typer.Option(min=2, help="scenes to learn from")] = 64,
    choose: Annotated[int, typer.Option(min=2, help="scenes to choose the threshold by")] = 30,
    hunts: Annotated[
        int, typer.Option(min=0, help="more scenes, of birds, insects and lifts alone")
    ] = 12,
    seconds: Annotated[float, typer.Option(min=5, help="of each scene")] = 30.0,
    small: Annotated[bool, typer.Option("--small", help="640x360: to try the way, not to use")] = (
        False
    ),
    work: Annotated[
        Path | None, typer.Option(help="folder that keeps tracklets, to go on another time")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="that watch scenes")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """The model of falling objects, from generated scenes alone."""
    try:
        from app.falling.shelf import Shelf
        from app.falling.train import Plan, train
    except ModuleNotFoundError as error:
        fail(f"train: {error.name} is not installed; install gridwarden[camera,train]")
    size = (640, 360) if small else (1280, 720)
    plan = Plan(
        seed=seed,
        scenes=scenes,
        choose=choose,
        hunts=hunts,
        seconds=seconds,
        width=size[0],
        height=size[1],
    )
    try:
        trained = train(plan, Shelf(work, processes=processes, say=_say))
    except OSError as error:
        fail(f"--work {work}: {error}; name a folder that can be written")
    except ValueError as error:
        fail(f"train: {error}; take more scenes")
    keep(trained, out, "falling.onnx", as_json=as_json)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
