"""`gridwarden worker`: decides partitions of the log on Kafka."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app import logs
from app.cli.outcome import fail
from app.settings import SettingsError
from app.stream.settings import StreamSettings, load
from ingest.storage import StoreError


def command(
    config: Annotated[Path | None, typer.Option(help="settings file (TOML)")] = None,
) -> None:
    """Decide partitions of the log on Kafka, beside other workers of the group, until stopped."""
    logs.setup(pretty=sys.stderr.isatty())
    try:
        from app.models import ModelError
        from app.runners.worker import Worker
        from app.stream import admin
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; install gridwarden[stream]")
    try:
        settings = load(config)
        asyncio.run(_run(Worker, settings))
    except (
        SettingsError, StoreError, ModelError,
        admin.KafkaAway, admin.KafkaError, admin.TopicsWrong,
    ) as error:  # fmt: skip
        fail(str(error))
    _say("stopped")


async def _run(make: Any, settings: StreamSettings) -> None:
    await make(settings, _say).run()


def _say(line: str) -> None:
    print(line, flush=True)
