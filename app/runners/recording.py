"""Recordings as log records: JSON lines, a folder of packs, or a dumped log.

A plain recording counts as accepted at its own times, in file order; a dump carries the times at
which it was accepted, its time marks and its commands.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from contracts import pack
from contracts.log import LogRecord, RecordKind
from contracts.rejects import Reason, Refused, Reject
from contracts.telemetry import Time, time_ms
from ingest.log.dump import DUMP_MAGIC, read_dump

MARK_EVERY_MS = 1_000
LINES_AT_ONCE = 20_000


class RecordingError(Exception):
    """The input can't be read at all; the text names it and the mend."""


@dataclass(slots=True)
class Recording:
    """An opened input. `rejects` counts and keeps lines that are no reading, with line numbers.

    contents: hash -> bytes of rule sets and registries that a dump brought along.
    """

    path: Path
    dumped: bool
    contents: Mapping[str, bytes] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    events: int = 0

    def records(self) -> Iterator[list[LogRecord]]:
        """Records in order with positions from 1; the last one is a time mark."""
        if self.dumped:
            yield from read_dump(self.path).bundles()
            return
        source = self._packs() if self.path.is_dir() else self._lines()
        yield from _marked(source)

    def _packs(self) -> Iterator[LogRecord]:
        for path in sorted(self.path.glob("*.gwpk")):
            data = path.read_bytes()
            try:
                header = pack.decode_raw(data).header
            except Refused as refused:
                self.rejects.append(refused.reject)
                continue
            yield LogRecord(RecordKind.PACK, header.wall_ms, header.gateway, data)

    def _lines(self) -> Iterator[LogRecord]:
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(self.path, "rb") as handle:
                for number, line in enumerate(handle, 1):
                    record = self._line(number, line.strip())
                    if record is not None:
                        yield record
        except (OSError, EOFError) as error:
            raise RecordingError(f"{self.path}: can't be read: {error}") from None

    def _line(self, number: int, line: bytes) -> LogRecord | None:
        if not line:
            return None
        try:
            head = _head.decode(line)
            if head.event is not None:
                self.events += 1
                return None
            if head.ts is None:
                raise Refused(Reason.BAD_FIELD, field="ts", detail="absent")
            return LogRecord(RecordKind.FOREIGN, time_ms(head.ts), "", line)
        except msgspec.DecodeError as error:
            self._refuse(number, Reason.BAD_JSON, str(error))
        except Refused as refused:
            self._refuse(number, refused.reject.reason, refused.reject.detail)
        return None

    def _refuse(self, number: int, reason: Reason, detail: str) -> None:
        self.rejects.append(
            Reject(
                reason=reason, field=f"{self.path.name}:{number}", detail=detail[:200], row=number
            )
        )


class _Head(msgspec.Struct, frozen=True):
    """What of a line is needed to place it in time."""

    ts: Time | None = None
    event: msgspec.Raw | None = None


_head = msgspec.json.Decoder(_Head)


def open_recording(path: Path) -> Recording:
    """Find out what `path` is. Raises `RecordingError`."""
    if path.is_dir():
        if not any(path.glob("*.gwpk")):
            raise RecordingError(f"{path}: holds no *.gwpk pack; name a file or a folder of packs")
        return Recording(path, dumped=False)
    try:
        with path.open("rb") as handle:
            start = handle.read(len(DUMP_MAGIC))
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror}); check --input") from None
    if start == DUMP_MAGIC:
        return Recording(path, dumped=True, contents=read_dump(path).contents)
    return Recording(path, dumped=False)


def _marked(source: Iterator[LogRecord]) -> Iterator[list[LogRecord]]:
    """Positions, accepted times that never fall, and a time mark after each quiet second."""
    batch: list[LogRecord] = []
    position, last_ms, marked_ms = 0, None, None
    for record in source:
        accepted = record.accepted_ms if last_ms is None else max(last_ms, record.accepted_ms)
        if marked_ms is None:
            marked_ms = accepted
        if last_ms is not None and accepted - marked_ms >= MARK_EVERY_MS:
            position += 1
            # One mark just before the next record: all that fell due in between has its own time.
            batch.append(LogRecord(RecordKind.MARK, accepted - 1, "", b"", position))
            marked_ms = accepted
        position += 1
        last_ms = accepted
        batch.append(LogRecord(record.kind, accepted, record.source, record.payload, position))
        if len(batch) >= LINES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def end_mark(last: LogRecord, wait_ms: int) -> LogRecord:
    """The mark that ends a recording: late enough that nothing waits for a straggler."""
    return LogRecord(RecordKind.MARK, last.accepted_ms + wait_ms, "", b"", last.position + 1)
