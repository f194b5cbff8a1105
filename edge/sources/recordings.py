"""Recorded files as chunks of readings: native JSON lines, and CSV with a written mapping."""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import ReadingBatch
from contracts.rejects import Reason
from contracts.telemetry import decode_many
from edge.sources import SourceError
from edge.sources.mapping import Mapping, Sheet

CHUNK_ROWS = 500
"""Input rows that are decoded at once."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An input row, or a part of it, that gave no reading. line: counted from 1 in the file."""

    file: str
    line: int
    reason: str
    field: str
    detail: str


Refuse = Callable[[Refusal], None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Readings of consecutive input rows. row: int64, the input row (from 0, the header not
    counted) of each reading, never falling. rows: input rows read so far, bad ones included."""

    batch: ReadingBatch
    row: NDArray[np.int64]
    rows: int


class Recording(Protocol):
    """One file. `chunks(skip)` leaves the first input rows out, and begins anew at each call."""

    path: Path

    def chunks(self, skip: int, refuse: Refuse) -> Iterator[Chunk]: ...

    def fingerprint(self) -> str: ...


def open_recording(path: Path) -> Recording:
    """A `.toml` is a mapping, anything else native JSON lines. Raises `SourceError`."""
    if path.suffix == ".toml":
        return CsvRecording(path)
    return JsonLines(path)


class JsonLines:
    """Native telemetry, one message a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _probe(path)

    def fingerprint(self) -> str:
        return f"{self.path.name}:{self.path.stat().st_size}"

    def chunks(self, skip: int, refuse: Refuse) -> Iterator[Chunk]:
        with _open(self.path) as file:
            lines = itertools.islice(_readable(file, self.path), skip, None)
            first = skip
            while payloads := list(itertools.islice(lines, CHUNK_ROWS)):
                yield self._chunk(payloads, first, refuse)
                first += len(payloads)

    def _chunk(self, payloads: list[bytes], first: int, refuse: Refuse) -> Chunk:
        batch, origin, rejects = decode_many(payloads)
        for at, reject in rejects:
            refuse(
                Refusal(
                    self.path.name, first + at + 1, reject.reason.value, reject.field, reject.detail
                )
            )
        return Chunk(batch, origin.astype(np.int64) + first, first + len(payloads))


class CsvRecording:
    """A table whose columns a mapping file explains; see `edge.sources.mapping`."""

    def __init__(self, path: Path) -> None:
        self.mapping_path = path
        self.mapping = _mapping(path)
        self.path = path.absolute().parent / self.mapping.file
        _probe(self.path)
        with _open(self.path) as file:
            header = next(_rows(file), None)
        if header is None:
            raise SourceError(f"{self.path}: is empty; a first row with column names is needed")
        self._sheet = Sheet(self.mapping, header, mapping_path=path, table_path=self.path)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.mapping_path.read_bytes()).hexdigest()[:16]
        return f"{self.path.name}:{self.path.stat().st_size}:{digest}"

    def chunks(self, skip: int, refuse: Refuse) -> Iterator[Chunk]:
        with _open(self.path) as file:
            rows = itertools.islice(_rows(_readable(file, self.path)), 1 + skip, None)
            first = skip
            while table := list(itertools.islice(rows, CHUNK_ROWS)):
                yield self._chunk(table, first, refuse)
                first += len(table)

    def _chunk(self, table: Sequence[list[str]], first: int, refuse: Refuse) -> Chunk:
        def refuse_row(row: int, reason: Reason, field: str, detail: str) -> None:
            refuse(Refusal(self.path.name, row + 2, reason.value, field, detail))

        batch, row = self._sheet.read(table, first, refuse_row)
        return Chunk(batch, row, first + len(table))


def _mapping(path: Path) -> Mapping:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; mend source.recordings") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: not TOML: {error}; mend that line") from None
    try:
        return msgspec.convert(raw, Mapping)
    except msgspec.ValidationError as error:
        raise SourceError(f"{path}: {error}; mend that field") from None


def _probe(path: Path) -> None:
    """One clear line for a file that can't be read at all."""
    try:
        with _open(path) as file:
            file.read(1)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path}: {why}; mend source.recordings") from None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _readable(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines; a file that breaks off is one clear line, after what could be read."""
    try:
        yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path}: breaks off: {error}; get a whole copy of it") from None


def _rows(lines: Iterable[bytes]) -> Iterator[list[str]]:
    # Bytes that are no UTF-8 must not stop a recording: they show up in the cell they spoil.
    text = (line.decode("utf-8", "replace").replace("\0", "\ufffd") for line in lines)
    bare = (line.removeprefix("\ufeff") if n == 0 else line for n, line in enumerate(text))
    reader = csv.reader(bare)
    while True:
        try:
            yield next(reader)
        except csv.Error:
            yield []  # No row has no cells: it is refused.
        except StopIteration:
            return
