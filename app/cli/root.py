"""All verbs but the agent's."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import (
    bench,
    edge,
    explain,
    gaps,
    log,
    quarantine,
    receiver,
    registry,
    replay,
    rules,
    schema,
    simulate,
    up,
)

app = typer.Typer(
    name="gridwarden",
    help="From a district's sensors to grid-tagged alerts that someone acts on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(up.command)
app.command("replay")(replay.command)
app.command("simulate")(simulate.command)
app.command("receiver")(receiver.command)
app.command("explain")(explain.command)
app.command("bench")(bench.command)
app.add_typer(rules.app, name="rules")
app.add_typer(registry.app, name="registry")
app.add_typer(log.app, name="log")
app.add_typer(quarantine.app, name="quarantine")
app.command("gaps")(gaps.command)


@app.command("edge", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def _edge(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """The gateway agent: `gridwarden edge run --config FILE`."""
    raise typer.Exit(edge.main(arguments or []))


@app.command("schema")
def _schema(
    check: Annotated[bool, typer.Option("--check", help="only say whether they are fresh")] = False,
) -> None:
    """Write the JSON Schemas and the AsyncAPI document, or check those in the tree."""
    raise typer.Exit(schema.main(check))
