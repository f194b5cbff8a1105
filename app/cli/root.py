"""All verbs but the agent's. A verb's module is imported only where it is wanted: scripts call
`explain` or `rules check` often, and those need no web server."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

VERBS = {
    "up": "command",
    "replay": "command",
    "simulate": "command",
    "receiver": "command",
    "explain": "command",
    "bench": "command",
    "rules": "app",
    "registry": "app",
    "keys": "app",
    "log": "app",
    "quarantine": "app",
    "gaps": "command",
    "capacity": "command",
    "telemetry": "app",
    "topics": "app",
    "publish": "app",
    "bridge": "command",
    "dispatch": "command",
    "train": "app",
    "evaluate": "app",
    "detect": "app",
    "clip": "app",
    "worker": "command",
}
"""Verb -> what stands for it in the module of the same name: one command, or several."""


def build(wanted: str = "") -> typer.Typer:
    """The command line; with the one verb that is `wanted`, or with all when it isn't known."""
    app = typer.Typer(
        name="gridwarden",
        help="From a district's sensors to grid-tagged alerts that someone acts on.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_gridwarden)
    if wanted not in ("edge", "schema"):
        for verb in [wanted] if wanted in VERBS else VERBS:
            _add(app, verb)
    app.command("edge", context_settings={"ignore_unknown_options": True, "help_option_names": []})(
        _edge
    )
    app.command("schema")(_schema)
    return app


def _add(app: typer.Typer, verb: str) -> None:
    found: Any = getattr(import_module(f"app.cli.{verb}"), VERBS[verb])
    if VERBS[verb] == "app":
        app.add_typer(found, name=verb)
    else:
        app.command(verb)(found)


def _gridwarden() -> None:
    """From a district's sensors to grid-tagged alerts that someone acts on."""


def _edge(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """The gateway agent: `gridwarden edge run --config FILE`."""
    from app.cli import edge

    raise typer.Exit(edge.main(arguments or []))


def _schema(
    check: Annotated[bool, typer.Option("--check", help="only say whether they are fresh")] = False,
) -> None:
    """Write the JSON Schemas and the AsyncAPI document, or check those in the tree."""
    from app.cli import schema

    raise typer.Exit(schema.main(check))
