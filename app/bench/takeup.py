"""What taking up a partition's state costs without Kafka: `python -m app.bench.takeup DEVICES`.

A partition hears every device of a town, is saved, and taken up again; CPU seconds of each part.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from app.bench.kafka_site import ONCE_READINGS, Gateways
from app.bench.town import write_town
from app.content import (
    content_hash,
    pack_registry,
    pack_rules,
    shipped_rules,
    unpack_registry,
    with_columns,
)
from app.contents import Contents
from app.engine import read_head
from app.stream.partition import Partition
from app.stream.snapshots import Manifest, pack, unpack
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed
from ingest.partition import Bundle

PACKS = 50
"""Of one bundle."""
FAR = 1 << 60

R = TypeVar("R")


class _Held:
    """Contents by hash."""

    def __init__(self, *contents: bytes) -> None:
        self._of = {content_hash(one): one for one in contents}

    def get_content(self, content: str) -> bytes:
        return self._of[content]


def main(devices: int) -> None:
    """Prints a line for each part."""
    with tempfile.TemporaryDirectory() as folder:
        town = Path(folder) / "town"
        write_town(town, devices, 1)
        files = pack_registry(town)
        registry = with_columns(files, unpack_registry(files))
        rules = pack_rules(shipped_rules())
        held = _Held(rules, registry)
        chunks = _filled(town, held, rules, registry)
    packed = pack("x", chunks)
    manifest = Manifest(
        version=1, id="x", partition=0, offset=0, position=0, starts_at=0, made_ms=0, by="",
        chunks=packed.chunks,
    )  # fmt: skip
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del chunks
    contents = Contents(held)
    found = _timed("unpack the pieces", lambda: unpack(manifest, dict(packed.pieces))) or {}
    head = read_head(found)
    _timed("build the rules", lambda: contents.rules(head.rules))
    _timed("build the registry", lambda: contents.registry(head.registry))
    _timed("restore the state", lambda: Partition.restored(0, contents, found))
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {before_kb / 1024:.0f} MB filling, {after_kb / 1024:.0f} MB with taking up")


def _filled(town: Path, held: _Held, rules: bytes, registry: bytes) -> dict[str, bytes]:
    partition, offset = Partition(0, Contents(held)), 0

    def put(records: list[LogRecord]) -> None:
        nonlocal offset
        partition.work([Bundle(offset, FAR, encode_bundle(records))])
        offset += 1

    now_ms = time.time_ns() // 1_000_000
    for what, content in (("rules", rules), ("registry", registry)):
        told = Installed(what=what, hash=content_hash(content), active_ms=now_ms)  # type: ignore[arg-type]
        put([LogRecord(RecordKind.INSTALLED, now_ms - 5_000, "", msgspec.json.encode(told))])
    gateways = Gateways(town, 1, ONCE_READINGS)
    packs = islice(gateways.live(1_500_000, 3_600), len(gateways))
    while part := list(islice(packs, PACKS)):
        put(part)
    put([LogRecord(RecordKind.MARK, partition.log.last_ms + 3_000, "", b"")])
    return partition.freeze().chunks()


def _timed(what: str, work: Callable[[], R]) -> R:
    began = time.process_time()
    done = work()
    print(f"{what}: {time.process_time() - began:.2f} s")
    return done


if __name__ == "__main__":
    main(int(sys.argv[1]))
