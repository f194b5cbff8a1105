"""`gridwarden publish`: rules, registry and settings for all workers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from app.cli.outcome import FINDINGS, fail
from app.content import ContentError, pack_rules, pack_settings, unpack_rules
from app.runners.install import admission_settings
from app.settings import SettingsError
from app.stream import admin
from app.stream.cells import Cell, Plan, between, cells_of, partition_of_devices, plan
from app.stream.client import quiet_clients
from app.stream.publishing import BATCH_RECORDS, Done, Known, publisher
from app.stream.settings import StreamSettings, load
from app.stream.shares import share_of, shares
from contracts.alerts import timestamp
from contracts.registry import Registry
from ingest.registry import Finding, RegistryError, load_with_findings
from rules import RulesInvalid

app = typer.Typer(
    help="Put rules, a registry or settings into force for all workers.", no_args_is_help=True
)

Config = Annotated[Path | None, typer.Option(help="settings file (TOML)")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]
Wait = Annotated[
    float, typer.Option("--wait", help="seconds for the workers to say what they made of it")
]
WAIT_S = 30.0
T = TypeVar("T")


@app.command("rules")
def rules(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="holds *.yml rule files")],
    config: Config = None,
    wait: Wait = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Rules for every partition, in force at one event time."""
    settings = _settings(config)
    content = _checked_rules(folder, settings)

    async def work() -> Done:
        async with publisher(settings, _now_ms, _progress) as (there, reader):
            done = await there.rules(content)
            await there.wait(done, wait, reader)
            return done

    _tell(_run(work()), as_json=as_json)


@app.command("settings")
def put_settings(config: Config = None, wait: Wait = WAIT_S, as_json: AsJson = False) -> None:
    """What event time tolerates, as `[engine]` of the settings says: at once."""
    settings = _settings(config)
    content = pack_settings(admission_settings(settings.engine))

    async def work() -> Done:
        async with publisher(settings, _now_ms, _progress) as (there, reader):
            done = await there.settings(content)
            await there.wait(done, wait, reader)
            return done

    _tell(_run(work()), as_json=as_json)


