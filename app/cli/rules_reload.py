"""`gridwarden rules reload`: ask a running server to look at its rules folder now, and what came
of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.outcome import FINDINGS, fail
from app.runners.rules_state import RulesState, read_state, request_file
from dispatch.keys import write_private

ANSWER_S = 10.0
POLL_S = 0.1


def command(
    data: Annotated[Path, typer.Option("--data", help="the server's data folder")],
    report: Annotated[
        bool, typer.Option("--report", help="only show what the last change came to")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="seconds to wait until changed rules are in force")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Take changed rule files over now, without a restart / 立即重新加载规则文件.

    A running server finds them by itself within some seconds; this asks it to look at once and
    tells what came of it. Exit status: 0 fine, 1 refused, 2 no server answers.
    """
    state = _read(data) if report else _wait(data, _ask(data), wait)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(state), indent=2).decode())
    else:
        _show(state)
    raise typer.Exit(FINDINGS if state.refused else 0)


def _read(data: Path) -> RulesState:
    try:
        state = read_state(data)
    except (msgspec.DecodeError, OSError) as error:
        fail(f"{data}: the state of rules can't be read: {error}")
    if state is None:
        fail(f"{data}: no server has run here; is this the data folder?")
    return state


def _ask(data: Path) -> RulesState:
    """The state once the server has looked."""
    _read(data)
    token = secrets.token_hex(8)
    try:
        write_private(request_file(data), token.encode() + b"\n")
    except OSError as error:
        fail(f"{request_file(data)}: can't be written ({error.strerror})")
    state = _until(data, lambda found: found.answered == token, ANSWER_S)
    if state is None:
        request_file(data).unlink(missing_ok=True)
        fail(f"no server answers in {data}; is it running?")
    return state


def _wait(data: Path, asked: RulesState, wait_s: float) -> RulesState:
    """Until what the server found is in force, or refused."""

    def ended(state: RulesState) -> bool:
        return state.in_force == asked.looked_at or state.refused is not None

    return _until(data, ended, wait_s) or _read(data)


def _until(data: Path, ended: Callable[[RulesState], bool], wait_s: float) -> RulesState | None:
    end = time.monotonic() + wait_s
    while True:
        state = _read(data)
        if ended(state):
            return state
        if time.monotonic() >= end:
            return None
        time.sleep(POLL_S)


def _show(state: RulesState) -> None:
    if state.refused is not None:
        for finding in state.refused.findings:
            typer.echo(finding)
        more = f" (and {state.refused.more} more)" if state.refused.more else ""
        typer.echo(f"refused at {state.refused.at}{more}; the rules in force stay")
    if state.coming is not None:
        typer.echo(f"taking over at {state.coming.activates}: {state.coming.content[:12]}")
    for one in state.report:
        typer.echo(f"{one.outcome:9}{one.rule}: {one.why}{_watched(one.watched)}")
    since = f" since {state.activated or state.since}" if state.since else ""
    typer.echo(f"in force: {state.in_force[:12]}{since}")


def _watched(devices: int | None) -> str:
    if devices is None:
        return ""
    return f"; watches {devices} devices" if devices else "; watches no device"
