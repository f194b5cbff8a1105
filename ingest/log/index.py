"""What the log keeps beside its segments: contents by hash, snapshots, and control records of
segments that were shed."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from contracts.log import LogRecord, decode_bundle, encode_bundle
from ingest.storage import StoreDamaged, bytes_of, faults, open_reader, open_store, transaction

VERSION = 1
NAME = "log.db"
KEPT_SNAPSHOTS = 2

_SCHEMA = """
CREATE TABLE contents(hash TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE installed(position INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE snapshots(position INTEGER PRIMARY KEY, manifest BLOB NOT NULL);
CREATE TABLE chunks(
    position INTEGER NOT NULL, name TEXT NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY(position, name))
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the operators after all records up to `position`, in named chunks."""

    position: int
    chunks: dict[str, bytes]


class Index:
    """`log.db`. Safe for several threads: one call at a time."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._db = (
            open_reader(self.path, VERSION)
            if read_only
            else open_store(self.path, schema=_SCHEMA, version=VERSION)
        )

    def put_content(self, content_hash: str, data: bytes) -> None:
        """Keep a rule set or registry under its hash; the same hash again changes nothing."""
        db = self._writable()
        with self._lock, transaction(db, self.path):
            db.execute("INSERT OR IGNORE INTO contents VALUES(?,?)", (content_hash, data))

    def get_content(self, content_hash: str) -> bytes:
        """Raises `StoreDamaged` where there is none: INSTALLED records name only what is here."""
        rows = self._query("SELECT bytes FROM contents WHERE hash=?", content_hash)
        if not rows:
            raise StoreDamaged(self.path, f"content {content_hash} is missing")
        data: bytes = rows[0][0]
        return data

    def content_hashes(self) -> list[str]:
        return [row[0] for row in self._query("SELECT hash FROM contents ORDER BY hash")]

    def keep_installed(self, records: Sequence[LogRecord]) -> None:
        """Remember control records whose segment is about to be shed."""
        db = self._writable()
        with self._lock, transaction(db, self.path):
            db.executemany(
                "INSERT OR REPLACE INTO installed VALUES(?,?)",
                [(r.position, encode_bundle([r])) for r in records],
            )

    def installed(self) -> list[LogRecord]:
        rows = self._query("SELECT position, bytes FROM installed ORDER BY position")
        return [record for position, data in rows for record in decode_bundle(data, position)]

    def save_snapshot(self, position: int, chunks: Mapping[str, bytes]) -> None:
        """Chunks first, the manifest last; then all but the newest two snapshots go."""
        db = self._writable()
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in chunks.items()}
        with self._lock:
            for name, data in chunks.items():
                with transaction(db, self.path):
                    db.execute(
                        "INSERT OR REPLACE INTO chunks VALUES(?,?,?)", (position, name, data)
                    )
            with transaction(db, self.path):
                db.execute(
                    "INSERT OR REPLACE INTO snapshots VALUES(?,?)",
                    (position, msgspec.json.encode(hashes)),
                )
            with transaction(db, self.path):
                kept = "SELECT position FROM snapshots ORDER BY position DESC LIMIT ?"
                for table in ("snapshots", "chunks"):
                    # Chunks without a manifest, of a stop in the middle, go with the others.
                    db.execute(
                        f"DELETE FROM {table} WHERE position NOT IN ({kept})",  # noqa: S608
                        (KEPT_SNAPSHOTS,),
                    )

    def snapshot_positions(self) -> list[int]:
        """Positions of the complete snapshots, newest first."""
        return [r[0] for r in self._query("SELECT position FROM snapshots ORDER BY 1 DESC")]

    def load_snapshot(self, position: int) -> Snapshot:
        """Raises `StoreDamaged` where a chunk is not what the manifest says."""
        rows = self._query("SELECT manifest FROM snapshots WHERE position=?", position)
        if not rows:
            raise StoreDamaged(self.path, f"no snapshot at position {position}")
        hashes = msgspec.json.decode(rows[0][0], type=dict[str, str])
        found = dict(self._query("SELECT name, bytes FROM chunks WHERE position=?", position))
        for name, wanted in hashes.items():
            if name not in found or hashlib.sha256(found[name]).hexdigest() != wanted:
                raise StoreDamaged(self.path, f"snapshot {position}: chunk {name!r} is not whole")
        return Snapshot(position, {name: found[name] for name in hashes})

    def bytes(self) -> int:
        return bytes_of(self.path)

    def close(self) -> None:
        if self._db is not None:
            with self._lock, faults(self.path):
                self._db.close()

    def _query(self, sql: str, *values: object) -> list[Any]:
        if self._db is None:
            return []
        with self._lock, faults(self.path):
            return self._db.execute(sql, values).fetchall()

    def _writable(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreDamaged(self.path, "is not there")
        return self._db
