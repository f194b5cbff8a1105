"""`gridwarden bench NAME`: the named benchmarks, one JSON document each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from app.bench.document import render
from app.bench.kafka_part import KafkaMissing
from app.cli.outcome import fail

NAMES = {
    "decode": "app.bench.decode",
    "mqtt": "app.bench.mqtt",
    "e2e": "app.bench.e2e",
    "registry": "app.bench.registry",
    "rules": "app.bench.rules",
    "camera": "app.bench.camera",
    "inactivity": "app.bench.inactivity",
    "influx": "app.bench.influx",
    "kafka": "app.bench.kafka",
}


def command(
    name: Annotated[str, typer.Argument(help=", ".join(NAMES))],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="ends within 40 s")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="write the document here as well")] = None,
) -> None:
    """Measure, and print the figures with the machine that they were measured on."""
    if name not in NAMES:
        fail(f"bench: no benchmark is called {name!r}; choose from {', '.join(NAMES)}")
    try:
        run: Callable[..., dict[str, Any]] = import_module(NAMES[name]).run
    except ModuleNotFoundError as error:
        fail(f"bench {name}: {error.name} is not installed; install gridwarden[server,stream]")
    try:
        document = run(quick=quick, seed=seed)
    except KafkaMissing as error:
        fail(f"bench {name}: {error}")
    if out is not None:
        out.write_text(render(document) + "\n", encoding="utf-8")
    if as_json:
        print(render(document))
    else:
        for figure, value in document["figures"].items():
            print(f"{figure:40} {value:>16,.4g}")
    if document["settings"].get("failed"):
        raise typer.Exit(1)
