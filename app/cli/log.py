"""`gridwarden log`: look at the log and dump it for `replay`, also while the server runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from app.cli.outcome import fail
from app.settings import SettingsError
from contracts.alerts import timestamp
from contracts.messages import Installed
from ingest.layout import log_folder
from ingest.log import LogReader
from ingest.log.dump import Dumped, write_dump
from ingest.log.segment import SegmentReader, first_positions, path_of
from ingest.storage import StoreError, bytes_of

app = typer.Typer(no_args_is_help=True, help="Look at the log, dump it for `replay`.")

DataFolder = Annotated[Path, typer.Option("--data", help="the server's data folder")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]


@app.command()
def dump(
    out: Annotated[Path, typer.Option(help="the file to write")],
    data: Annotated[Path | None, typer.Option(help="the server's data folder")] = None,
    start: Annotated[
        int | None, typer.Option("--from", min=1, help="first position; default: all that is held")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="of a worker (TOML): a partition on Kafka instead")
    ] = None,
    partition: Annotated[int, typer.Option(min=0, help="which, with --config")] = 0,
    upto: Annotated[
        int | None, typer.Option(min=0, help="with --config: stop before this offset")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the log with its rules and registries as one file that `replay` reads."""
    if (data is None) == (config is None):
        fail("name --data for the log of one box, or --config for a partition on Kafka")
    if data is None:
        dumped = _dump_partition(config, partition, out, upto)
    else:
        dumped = _dump_folder(data, out, start)
    if as_json:
        installed = [{"at": at} | one for at, one in _installed(dumped)]
        told = {"records": dumped.records, "out": str(out), "installed": installed}
        print(json.dumps(told))
        return
    print(f"{dumped.records} records written to {out}")
    for at, one in _installed(dumped):
        said = "" if one["threshold"] is None else f"   threshold {one['threshold']}"
        print(f"{at}  {one['what']:8}  {one['name'] or '-':10}  {one['hash'][:16]}{said}")


def _installed(dumped: Dumped) -> Iterator[tuple[str, dict[str, Any]]]:
    """When what came into force: rules, registries, settings and the models of detectors."""
    for record in dumped.installed:
        try:
            told = msgspec.json.decode(record.payload, type=Installed)
        except msgspec.DecodeError as error:
            fail(f"position {record.position}: a control record can't be read ({error})")
        yield timestamp(record.accepted_ms), msgspec.to_builtins(told)


def _dump_partition(config: Path | None, partition: int, out: Path, upto: int | None) -> Dumped:
    try:
        # Only here: a server's installation has no Kafka client.
        from app.stream import dump as kafka
        from app.stream.settings import load
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; install gridwarden[stream]")
    try:
        return asyncio.run(kafka.dump_partition(load(config), partition, out, upto))
    except (SettingsError, kafka.CantDump) as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a file that can be written")


def _dump_folder(data: Path, out: Path, start: int | None) -> Dumped:
    try:
        with closing(LogReader(log_folder(data))) as log:
            return write_dump(log, out, start)
    except StoreError as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a file that can be written")


@app.command()
def info(data: DataFolder, as_json: AsJson = False) -> None:
    """Positions, times and size of the log."""
    try:
        with closing(LogReader(log_folder(data))) as log:
            found = _info(log)
    except StoreError as error:
        fail(str(error))
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value}")


def _info(log: LogReader) -> dict[str, object]:
    firsts = first_positions(log.folder)
    last_ms = 0
    for first in reversed(firsts):
        with closing(SegmentReader(log.folder, first)) as segment:
            ends = segment.ends()
        if ends is not None:
            last_ms = ends[1]
            break
    return {
        "first_position": log.first_position,
        "last_position": log.last_position,
        "last_accepted": timestamp(last_ms) if last_ms else "",
        "segments": len(firsts),
        "bytes": sum(bytes_of(path_of(log.folder, first)) for first in firsts),
        "snapshots": log.index.snapshot_positions(),
        "contents": log.index.content_hashes(),
    }
