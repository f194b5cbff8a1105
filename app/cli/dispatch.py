"""`gridwarden dispatch`: a copy of dispatch beside Kafka; one of the copies delivers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app import logs
from app.asked import Asked
from app.cli.outcome import FINDINGS, fail
from app.runners.dispatching import DispatchServer
from app.runners.web import WebError
from app.settings import SettingsError
from app.stream.client import quiet_clients
from app.stream.settings import load
from dispatch.keys import KeysInvalid
from dispatch.receivers import ReceiverInvalid
from dispatch.tables import StoreRefused


def command(
    config: Annotated[Path | None, typer.Option(help="settings file (TOML)")] = None,
) -> None:
    """Alerts from Kafka into a store, the page and the API; deliveries while it is its turn."""
    logs.setup(pretty=sys.stderr.isatty())
    quiet_clients()
    asked = Asked()
    try:
        settings = load(config)
        server = DispatchServer(settings, _say)
        server.start()
    except (SettingsError, WebError, KeysInvalid, ReceiverInvalid, StoreRefused) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or settings.data}: {error.strerror}; check the disk and its rights")
    if sys.stdout.isatty():
        _say(f"open  {server.page_url}")
    else:
        # A key must not end in a journal.
        _say(f"open  {server.web.url}")
        _say(f"the page asks for the key in {server.console_key_file}")
    asked.listen_for_the_end()
    while not asked.stop and not server.failure.stopping.wait(0.2):
        pass
    server.stop()
    if server.failure.what:
        fail(server.failure.what, FINDINGS)
    _say("stopped")


def _say(line: str) -> None:
    print(line, flush=True)
