"""Recordings as log records: JSON lines, a folder of packs, a dumped log or a folder of dumps.

A plain recording counts as accepted at its own times, in file order; a dump carries the times at
which it was accepted, its time marks and its commands.
"""

from __future__ import annotations

import gzip
import os
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from app.runners.dumps import Dumps, DumpsError, dumps_in
from contracts import pack
from contracts.log import LogRecord, RecordKind
from contracts.rejects import Reason, Refused, Reject
from contracts.telemetry import Time, time_ms
from ingest.log.dump import DUMP_MAGIC, DumpError

MARK_EVERY_MS = 1_000
LINES_AT_ONCE = 20_000
PACKS_AT_ONCE = 500
"""A pack holds hundreds of readings: what is in memory at a time stays some 10 MB."""
KEPT_BROKEN = 100
"""Broken lines that are kept to be shown; all are counted."""


class RecordingError(Exception):
    """The input can't be read at all; the text names it and the mend."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A line or a pack that was refused. line 0: the whole file."""

    name: str
    line: int
    reject: Reject

    def __str__(self) -> str:
        at = f"{self.name}:{self.line}" if self.line else self.name
        told = f"{self.reject.field} {self.reject.detail[:200]}".strip()
        return f"{at}: {self.reject.reason.value}{': ' if told else ''}{told}"


@dataclass(slots=True)
class Recording:
    """An opened input; what `records` has passed so far is counted in it.

    contents: hash -> bytes of rule sets and registries that a dump brought along.
    broken: the first `KEPT_BROKEN` lines or packs that are no readings. rejected: all of them by
    reason. passed: lines of `edge decode` that hold no reading: "event", "reject".
    read: lines or packs that were taken.
    """

    path: Path
    dumps: Dumps | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    read: int = 0
    _origins: array[int] = field(default_factory=lambda: array("q", [0]))
    _packs_read: list[str] = field(default_factory=list)

    @property
    def dumped(self) -> bool:
        """Whether it brings its own times of acceptance, marks, rules and commands."""
        return self.dumps is not None

    def records(self) -> Iterator[list[LogRecord]]:
        """Records in order; positions count from 1, or are those of the dump.

        Raises `RecordingError` where the file can't be read, or nothing in it is a recording.
        """
        if self.dumps is not None:
            yield from self._dump(self.dumps)
            return
        source = self._packs() if self.path.is_dir() else self._lines()
        yield from self._marked(source)
        if self.broken and not self.read and not self.passed:
            raise RecordingError(
                f"{self.path}: nothing in it is a reading ({self.broken[0]}); "
                "name JSON lines, a folder of packs, a dumped log or a folder of dumps"
            )

    def place_of(self, position: int) -> tuple[str, int]:
        """Which file, and which of its lines, became this record; line 0 = it has no lines."""
        if self.dumped:
            return f"{self.path.name} position {position}", 0
        origin = self._origins[position]
        return (self._packs_read[origin - 1], 0) if self._packs_read else (self.path.name, origin)

    def _dump(self, dumps: Dumps) -> Iterator[list[LogRecord]]:
        try:
            yield from dumps.bundles()
        except DumpError as error:
            raise RecordingError(f"{error}; dump the log again") from None
        except DumpsError as error:
            raise RecordingError(str(error)) from None

    def _packs(self) -> Iterator[LogRecord]:
        # By name: a long history is many files, and paths are slow to compare.
        for name in sorted(entry.name for entry in os.scandir(self.path)):
            if not name.endswith(".gwpk"):
                continue
            path = self.path / name
            try:
                data = path.read_bytes()
                header, _ = pack.peek_header(data)
            except OSError as error:
                raise RecordingError(f"{path}: can't be read: {error.strerror}") from None
            except Refused as refused:
                self._refuse(path.name, 0, refused.reject)
                continue
            self._packs_read.append(path.name)
            number = len(self._packs_read)
            yield LogRecord(RecordKind.PACK, header.wall_ms, header.gateway, data, number)

    def _lines(self) -> Iterator[LogRecord]:
        """Each record's position is its line, until `_marked` gives it its place."""
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(self.path, "rb") as handle:
                for number, line in enumerate(handle, 1):
                    record = self._line(number, line.strip())
                    if record is not None:
                        yield record
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingError(f"{self.path}: can't be read: {error}") from None

    def _line(self, number: int, line: bytes) -> LogRecord | None:
        if not line:
            return None
        try:
            head = _head.decode(line)
            kind = (
                "event" if head.event is not None else "reject" if head.reject is not None else ""
            )
            if kind:
                self.passed[kind] += 1
                return None
            if head.ts is None:
                raise Refused(Reason.BAD_FIELD, field="ts", detail="absent")
            return LogRecord(RecordKind.FOREIGN, time_ms(head.ts), "", line, number)
        except msgspec.ValidationError as error:
            self._refuse(self.path.name, number, Reject(reason=Reason.BAD_FIELD, detail=str(error)))
        except msgspec.DecodeError as error:
            self._refuse(self.path.name, number, Reject(reason=Reason.BAD_JSON, detail=str(error)))
        except Refused as refused:
            self._refuse(self.path.name, number, refused.reject)
        return None

    def _refuse(self, name: str, line: int, reject: Reject) -> None:
        self.rejected[reject.reason.value] += 1
        if len(self.broken) < KEPT_BROKEN:
            self.broken.append(Broken(name, line, reject))

    def _marked(self, source: Iterator[LogRecord]) -> Iterator[list[LogRecord]]:
        """Positions, accepted times that never fall, and a time mark after each quiet second."""
        batch: list[LogRecord] = []
        position, last_ms, marked_ms = 0, None, None
        at_once = PACKS_AT_ONCE if self.path.is_dir() else LINES_AT_ONCE
        for record in source:
            accepted = record.accepted_ms if last_ms is None else max(last_ms, record.accepted_ms)
            if marked_ms is None:
                marked_ms = accepted
            if last_ms is not None and accepted - marked_ms >= MARK_EVERY_MS:
                position += 1
                # Just before the next record: all that fell due in between has its own time.
                batch.append(LogRecord(RecordKind.MARK, accepted - 1, "", b"", position))
                self._origins.append(0)
                marked_ms = accepted
            position += 1
            last_ms = accepted
            self.read += 1
            self._origins.append(record.position)
            batch.append(LogRecord(record.kind, accepted, record.source, record.payload, position))
            if len(batch) >= at_once:
                yield batch
                batch = []
        if batch:
            yield batch


