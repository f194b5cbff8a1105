"""`gridwarden telemetry`: what the store of readings holds, for charts and for backtests."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app import settings as embedded
from app.cli.outcome import fail
from app.settings import SettingsError, TelemetrySettings
from app.telemetry import open_reader
from contracts.alerts import timestamp
from contracts.batch import SENDER_FLAGS, ReadingBatch
from contracts.quantities import FAMILIES, QUANTITY_INDEX
from contracts.registry import Registry
from contracts.telemetry import encode_messages
from ingest.layout import telemetry_folder
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from ingest.storage import StoreError
from ingest.telemetry import Sample, TelemetryReader, Unreadable

app = typer.Typer(no_args_is_help=True, help="Read the store of readings: charts, backtests.")

Config = Annotated[Path | None, typer.Option(help="settings of the server or of the workers")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]
Start = Annotated[str, typer.Option("--from", help="RFC 3339 with an offset, or unix ms")]
End = Annotated[str, typer.Option("--to", help="the first moment that isn't wanted any more")]

CHUNK_MS = 600_000
"""So much of all devices is in memory at a time."""


@app.command()
def latest(device: str, config: Config = None, as_json: AsJson = False) -> None:
    """The newest reading of each quantity of a device."""
    with closing(_reader(config)) as reader:
        try:
            found = reader.latest(device)
        except (StoreError, Unreadable) as error:
            fail(str(error))
    listed = sorted(found.items())
    _tell([(quantity, sample) for quantity, sample in listed], as_json=as_json)


@app.command("range")
def range_(
    device: str, quantity: str, start: Start, end: End, config: Config = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Readings of one quantity of a device, in time order."""
    if quantity not in QUANTITY_INDEX:
        fail(f"{quantity}: no such quantity; contracts/quantities.py has them all")
    span = _moment("--from", start), _moment("--to", end)
    with closing(_reader(config)) as reader:
        try:
            found = reader.range(device, quantity, *span)
        except (StoreError, Unreadable) as error:
            fail(str(error))
    _tell([(quantity, sample) for sample in found], as_json=as_json)


@app.command()
def export(
    registry: Annotated[Path, typer.Option(help="names the devices and their families")],
    start: Start,
    end: End,
    out: Annotated[Path, typer.Option(help="JSON lines for `replay` and `rules backtest`")],
    grid: Annotated[str, typer.Option(help="only devices of grids whose code begins so")] = "",
    device: Annotated[list[str] | None, typer.Option(help="only this device; repeatable")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Readings in time order, as devices send them: input of `replay` and `rules backtest`."""
    try:
        places = load_registry(registry)
    except RegistryError as error:
        fail(str(error))
    devices = _chosen(places, grid, device or [])
    span = _moment("--from", start), _moment("--to", end)
    readings = 0
    with closing(_reader(config)) as reader:
        try:
            with out.open("wb") as file:
                for batch in _batches(reader, devices, *span):
                    file.write(encode_messages(batch))
                    readings += len(batch)
        except (StoreError, Unreadable) as error:
            fail(str(error))
        except OSError as error:
            fail(f"--out {out}: {error.strerror}; name a file that can be written")
    if as_json:
        print(json.dumps({"readings": readings, "devices": len(devices), "out": str(out)}))
    else:
        print(f"{readings} readings of {len(devices)} devices written to {out}")


def _reader(config: Path | None) -> TelemetryReader:
    try:
        settings, folder = _place(config)
        return open_reader(settings, folder)
    except SettingsError as error:
        fail(str(error))


def _place(config: Path | None) -> tuple[TelemetrySettings, Path]:
    """The store, and where it lies on this machine. Workers' settings name Kafka."""
    if config is not None and _names_kafka(config):
        from app.stream.settings import load as load_stream

        workers = load_stream(config)
        return workers.telemetry, workers.data / "telemetry"
    server = embedded.load(config)
    return server.telemetry, telemetry_folder(server.data)


def _names_kafka(config: Path) -> bool:
    try:
        return "kafka" in tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Whoever loads it says what is wrong.
        return False


def _chosen(places: Registry, grid: str, named: Sequence[str]) -> list[tuple[str, str]]:
    """(device, family). Ends with one line where nobody is chosen."""
    table = places.devices
    unknown = sorted(set(named) - set(table.ids))
    if unknown:
        fail(f"--device: {unknown[0]} is not in the registry")
    found = [
        (name, FAMILIES[family])
        for name, family, row in zip(
            table.ids, table.family.tolist(), table.grid.tolist(), strict=True
        )
        if (not named or name in named)
        and (not grid or (row >= 0 and places.grids[row].code.startswith(grid)))
    ]
    if not found:
        fail(f"--grid: no device of the registry stands in {grid or 'it'}")
    return found


def _batches(
    reader: TelemetryReader, devices: Sequence[tuple[str, str]], from_ms: int, to_ms: int
) -> Iterator[ReadingBatch]:
    """All devices, some minutes at a time, each in time order. What ingest found out about a
    reading is left to be found out again."""
    for at in range(from_ms, to_ms, CHUNK_MS):
        rows = [
            (name, family, quantity, sample.ts_ms, _number(sample), sample.flags & SENDER_FLAGS)
            for name, family in devices
            for quantity, sample in reader.history(name, at, min(at + CHUNK_MS, to_ms))
        ]
        if rows:
            rows.sort(key=lambda row: (row[3], row[0]))
            yield ReadingBatch.of(rows)


def _number(sample: Sample) -> float:
    return float("nan") if sample.value is None else sample.value


def _moment(option: str, text: str) -> int:
    """Unix ms."""
    try:
        if text.removeprefix("-").isdigit():
            return int(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text} is no time; write 2026-03-01T08:00:00+08:00 or unix ms")
    if moment.tzinfo is None:
        fail(f"{option}: {text} names no offset; add +08:00 or Z")
    return int(moment.timestamp() * 1000)


def _tell(found: Sequence[tuple[str, Sample]], *, as_json: bool) -> None:
    if as_json:
        listed: list[dict[str, Any]] = [
            {"quantity": name, "ts": one.ts_ms, "value": one.value, "flags": one.flags}
            for name, one in found
        ]
        print(json.dumps({"samples": listed}))
        return
    for name, one in found:
        value = "no value" if one.value is None else f"{one.value:g}"
        print(f"{timestamp(one.ts_ms)} {name:24} {value}")
