"""`gridwarden keys`: who may read and operate through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.outcome import FINDINGS, fail
from dispatch.keys import KeyRing, KeysInvalid, key_file

app = typer.Typer(no_args_is_help=True, help="API keys / 接口密钥.")

DataFolder = Annotated[Path, typer.Option("--data", help="the server's data folder")]
Name = Annotated[str, typer.Argument(help="a role or a system, never a person's name")]


def _ring(data: Path) -> KeyRing:
    try:
        return KeyRing(key_file(data))
    except KeysInvalid as error:
        fail(str(error))


@app.command()
def create(name: Name, data: DataFolder, role: Annotated[str, typer.Option()] = "read") -> None:
    """Make a key and print it once, in place of one with that name.

    A running server takes it up at its next start.
    """
    roles: dict[str, Literal["read", "operate"]] = {"read": "read", "operate": "operate"}
    if role not in roles:
        fail(f"--role: {role!r} is no role; use read or operate")
    try:
        print(_ring(data).create(name, roles[role]))
    except OSError as error:
        fail(f"{key_file(data)}: {error.strerror}; check the folder and its rights")


@app.command("list")
def list_keys(data: DataFolder) -> None:
    """Names and roles; the keys themselves are not kept in clear."""
    if not data.is_dir():
        fail(f"{data}: no such folder; name the server's data folder")
    for name, role in _ring(data).names():
        print(f"{role:8} {name}")


@app.command()
def revoke(name: Name, data: DataFolder) -> None:
    """Forget a key; a running server forgets it at its next start."""
    if not _ring(data).revoke(name):
        fail(f"{name}: no key has that name", FINDINGS)
