"""Bodies that the server couldn't take, on disk until it can: `spill.db`.

Bounded in bytes, oldest shed first; bodies are packed, which makes them about twenty times
smaller. What is put is synced before `put` returns: a snapshot of the engine may then cover it.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.storage import StoreDamaged, bytes_of, faults, open_store, shrink, transaction
from ingest.telemetry.influx.lines import Body

VERSION = 1
SHED_BODIES = 8

_SCHEMA = """
CREATE TABLE bodies(
    id INTEGER PRIMARY KEY AUTOINCREMENT, rows INTEGER NOT NULL, heard_ms INTEGER NOT NULL,
    data BLOB NOT NULL)
"""


class Spilled(NamedTuple):
    """A body on disk. bytes: that it takes there."""

    id: int
    bytes: int
    body: Body


class Shed(NamedTuple):
    """What went: rows, and accepted_ms of the first and the last body; times are 0 for nothing."""

    rows: int = 0
    bytes: int = 0
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class SpillState:
    """What waits. from_ms: accepted_ms of the oldest, None = nothing waits."""

    rows: int
    bytes: int
    from_ms: int | None


class Spill:
    """Any thread may call."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Raises `StoreError`."""
        self.path, self.max_bytes = path, max_bytes
        self._lock = threading.Lock()
        self._db = open_store(path, schema=_SCHEMA, version=VERSION, shrinks=True)
        with faults(path):
            found = self._db.execute(
                "SELECT COUNT(*), COALESCE(SUM(rows), 0), COALESCE(SUM(LENGTH(data)), 0) "
                "FROM bodies"
            )
            self._bodies, self._rows, self._bytes = map(int, found.fetchone())

    def __len__(self) -> int:
        """Bodies that wait."""
        return self._bodies

    def put(self, bodies: Sequence[Body]) -> Shed:
        """Keep bodies behind those that wait; returns what had to go for them.

        Raises `StoreError`: then nothing was kept and nothing went.
        """
        packed = [(body.rows, body.heard_ms, zlib.compress(body.data, 1)) for body in bodies]
        size = sum(len(data) for _, _, data in packed)
        with self._lock:
            before = self._bodies, self._rows, self._bytes
            try:
                with transaction(self._db, self.path):
                    shed = self._make_room(self._bytes + size - self.max_bytes)
                    self._db.executemany(
                        "INSERT INTO bodies(rows, heard_ms, data) VALUES(?,?,?)",
                        packed,
                    )
            except BaseException:
                self._bodies, self._rows, self._bytes = before
                raise
            self._bodies += len(bodies)
            self._rows += sum(body.rows for body in bodies)
            self._bytes += size
        return shed

    def oldest(self) -> Spilled | None:
        """Raises `StoreDamaged` when it can't be unpacked, and other errors of the disk."""
        with self._lock, faults(self.path):
            row = self._db.execute(
                "SELECT id, data, rows, heard_ms FROM bodies ORDER BY id LIMIT 1"
            ).fetchone()
        if row is None:
            return None
        try:
            data = zlib.decompress(row[1])
        except zlib.error as error:
            raise StoreDamaged(self.path, f"body {row[0]} can't be unpacked ({error})") from None
        return Spilled(row[0], len(row[1]), Body(data, row[2], row[3]))

    def remove(self, spilled: Spilled) -> None:
        """It is stored. One that was shed meanwhile is gone already."""
        with self._lock:
            with transaction(self._db, self.path):
                gone = self._db.execute("DELETE FROM bodies WHERE id = ?", (spilled.id,)).rowcount
            if gone:
                self._count_off(1, spilled.body.rows, spilled.bytes)
            if not self._bodies:
                shrink(self._db, self.path)

    def shed(self, wanted_bytes: int, *, at_once: int = SHED_BODIES) -> Shed:
        """Give back disk space, oldest first, so many bodies at a time."""
        with self._lock:
            before = self._bodies, self._rows, self._bytes
            try:
                with transaction(self._db, self.path):
                    shed = self._make_room(wanted_bytes, at_once)
            except BaseException:
                self._bodies, self._rows, self._bytes = before
                raise
            shrink(self._db, self.path)
        return shed

    def _make_room(self, wanted_bytes: int, at_once: int = SHED_BODIES) -> Shed:
        """Inside a transaction."""
        total = Shed()
        while wanted_bytes > total.bytes:
            gone = self._db.execute(
                "DELETE FROM bodies WHERE id IN (SELECT id FROM bodies ORDER BY id LIMIT ?) "
                "RETURNING rows, LENGTH(data), heard_ms",
                (at_once,),
            ).fetchall()
            if not gone:
                break
            rows, size = sum(row[0] for row in gone), sum(row[1] for row in gone)
            self._count_off(len(gone), rows, size)
            total = Shed(
                total.rows + rows,
                total.bytes + size,
                total.from_ms or min(row[2] for row in gone),
                max(total.to_ms, *(row[2] for row in gone)),
            )
        return total

    def _count_off(self, bodies: int, rows: int, size: int) -> None:
        self._bodies -= bodies
        self._rows -= rows
        self._bytes -= size

    def state(self) -> SpillState:
        with self._lock, faults(self.path):
            row = self._db.execute("SELECT heard_ms FROM bodies ORDER BY id LIMIT 1").fetchone()
        return SpillState(self._rows, self._bytes, None if row is None else int(row[0]))

    def bytes(self) -> int:
        """Bytes on disk."""
        return bytes_of(self.path)

    def close(self) -> None:
        with self._lock:
            self._db.close()
