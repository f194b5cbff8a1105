"""`gridwarden gaps`: which hours of which gateway are whole, what is missing and what was lost."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail
from contracts.alerts import timestamp
from contracts.pack import boot_text
from ingest.completeness import HOUR_MS, Hour
from ingest.layout import ledger_file, log_folder
from ingest.ledger import Ledger, Loss
from ingest.ledger_store import LedgerStore
from ingest.log import LogReader
from ingest.storage import StoreError

app = typer.Typer()


@app.callback(invoke_without_command=True)
def command(
    data: Annotated[Path, typer.Option("--data", help="the server's data folder")],
    gateway: Annotated[str | None, typer.Option(help="only this gateway")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Hours of each gateway ("data", "quiet", "data missing"), open gaps and losses."""
    now_ms = time.time_ns() // 1_000_000
    try:
        with (
            closing(LogReader(log_folder(data))) as log,
            closing(LedgerStore(ledger_file(data), read_only=True)) as store,
        ):
            ledger = store.load(log)
            wanted = [gateway] if gateway else sorted(ledger.gateways())
            if gateway and gateway not in ledger.gateways():
                fail(f"--gateway: nothing was ever heard of {gateway!r}")
            found = [_gateway(store, ledger, one, now_ms) for one in wanted]
    except StoreError as error:
        fail(str(error))
    if as_json:
        print(json.dumps({"at": timestamp(now_ms), "gateways": found}))
    else:
        for one in found:
            _print(one)


def _gateway(store: LedgerStore, ledger: Ledger, gateway: str, now_ms: int) -> dict[str, Any]:
    unsaved = [loss for loss in ledger.pending().losses if loss.gateway == gateway]
    return {
        "gateway": gateway,
        "hours": [_hour(hour) for hour in store.hours(ledger, gateway, now_ms)],
        "open": [
            {
                "boot": boot_text(boot),
                "first": gap.first,
                "last": gap.last,
                "from": _time(gap.from_ms),
                "to": _time(gap.to_ms),
            }
            for boot, gap in ledger.gaps(gateway)
        ],
        "lost": [_loss(loss) for loss in (*store.losses(gateway), *unsaved)],
    }


def _hour(hour: Hour) -> dict[str, Any]:
    return {
        "from": timestamp(hour.from_ms),
        "to": timestamp(hour.from_ms + HOUR_MS),
        "state": hour.state,
        "packs": hour.packs,
        "readings": hour.readings,
    }


def _loss(loss: Loss) -> dict[str, Any]:
    return {
        "boot": boot_text(loss.boot),
        "first": loss.first,
        "last": loss.last,
        "from": _time(loss.from_ms),
        "to": _time(loss.to_ms),
        "readings": loss.readings if loss.readings >= 0 else None,
        "reason": loss.reason,
    }


def _time(ms: int) -> str | int:
    """A tombstone may claim times that have no date; those are shown as they came."""
    try:
        return timestamp(ms)
    except (ValueError, OverflowError, OSError):
        return ms


def _print(found: dict[str, Any]) -> None:
    print(found["gateway"])
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
