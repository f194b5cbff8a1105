"""Counting: what was put in, what the log has, which events came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts import pack
from contracts.alerts import NOT_COMPARED
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from ingest.layout import log_folder
from ingest.log import LogReader
from tests.torture.processes import gridwarden

_ROW = np.dtype([("device", "i4"), ("quantity", "i4"), ("ts", "i8"), ("value", "f8")])


class Names:
    """Interned texts, so that readings are rows of numbers."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def __call__(self, texts: Iterable[str]) -> NDArray[np.int32]:
        known = self._number
        return np.array([known.setdefault(text, len(known)) for text in texts], np.int32)


def table(parts: Iterable[ReadingBatch], names: Names) -> NDArray[Any]:
    """All rows, sorted by (device, quantity, ts, value)."""
    made = [np.empty(0, _ROW)]
    for part in parts:
        if not len(part):
            continue
        rows = np.empty(len(part), _ROW)
        rows["device"] = names(part.devices)[part.device]
        rows["quantity"] = names(part.quantities)[part.quantity]
        rows["ts"], rows["value"] = part.ts_ms, part.value
        made.append(rows)
    rows = np.concatenate(made)
    order = np.lexsort((rows["value"], rows["ts"], rows["quantity"], rows["device"]))
    return rows[order]


def records(data: Path) -> list[LogRecord]:
    """All records of the log."""
    with closing(LogReader(log_folder(data))) as log:
        return [record for part in log.read(1) for record in part]


def logged(data: Path, gateway: str = "") -> list[ReadingBatch]:
    """Readings of the packs in the log, in its order; of one gateway if named."""
    return [
        pack.decode(record.payload).batch
        for record in records(data)
        if record.kind is RecordKind.PACK and gateway in ("", record.source)
    ]


def gaps(data: Path, gateway: str) -> dict[str, Any]:
    """What `gridwarden gaps` says of one gateway."""
    said = json.loads(gridwarden("gaps", "--data", data, "--gateway", gateway, "--json"))
    (found,) = said["gateways"]
    return dict(found)


@dataclass(frozen=True)
class Account:
    """How two sets of readings differ. doubled: rows that the log has more than once."""

    expected: int
    found: int
    lost: int
    strange: int
    doubled: int


def compare(expected: Iterable[ReadingBatch], found: Iterable[ReadingBatch]) -> Account:
    names = Names()
    wanted, rows = table(expected, names), table(found, names)
    once, seen = np.unique(wanted), np.unique(rows)
    return Account(
        expected=len(once),
        found=len(rows),
        lost=len(np.setdiff1d(once, seen, assume_unique=True)),
        strange=len(np.setdiff1d(seen, once, assume_unique=True)),
        doubled=len(rows) - len(seen),
    )


def bare(event: dict[str, Any]) -> bytes:
    """The event's bytes without what comparisons leave out."""
    left_out = {*NOT_COMPARED, "received_ms"}
    kept = {name: value for name, value in event.items() if name not in left_out}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()


def replayed(data: Path, folder: Path, *options: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What `gridwarden replay` makes of the dumped log: id -> bare event; and its summary."""
    dump, out = folder / "log.dump", folder / "replayed.jsonl"
    gridwarden("log", "dump", "--data", data, "--out", dump)
    said = gridwarden("replay", "--input", dump, "--out", out, "--json", *options)
    events = [json.loads(line) for line in out.read_bytes().splitlines()]
    found = {event["id"]: bare(event) for event in events}
    assert len(found) == len(events), "the replay repeats an id"
    return found, json.loads(said)


def changes(events: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """Received events by id, without reminders: those are notifications and not in the log."""
    return {event["id"]: bare(event) for event in events if event["data"]["change"] != "reminder"}