class _Head(msgspec.Struct, frozen=True):
    """What of a line is needed to place it in time. event and reject: of any form."""

    ts: Time | None = None
    event: Any = None
    reject: Any = None


_head = msgspec.json.Decoder(_Head)


def open_recording(path: Path) -> Recording:
    """Find out what `path` is. Raises `RecordingError`."""
    if path.is_dir():
        return _open_folder(path)
    try:
        with path.open("rb") as handle:
            start = handle.read(len(DUMP_MAGIC))
        if start != DUMP_MAGIC:
            return Recording(path)
        return _open_dumps(path, [path])
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror}); check --input") from None


def _open_folder(folder: Path) -> Recording:
    packs = any(folder.glob("*.gwpk"))
    try:
        dumps = dumps_in(folder)
    except OSError as error:
        raise RecordingError(f"{folder}: can't be read ({error.strerror}); check --input") from None
    if packs and dumps:
        raise RecordingError(
            f"{folder}: holds packs and dumped logs ({dumps[0].name}); keep them in two folders"
        )
    if dumps:
        return _open_dumps(folder, dumps)
    if not packs:
        raise RecordingError(
            f"{folder}: holds no *.gwpk pack and no dumped log; name a file or a folder of them"
        )
    return Recording(folder)


def _open_dumps(path: Path, files: list[Path]) -> Recording:
    try:
        dumps = Dumps(files)
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror}); check --input") from None
    except DumpError as error:
        raise RecordingError(f"{error}; dump the log again") from None
    return Recording(path, dumps, dumps.contents)
