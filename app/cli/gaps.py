"""`gridwarden gaps`: which hours of which gateway are whole, what is missing and what was lost."""

from __future__ import annotations

import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from app.cli.outcome import fail
from app.gaps import gateway_document
from contracts.alerts import timestamp
from ingest.layout import ledger_file, log_folder
from ingest.ledger import Ledger
from ingest.ledger_store import LedgerStore
from ingest.log import LogReader
from ingest.storage import StoreError

app = typer.Typer()
PATIENCE_S = 15.0
_CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}


@app.callback(invoke_without_command=True)
def command(
    data: Annotated[Path | None, typer.Option("--data", help="the server's data folder")] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(
            "--worker", help="at scale: a worker's address, http://host:9464; all of them"
        ),
    ] = None,
    gateway: Annotated[str | None, typer.Option(help="only this gateway")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Hours of each gateway ("data", "quiet", "data missing"), open gaps and losses.

    Workers keep the last 48 hours; without --gateway they name those that miss packs.
    """
    if (data is None) == (not worker):
        fail("name --data, the folder of one box, or --worker, one or more")
    now_ms = time.time_ns() // 1_000_000
    found = _of_workers(worker or [], gateway) if data is None else _of_box(data, gateway, now_ms)
    if as_json:
        print(json.dumps({"at": timestamp(now_ms), "gateways": found}))
    else:
        for one in found:
            _print(one)


def _of_box(data: Path, gateway: str | None, now_ms: int) -> list[dict[str, Any]]:
    try:
        with (
            closing(LogReader(log_folder(data))) as log,
            closing(LedgerStore(ledger_file(data), read_only=True)) as store,
        ):
            ledger = store.load(log)
            wanted = [gateway] if gateway else sorted(ledger.gateways())
            if gateway and not ledger.knows(gateway):
                fail(f"--gateway: nothing was ever heard of {gateway!r}")
            return [_gateway(store, ledger, one, now_ms) for one in wanted]
    except StoreError as error:
        fail(str(error))


def _of_workers(addresses: list[str], gateway: str | None) -> list[dict[str, Any]]:
    """A gateway that was moved may be known to several."""
    wanted = {gateway} if gateway else _missing(addresses)
    found = [
        one
        for name in sorted(wanted)
        for address in addresses
        for one in (_ask(address, name) or {"gateways": []})["gateways"]
    ]
    if gateway and not found:
        fail(f"--gateway: these workers have heard nothing of {gateway!r}; name all workers")
    return found


def _missing(addresses: list[str]) -> set[str]:
    return {name for address in addresses for name in (_ask(address) or {})["gateways"]}


def _ask(address: str, gateway: str = "") -> dict[str, Any] | None:
    """None = nothing is known of it there."""
    url = urlsplit(address)
    if url.scheme not in _CONNECTIONS or not url.hostname:
        fail(f"--worker {address}: an address is like http://worker-1:9464")
    connection = _CONNECTIONS[url.scheme](url.hostname, url.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/gaps" + (f"?gateway={quote(gateway)}" if gateway else ""))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 404 and gateway:
            return None
        if answer.status != 200:
            fail(f"--worker {address}: answers {answer.status}; is it a worker's address?")
        document: dict[str, Any] = json.loads(body)
        return document
    except (OSError, ValueError, HTTPException) as error:
        fail(f"--worker {address}: {error}")
    finally:
        connection.close()


def _gateway(store: LedgerStore, ledger: Ledger, gateway: str, now_ms: int) -> dict[str, Any]:
    unsaved = [loss for loss in ledger.pending().losses if loss.gateway == gateway]
    hours = store.hours(ledger, gateway, now_ms)
    return gateway_document(ledger, gateway, hours, (*store.losses(gateway), *unsaved))


def _print(found: dict[str, Any]) -> None:
    partition = found.get("partition")
    print(found["gateway"] + (f"  (partition {partition})" if partition is not None else ""))
    for start, end, state in _runs(found["hours"]):
        print(f"  {start} .. {end}  {state}")
    for gap in found["open"]:
        print(f"  missing: boot {gap['boot']} {gap['first']}..{gap['last']} from {gap['from']}")
    for loss in found["lost"]:
        print(
            f"  lost ({loss['reason']}): boot {loss['boot']} {loss['first']}..{loss['last']} "
            f"{loss['from']} .. {loss['to']}"
        )


def _runs(hours: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Neighbouring hours of the same state as one line."""
    runs: list[tuple[str, str, str]] = []
    for hour in hours:
        if runs and runs[-1][2] == hour["state"]:
            runs[-1] = (runs[-1][0], hour["to"], hour["state"])
        else:
            runs.append((hour["from"], hour["to"], hour["state"]))
    return runs
