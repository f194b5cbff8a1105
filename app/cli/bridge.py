"""`gridwarden bridge`: MQTT to Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from app import logs
from app.cli.outcome import FINDINGS, fail
from app.runners.bridge import Bridge
from app.settings import SettingsError
from app.stream.admin import TopicsWrong
from app.stream.client import quiet_clients
from app.stream.settings import StreamSettings, load
from app.stream.vitals import Vitals

END_S = 25.0
"""Supervisors wait 30 s before they kill; a client library that hangs must not make them."""


def command(
    config: Annotated[Path | None, typer.Option(help="settings file (TOML)")] = None,
    leave: Annotated[
        bool, typer.Option("--leave", help="take what the broker still holds for it, then end")
    ] = False,
) -> None:
    """Take packs and messages from MQTT to Kafka, until stopped; as many copies as needed.

    Before a copy is taken away for good, run it once more under its name with --leave.
    """
    sys.setswitchinterval(0.001)
    logs.setup(pretty=sys.stderr.isatty())
    quiet_clients()
    try:
        settings = load(config)
        asyncio.run(_serve(settings, leave=leave))
    except SettingsError as error:
        fail(str(error))
    except TopicsWrong as error:
        fail(str(error))
    typer.echo("stopped")


async def _serve(settings: StreamSettings, *, leave: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        # The loop calls it between steps, not in the middle of one: it may set an event.
        stop.set()
        late = threading.Timer(END_S, _give_up)
        late.daemon = True
        late.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    bridge = Bridge(settings, logs.logger("bridge"), leave=leave)
    vitals = Vitals(settings.http, bridge.health, bridge.metrics)
    vitals.start()
    typer.echo(f"health  http://{settings.http.host}:{vitals.port}/health")
    sys.stdout.flush()
    try:
        await bridge.run(stop)
    finally:
        vitals.stop()


def _give_up() -> None:
    """What isn't in Kafka by now wasn't acknowledged: nothing is lost by ending here."""
    logs.logger("app").error("the bridge didn't end by itself", seconds=END_S)
    os._exit(FINDINGS)
