"""`gridwarden quarantine`: what was refused, why, and taking it again."""

from __future__ import annotations

import base64
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import FINDINGS, fail
from contracts.alerts import timestamp
from ingest.layout import quarantine_file
from ingest.quarantine import REPLAYED, WANTED, Letter, Quarantine
from ingest.storage import StoreError

app = typer.Typer(no_args_is_help=True, help="Dead letters: what was refused, and why.")

DataFolder = Annotated[Path, typer.Option("--data", help="the server's data folder")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]
_STATES = {WANTED: "replay wanted", REPLAYED: "replayed"}


@app.command("list")
def list_letters(
    data: DataFolder,
    reason: Annotated[str | None, typer.Option(help="only this reason")] = None,
    after: Annotated[int, typer.Option(min=0, help="only letters behind this id")] = 0,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """Kept letters, oldest first, without their bytes."""
    with closing(_open(data)) as quarantine:
        letters = quarantine.letters(reason=reason, after=after, limit=limit)
        totals, by_reason = quarantine.state(), quarantine.by_reason()
    if as_json:
        document = {
            "kept": totals.rows,
            "shed": totals.shed,
            "by_reason": by_reason,
            "letters": [_line(letter) for letter in letters],
        }
        print(json.dumps(document, ensure_ascii=False))
        return
    for letter in letters:
        state = _STATES.get(letter.replay, "")
        print(
            f"{letter.id:8} {timestamp(letter.at_ms)} {letter.reason:22} {letter.source} "
            f"{letter.field} {letter.detail} {state}".rstrip()
        )
    told = ", ".join(f"{count} {name}" for name, count in by_reason.items()) or "none"
    print(f"kept: {totals.rows} ({told}); shed: {totals.shed}", file=sys.stderr)


@app.command()
def show(letter_id: int, data: DataFolder, as_json: AsJson = False) -> None:
    """One letter with its bytes."""
    with closing(_open(data)) as quarantine:
        letter = quarantine.letter(letter_id)
    if letter is None:
        fail(f"no letter {letter_id}; see `gridwarden quarantine list`")
    found = _line(letter) | {"payload": base64.b64encode(letter.payload).decode()}
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        print(f"{name:10} {value}")


@app.command()
def replay(
    data: DataFolder,
    ids: Annotated[list[int] | None, typer.Argument(help="letters to take again")] = None,
    reason: Annotated[str | None, typer.Option(help="all letters of this reason")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the server to take letters again: the running one at once, else the next at its start."""
    if not ids and reason is None:
        fail("name letters or --reason; see `gridwarden quarantine list`")
    with closing(_open(data, write=True)) as quarantine:
        try:
            count = quarantine.want_replay(ids or (), reason)
        except StoreError as error:
            fail(str(error))
    if as_json:
        print(json.dumps({"wanted": count}))
    elif count == 0:
        fail("no such letter, or asked for already; see `gridwarden quarantine list`", FINDINGS)
    else:
        print(f"{count} letters will be taken again by the server")


def _open(data: Path, *, write: bool = False) -> Quarantine:
    path = quarantine_file(data)
    if not path.exists():
        fail(f"{path}: no dead letters here; is this the data folder?")
    try:
        return Quarantine(path, read_only=not write)
    except StoreError as error:
        fail(str(error))


def _line(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "at": timestamp(letter.at_ms),
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "source": letter.source,
        "row": letter.row,
        "position": letter.position,
        "bytes": len(letter.payload),
        "state": _STATES.get(letter.replay, "kept"),
    }
