"""`gridwarden topics`: the Kafka topics as code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import FINDINGS, fail
from app.settings import SettingsError
from app.stream import admin
from app.stream.client import quiet_clients
from app.stream.settings import StreamSettings, load

app = typer.Typer(help="The Kafka topics: make them, check them.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option(help="settings file (TOML)")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]


@app.command("apply")
def apply(config: Config = None, as_json: AsJson = False) -> None:
    """Make the topics that are missing; what is there and wrong is named with the mend."""
    _run(config, as_json=as_json, make=True)


@app.command("check")
def check(config: Config = None, as_json: AsJson = False) -> None:
    """Say what is missing or wrong, and change nothing."""
    _run(config, as_json=as_json, make=False)


def _run(config: Path | None, *, as_json: bool, make: bool) -> None:
    quiet_clients()
    try:
        settings = load(config)
        made, found = asyncio.run(_done(settings, make=make))
    except (SettingsError, admin.KafkaAway, admin.KafkaError) as error:
        fail(str(error))
    except admin.TopicsWrong as error:
        fail("\n".join(error.faults), FINDINGS)
    if as_json:
        typer.echo(json.dumps(_document(made, found), ensure_ascii=False, indent=2))
    else:
        for line in _lines(made, found):
            typer.echo(line)
    if not all(one.good for one in found):
        raise typer.Exit(FINDINGS)


async def _done(settings: StreamSettings, *, make: bool) -> tuple[list[str], list[admin.Compared]]:
    async with admin.admin(settings.kafka) as client:
        made = await admin.apply(client, settings.layout) if make else []
        return made, await admin.compare(client, settings.layout)


def _document(made: list[str], found: list[admin.Compared]) -> dict[str, object]:
    return {
        "made": made,
        "topics": [
            {
                "role": one.topic.role,
                "name": one.topic.name,
                "partitions": one.topic.partitions,
                "replication": one.topic.replication,
                "config": dict(one.topic.config),
                "missing": one.missing,
                "faults": list(one.faults),
            }
            for one in found
        ],
    }


def _lines(made: list[str], found: list[admin.Compared]) -> list[str]:
    lines = []
    for one in found:
        state = "missing" if one.missing else "made" if one.topic.name in made else "there"
        if one.faults:
            state = "wrong"
        lines.append(f"{one.topic.name}: {state}, {one.topic.partitions} partitions")
        lines += [f"  {fault}" for fault in one.faults]
    missing = sum(one.missing for one in found)
    if missing:
        lines.append(f"{missing} missing; run gridwarden topics apply")
    return lines