@app.command("registry")
def registry(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="grids.csv, devices.csv, ...")],
    config: Config = None,
    move: Annotated[
        bool, typer.Option("--move", help="bring cells together that stand in several partitions")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    wait: Wait = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Grids and devices: each partition gets those of its cells, and bridges learn who goes where.

    A cell is the grids whose devices share gateways. Who is assigned stays where he is.
    """
    settings = _settings(config)
    loaded, findings = _loaded(folder)
    cells = cells_of(loaded, whole_communities=settings.publish.cells == "community")
    known = _run(_known(settings))
    planned = plan(cells, known.routes.assigned(), settings.topics.partitions, move=move)
    if planned.joined and not move:
        _refuse(planned)
    contents, passing = _shares(folder, loaded, cells, planned, settings, known)
    done = Done("registry", assigned=len(planned.changes))
    if not dry_run:
        done = _run(_put(settings, known, contents, planned, passing, wait))
    _tell(done, as_json=as_json, more=_about(loaded, cells, planned, findings, dry_run=dry_run))


async def _known(settings: StreamSettings) -> Known:
    async with publisher(settings, _now_ms) as (there, _):
        return await there.known()


async def _put(
    settings: StreamSettings,
    known: Known,
    contents: list[bytes],
    planned: Plan,
    passing: dict[int, bytes],
    wait: float,
) -> Done:
    async with publisher(settings, _now_ms, _progress) as (there, reader):
        done = await there.registry(known, contents, planned.changes, passing)
        await there.wait(done, wait, reader)
        return done


def _progress(what: str, done: int, of: int) -> None:
    """Of what takes long enough to be asked about."""
    if of > BATCH_RECORDS:
        typer.echo(f"{what}: {done} of {of}", err=True)


def _settings(config: Path | None) -> StreamSettings:
    quiet_clients()
    try:
        return load(config)
    except SettingsError as error:
        fail(str(error))


def _checked_rules(folder: Path, settings: StreamSettings) -> bytes:
    """What is wrong with them stops it here, not in the workers."""
    try:
        content = pack_rules(folder)
        ruleset = unpack_rules(content)
    except (ContentError, OSError) as error:
        fail(str(error))
    except RulesInvalid as error:
        others = len(error.findings) - 1
        more = f" (and {others} more: see `gridwarden rules check`)" if others else ""
        fail(f"{error.findings[0]}{more}", FINDINGS)
    wide = sorted({rule.card.id for rule in ruleset.rules if rule.group == "community"})
    if wide and settings.publish.cells != "community":
        fail(
            f"{wide[0]}: speaks of a whole community, and its grids may stand in several "
            'partitions; set publish.cells = "community" and publish the registry with --move',
            FINDINGS,
        )
    return content


def _loaded(folder: Path) -> tuple[Registry, list[Finding]]:
    try:
        return load_with_findings(folder)
    except (RegistryError, OSError) as error:
        fail(str(error))


def _refuse(planned: Plan) -> NoReturn:
    others = len(planned.joined) - 1
    more = f" (and {others} more cells)" if others else ""
    fail(
        f"{planned.joined[0]}{more}; --move brings it to one, where running durations begin anew",
        FINDINGS,
    )


def _shares(
    folder: Path,
    loaded: Registry,
    cells: list[Cell],
    planned: Plan,
    settings: StreamSettings,
    known: Known,
) -> tuple[list[bytes], dict[int, bytes]]:
    """Of each partition; and of those that get cells and give some up, for the time between."""
    partitions = settings.topics.partitions
    of_device = partition_of_devices(loaded, cells, planned.partitions, partitions)
    of_grid = {
        code: partition
        for cell, partition in zip(cells, planned.partitions, strict=True)
        for code in cell.grids
    }
    passing = between(loaded, of_device, known.routes.assigned(), planned)
    try:
        return shares(folder, loaded, of_device, of_grid, partitions), {
            partition: share_of(folder, loaded, rows, of_grid, partition)
            for partition, rows in passing.items()
        }
    except (ContentError, RegistryError) as error:
        fail(str(error), FINDINGS)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (SettingsError, admin.KafkaAway, admin.KafkaError) as error:
        fail(str(error))
    except admin.TopicsWrong as error:
        fail(str(error))


def _about(
    loaded: Registry, cells: list[Cell], planned: Plan, findings: list[Finding], *, dry_run: bool
) -> dict[str, Any]:
    spread = Counter(planned.partitions)
    return {
        "dry_run": dry_run,
        "devices": len(loaded.devices),
        "cells": len(cells),
        "cells_of_partition": {str(n): spread[n] for n in sorted(spread)},
        "moved": [str(joined) for joined in planned.joined],
        "findings": [str(finding) for finding in findings],
    }


def _tell(done: Done, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    more = more or {}
    if as_json:
        typer.echo(json.dumps(asdict(done) | more, ensure_ascii=False, indent=2))
    else:
        for line in _lines(done, more):
            typer.echo(line)
    if any(one.state == "refused" for one in done.answers.values()):
        raise typer.Exit(FINDINGS)


def _lines(done: Done, more: dict[str, Any]) -> list[str]:
    lines = []
    if more:
        lines.append(
            f"{more['devices']} devices in {more['cells']} cells, "
            f"{len(more['cells_of_partition'])} partitions have some; {done.assigned} assignments"
        )
        lines += [f"moved: {text}" for text in more["moved"]]
        if more["findings"]:
            count = len(more["findings"])
            lines.append(f"{count} findings, the first: {more['findings'][0]}")
    if more.get("dry_run"):
        return [*lines, "nothing was changed"]
    lines.append(
        f"{done.what}: put into {len(done.installed)} partitions, "
        f"{len(done.unchanged)} had the same already"
    )
    if done.activate_ms is not None:
        lines.append(f"in force for readings from {timestamp(done.activate_ms)} on")
    if done.earlier:
        others = sorted({timestamp(at_ms) for at_ms in done.earlier.values()})
        lines.append(
            f"partitions {_named(done.earlier)} have them in force from {', '.join(others)} on: a "
            "publisher was cut short, and its time is over"
        )
    return [*lines, *_answers(done)]


def _answers(done: Done) -> list[str]:
    """What the workers said, those of the same answer together."""
    said: dict[tuple[str, str], list[int]] = {}
    for partition, one in sorted(done.answers.items()):
        said.setdefault((one.state, one.why), []).append(partition)
    words = {"taken": "in force", "begun": "taken, in force at their time"}
    return [
        f"partitions {_named(partitions)}: {words.get(state, state)}{f': {why}' if why else ''}"
        for (state, why), partitions in said.items()
    ]


def _named(partitions: Iterable[int]) -> str:
    return ", ".join(map(str, partitions))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
