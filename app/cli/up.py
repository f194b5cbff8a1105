"""`gridwarden up`: the whole pipeline in one process."""

from __future__ import annotations

import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from app import logs
from app.asked import Asked
from app.broker import BrokerError
from app.cli.outcome import FINDINGS, fail
from app.content import ContentError
from app.demo import DemoAgent, prepare_registry
from app.runners.embedded import Server
from app.runners.threads import Failure
from app.runners.web import WebError
from app.settings import SettingsError, load
from dispatch.keys import KeysInvalid
from dispatch.receivers import ReceiverInvalid
from dispatch.tables import StoreRefused
from ingest.registry import RegistryError
from ingest.storage import StoreError
from rules import RulesInvalid

WRONG_USE = (
    BrokerError,
    ContentError,
    WebError,
    KeysInvalid,
    ReceiverInvalid,
    StoreRefused,
    RegistryError,
    StoreError,
)


def command(
    config: Annotated[Path | None, typer.Option(help="settings file (TOML)")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="add a simulated district")] = False,
    data: Annotated[Path | None, typer.Option(help="folder of the stores")] = None,
    broker: Annotated[
        str | None, typer.Option(help="auto, builtin or mosquitto; overrides the settings")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="of page and API; 0 = any free one")
    ] = None,
    rehearse_from: Annotated[
        str | None,
        typer.Option(
            help="time of the readings that come in is the server's time, from this one on, e.g. "
            "2022-01-25T00:00:00Z: an agent plays a recording; nothing real may be connected"
        ),
    ] = None,
) -> None:
    """Broker, ingest, rules, dispatch, page and API in one process, until stopped."""
    # The default of 5 ms is what each hand-over between busy threads may cost an alarm.
    sys.setswitchinterval(0.001)
    logs.setup(pretty=sys.stderr.isatty())
    try:
        settings = load(config, data=data, broker=broker, http_port=port)
        agent = None
        if demo:
            folder = settings.data / "demo"
            registry = prepare_registry(folder)
            settings = settings.model_copy(update={"registry": registry})
            if config is None:
                # A broker of the system's own may hold 1883; a demonstration needs no fixed port.
                mqtt = settings.mqtt.model_copy(update={"port": 0})
                settings = settings.model_copy(update={"mqtt": mqtt})
        begins_ms = _begins(rehearse_from, demo=demo)
        server = Server(settings, _say, simulated=demo, rehearse_from_ms=begins_ms)
        _fail_loud(server.failure)
        asked = Asked()
        server.start()
    except SettingsError as error:
        fail(str(error))
    except RulesInvalid as error:
        fail(_first(error))
    except OSError as error:
        fail(f"{error.filename or settings.data}: {error.strerror}; check the disk and its rights")
    except WRONG_USE as error:
        fail(str(error))
    if demo:
        agent = DemoAgent(settings.data / "demo", server.mqtt_port)
        agent.start()
        _say("a simulated district is running: nothing on the page is real")
    if begins_ms is not None:
        _say("a rehearsal in recorded time: nothing on the page is real")
    if demo or sys.stdout.isatty():
        _say(f"open  {server.page_url}")
    else:
        # A key must not end in a journal.
        _say(f"open  {server.web.url}")
        _say(f"the page asks for the key in {server.console_key_file}")
    sys.exit(_wait(server, agent, asked))


def _begins(text: str | None, *, demo: bool) -> int | None:
    """Unix ms of the time that a rehearsal begins at."""
    if text is None:
        return None
    if demo:
        fail("--rehearse-from: --demo runs in the time of the day; leave one of them out")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--rehearse-from: {text!r} is no RFC 3339 time; e.g. 2022-01-25T00:00:00Z")
    if found.tzinfo is None:
        fail(f"--rehearse-from: {text!r} has no offset from UTC; e.g. 2022-01-25T00:00:00Z")
    return round(found.timestamp() * 1000)


def _first(error: RulesInvalid) -> str:
    """The first finding; all of them are what `rules check` is for."""
    others = len(error.findings) - 1
    more = f" (and {others} more: see `gridwarden rules check`)" if others else ""
    return f"{error.findings[0]}{more}"


def _fail_loud(failure: Failure) -> None:
    """Any thread that ends by an exception ends the process, also one of a library."""
    log = logs.logger("app")

    def ended(what: threading.ExceptHookArgs) -> None:
        if issubclass(what.exc_type, SystemExit):
            return
        name = what.thread.name if what.thread else "a thread"
        value = what.exc_value or what.exc_type()
        log.error("thread failed", thread=name, exc_info=value)
        failure.report(f"{name} failed: {value}")

    threading.excepthook = ended


def _wait(server: Server, agent: DemoAgent | None, asked: Asked) -> int:
    """Until SIGINT, SIGTERM or a failure; the exit status."""
    asked.listen_for_the_end()
    while not asked.stop and not server.failure.stopping.wait(0.2):
        if asked.reload:
            asked.reload = False
            server.reload_asked.set()
        if agent is not None and agent.ended():
            server.failure.report(agent.ended())
    if agent is not None:
        agent.stop()
    server.stop()
    if server.failure.what:
        print(f"gridwarden: {server.failure.what}", file=sys.stderr)
        return FINDINGS
    _say("stopped")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
