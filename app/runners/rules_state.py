"""What a server says of its rules, in a file of its data folder, and how it is asked to look."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from dispatch.keys import write_private
from rules.compared import Carried

Found = Literal["nothing", "unsteady", "taken", "refused"]
"""nothing: what is in force or on its way. unsteady: other bytes than at the look before."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a folder's content wasn't taken. findings: file, line, path and mend, one a line."""

    at: str
    content: str
    findings: tuple[str, ...]
    more: int = 0


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that are taking over. activates: event time. waiting: gateways that are behind it."""

    content: str
    activates: str
    report: tuple[Carried, ...] = ()


class RulesState(msgspec.Struct, frozen=True, kw_only=True):
    """in_force: content hash. since: when that was known; report: what became of each rule's
    state then. answered: the last request; found: what it came to; looked_at: the content there.
    """

    folder: str
    in_force: str = ""
    since: str = ""
    activated: str = ""
    report: tuple[Carried, ...] = ()
    coming: Coming | None = None
    refused: Refusal | None = None
    answered: str = ""
    found: Found = "nothing"
    looked_at: str = ""


_state_decoder = msgspec.json.Decoder(RulesState)


def state_file(data: Path) -> Path:
    return data / "rules.json"


def request_file(data: Path) -> Path:
    return data / "rules.ask"


def read_state(data: Path) -> RulesState | None:
    """None: there is none. Raises `msgspec.DecodeError`, `OSError`."""
    try:
        return _state_decoder.decode(state_file(data).read_bytes())
    except FileNotFoundError:
        return None


def write_state(data: Path, state: RulesState) -> None:
    """Never half written. Raises `OSError`."""
    encoded = msgspec.json.format(msgspec.json.encode(state), indent=1)
    write_private(state_file(data), encoded + b"\n")
