"""One file of the log: a run of positions, named by its first one.

The log is cut into files so that shedding history is a delete, which gives the disk space back
at once. One commit is one SQLite transaction of one file, so it costs one sync of the WAL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.rejects import Refused
from ingest.storage import (
    StoreDamaged,
    bytes_of,
    faults,
    open_reader,
    open_store,
    sync_folder,
    transaction,
)

VERSION = 1
PAGE_BYTES = 16384
"""Measured with commits of 860 kB: 4 kB pages cost 3.2 ms of CPU each, 16 kB 1.9, 32 kB 1.4. The
last page of every commit is written whole, so bigger ones wear a quiet site's disk for nothing."""
MAX_BUNDLE_BYTES = 8 << 20

_SCHEMA = """
CREATE TABLE bundles(
    first_position INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL, -- of the last record
    bytes BLOB NOT NULL);
CREATE TABLE installed(position INTEGER PRIMARY KEY, bytes BLOB NOT NULL)
"""
_NAME = re.compile(r"log-(\d{20})\.db")


def path_of(folder: Path, first_position: int) -> Path:
    return folder / f"log-{first_position:020d}.db"


def first_positions(folder: Path) -> list[int]:
    """First positions of all segments of a folder, in order."""
    names = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(name[1]) for name in names if name)


class Segment:
    """The segment that is written to. One thread at a time."""

    def __init__(self, folder: Path, first_position: int) -> None:
        """Open or make it. Raises `StoreTooNew`, `StoreFull`, `StoreDamaged`, `StoreFailed`."""
        self.path = path_of(folder, first_position)
        self.first_position = first_position
        fresh = not self.path.exists()
        self._db = open_store(self.path, schema=_SCHEMA, version=VERSION, page_bytes=PAGE_BYTES)
        if fresh:
            sync_folder(folder)
        self.last_position = first_position - 1
        self.last_accepted_ms: int | None = None
        self.first_accepted_ms: int | None = None
        self.bytes = bytes_of(self.path)
        with faults(self.path):
            ends = "SELECT first_position, count, accepted_ms FROM bundles ORDER BY first_position"
            first = self._db.execute(f"{ends} LIMIT 1").fetchone()
            last = self._db.execute(f"{ends} DESC LIMIT 1").fetchone()
        if first:
            if first[0] != first_position:
                raise StoreDamaged(self.path, f"begins at position {first[0]}")
            self.first_accepted_ms = first[2]
            self.last_position = last[0] + last[1] - 1
            self.last_accepted_ms = last[2]

    def append(self, records: Sequence[LogRecord]) -> None:
        """Commit records that hold their positions; they are on the disk when this returns."""
        rows = [
            (part[0].position, len(part), part[-1].accepted_ms, encode_bundle(part))
            for part in _bundles(records)
        ]
        controls = [r for r in records if r.kind is RecordKind.INSTALLED]
        insert = "INSERT INTO bundles VALUES(?,?,?,?)"
        if len(rows) == 1 and not controls:
            with faults(self.path):
                self._db.execute(insert, rows[0])
        else:
            with transaction(self._db, self.path):
                self._db.executemany(insert, rows)
                self._db.executemany(
                    "INSERT INTO installed VALUES(?,?)",
                    [(r.position, encode_bundle([r])) for r in controls],
                )
        self.bytes += sum(len(row[3]) for row in rows)
        self.last_position = records[-1].position
        self.last_accepted_ms = records[-1].accepted_ms
        if self.first_accepted_ms is None:
            self.first_accepted_ms = records[0].accepted_ms

    def close(self) -> None:
        with faults(self.path):
            self._db.close()


def _bundles(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    """Cut into bundles of at most `MAX_BUNDLE_BYTES` (or one record)."""
    start, size = 0, 0
    for i, record in enumerate(records):
        if size and size + len(record.payload) > MAX_BUNDLE_BYTES:
            yield records[start:i]
            start, size = i, 0
        size += len(record.payload)
    yield records[start:]


class SegmentReader:
    """Reads one segment, beside a writer or not; holds no transaction between calls."""

    def __init__(self, folder: Path, first_position: int) -> None:
        self.path = path_of(folder, first_position)
        self.first_position = first_position
        self._db = open_reader(self.path, VERSION)

    def read(self, from_position: int, limit_bytes: int) -> list[LogRecord]:
        """Records from a position on, about `limit_bytes` of them; empty at the end."""
        if self._db is None:
            return []
        found: list[LogRecord] = []
        size = 0
        with faults(self.path):
            cursor = self._db.execute(
                "SELECT first_position, bytes FROM bundles WHERE first_position >= COALESCE("
                "(SELECT MAX(first_position) FROM bundles WHERE first_position <= ?), 0) "
                "ORDER BY first_position",
                (from_position,),
            )
            for first, data in cursor:
                found += self._decode(data, first)
                size += len(data)
                if size >= limit_bytes:
                    break
            cursor.close()
        skip = from_position - found[0].position if found else 0
        return found[skip:] if skip > 0 else found

    def ends(self) -> tuple[int, int] | None:
        """(last position, its accepted_ms); None when empty."""
        if self._db is None:
            return None
        with faults(self.path):
            row = self._db.execute(
                "SELECT first_position + count - 1, accepted_ms FROM bundles "
                "ORDER BY first_position DESC LIMIT 1"
            ).fetchone()
        return (row[0], row[1]) if row else None

    def installed(self) -> list[LogRecord]:
        """The control records of this segment."""
        if self._db is None:
            return []
        with faults(self.path):
            rows = self._db.execute("SELECT position, bytes FROM installed ORDER BY 1").fetchall()
        return [record for position, data in rows for record in self._decode(data, position)]

    def _decode(self, data: bytes, first: int) -> list[LogRecord]:
        try:
            return decode_bundle(data, first)
        except Refused as error:
            raise StoreDamaged(self.path, f"bundle at position {first}: {error}") from error

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
