"""All verbs but the agent's."""

from __future__ import annotations

import typer

from app.cli import bench, edge_verbs, explain, log, quarantine, receiver, registry, replay
from app.cli import rules, schema, simulate, up

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
app.command("schema")(schema.command)
app.add_typer(edge_verbs.app, name="edge")
app.add_typer(rules.app, name="rules")
app.add_typer(registry.app, name="registry")
app.add_typer(log.app, name="log")
app.add_typer(quarantine.app, name="quarantine")
app.command("gaps")(log.gaps)
