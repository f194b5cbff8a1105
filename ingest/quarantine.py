"""Dead letters: everything that was refused, with its reason and bytes, until it is shed.

Bounded by rows and bytes, oldest first, and counted whatever becomes of it. Writing a letter
never stops acceptance: what can't be written waits in memory, and beyond a bound is counted as
lost. A letter survives kill -9; a power cut may take those of the last moments.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from contracts.rejects import Reject
from ingest.refusal import RowReject
from ingest.storage import (
    StoreError,
    bytes_of,
    faults,
    open_reader,
    open_store,
    shrink,
    transaction,
)

VERSION = 1
MAX_ROWS = 100_000
MAX_BYTES = 256 << 20
"""Bounds of the store (proposals)."""
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 32 << 20
BUSY_MS = 200
SHED_ROWS = 500

_SCHEMA = """
CREATE TABLE letters(
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, source TEXT NOT NULL,
    reason TEXT NOT NULL, field TEXT NOT NULL, detail TEXT NOT NULL,
    row INTEGER NOT NULL, position INTEGER NOT NULL, payload BLOB NOT NULL,
    bytes INTEGER NOT NULL, replay INTEGER NOT NULL DEFAULT 0);
CREATE INDEX letters_to_replay ON letters(id) WHERE replay = 1;
CREATE TABLE totals(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO totals VALUES('rows', 0), ('bytes', 0), ('shed', 0)
"""
_COLUMNS = "id, at_ms, source, reason, field, detail, row, position, payload, replay"
KEPT, WANTED, REPLAYED = range(3)
_OVERHEAD = 100
"""Bytes that a row takes beside its payload, for the bound."""


class Letter(NamedTuple):
    """One dead letter. source: topic or gateway. row: of the message, -1 = all of it.

    position: of the log record that it was in, 0 = it never entered the log. replay: `KEPT`,
    `WANTED` or `REPLAYED`.
    """

    id: int
    at_ms: int
    source: str
    reason: str
    field: str
    detail: str
    row: int
    position: int
    payload: bytes
    replay: int = KEPT


@dataclass(frozen=True, slots=True)
class QuarantineState:
    rows: int
    bytes: int
    shed: int


class Quarantine:
    """`quarantine.db`. Any thread may call."""

    def __init__(
        self,
        path: Path,
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.max_rows, self.max_bytes = max_rows, max_bytes
        self.refused: Counter[str] = Counter()
        """Refusals since the start by reason, whatever became of the letters."""
        self.lost: Counter[str] = Counter()
        """Letters that could not be kept, by reason of refusal."""
        self._waiting: deque[Letter] = deque()
        self._waiting_bytes = 0
        self._lock = threading.RLock()
        self._db = (
            open_reader(path, VERSION)
            if read_only
            else open_store(
                path, schema=_SCHEMA, version=VERSION, synchronous="NORMAL", shrinks=True
            )
        )
        if self._db is not None and not read_only:
            self._db.execute(f"PRAGMA busy_timeout={BUSY_MS}")

    def put(self, letters: Iterable[tuple[str, bytes, Reject]], at_ms: int) -> None:
        """Keep refused messages: (topic, payload, why)."""
        self._add(
            Letter(0, at_ms, source, r.reason.value, r.field, r.detail, r.row, 0, payload)
            for source, payload, r in letters
        )

    def put_rows(self, rejects: Sequence[RowReject], at_ms: int) -> None:
        """Keep what admission refused of records that are in the log."""
        self._add(
            Letter(
                0, at_ms, one.source, one.reject.reason.value, one.reject.field,
                one.reject.detail, one.reject.row, one.position, one.content,
            )
            for one in rejects
        )  # fmt: skip

    def _add(self, letters: Iterable[Letter]) -> None:
        with self._lock:
            for letter in letters:
                self.refused[letter.reason] += 1
                self._waiting.append(letter)
                self._waiting_bytes += len(letter.payload)
            self.flush()
            while len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES:
                gone = self._waiting.popleft()
                self._waiting_bytes -= len(gone.payload)
                self.lost[gone.reason] += 1

    def flush(self) -> bool:
        """Write what waits in one go; False where it has to wait on."""
        with self._lock:
            if not self._waiting:
                return True
            try:
                self._write(self._waiting)
            except StoreError:
                # Refusals must not stop what is good; `lost` counts what doesn't fit in memory.
                return False
            self._waiting.clear()
            self._waiting_bytes = 0
            return True

    def _write(self, letters: Iterable[Letter]) -> None:
        db = self._open()
        rows = [(*one[1:9], len(one.payload) + _OVERHEAD) for one in letters]
        with transaction(db, self.path):
            db.executemany(
                "INSERT INTO letters(at_ms, source, reason, field, detail, row, position, "
                "payload, bytes) VALUES(?,?,?,?,?,?,?,?,?)",
                rows,
            )
            _add_total(db, "rows", len(rows))
            _add_total(db, "bytes", sum(row[-1] for row in rows))
            self._bound(db, self.max_rows, self.max_bytes)

    def _bound(self, db: sqlite3.Connection, max_rows: int, max_bytes: int) -> int:
        """Shed the oldest beyond the bounds; returns the payload bytes that went."""
        freed = 0
        while True:
            totals = _totals(db)
            if totals["rows"] <= max_rows and totals["bytes"] <= max_bytes:
                return freed
            # At least one, at most a slice, so that the last letter to stay is found exactly.
            over = max(1, min(SHED_ROWS, totals["rows"] - max_rows))
            gone = db.execute(
                "DELETE FROM letters WHERE id IN (SELECT id FROM letters ORDER BY id LIMIT ?) "
                "RETURNING bytes",
                (over,),
            ).fetchall()
            if not gone:
                return freed
            size = sum(row[0] for row in gone)
            freed += size
            _add_total(db, "rows", -len(gone))
            _add_total(db, "bytes", -size)
            _add_total(db, "shed", len(gone))

    def shed(self, wanted_bytes: int) -> int:
        """Give back disk space, oldest letters first; returns the bytes of the letters."""
        db = self._open()
        with self._lock:
            with transaction(db, self.path):
                kept = max(0, _totals(db)["bytes"] - wanted_bytes)
                freed = self._bound(db, self.max_rows, kept)
            shrink(db, self.path)
        return freed

    def letters(
        self, *, reason: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Letter]:
        """Kept letters, oldest first, from behind the id `after`."""
        return self._query(
            "id > ?1 AND (?2 IS NULL OR reason = ?2) ORDER BY id LIMIT ?3", after, reason, limit
        )

    def letter(self, letter_id: int) -> Letter | None:
        return next(iter(self._query("id = ?1", letter_id)), None)

    def by_reason(self) -> dict[str, int]:
        """Kept letters by reason."""
        if self._db is None:
            return {}
        with self._lock, faults(self.path):
            rows = self._db.execute("SELECT reason, COUNT(*) FROM letters GROUP BY 1 ORDER BY 1")
            return dict(rows.fetchall())

    def want_replay(self, ids: Sequence[int] = (), reason: str | None = None) -> int:
        """Ask the running server, or the next one, to take letters again; returns how many."""
        db = self._open()
        marks = ",".join("?" * len(ids)) or "NULL"
        with self._lock, transaction(db, self.path):
            cursor = db.execute(
                f"UPDATE letters SET replay = {WANTED} WHERE replay <> {WANTED} "  # noqa: S608
                f"AND (id IN ({marks}) OR reason = ?)",
                (*ids, reason),
            )
            return cursor.rowcount

    def wanted(self, limit: int = 500) -> list[Letter]:
        """Letters that somebody asked to take again."""
        return self._query("replay = 1 ORDER BY id LIMIT ?1", limit)

    def mark_replayed(self, letters: Sequence[Letter]) -> None:
        """They were taken again; what is refused once more is a new letter."""
        db = self._open()
        with self._lock, transaction(db, self.path):
            db.executemany(
                f"UPDATE letters SET replay = {REPLAYED} WHERE id = ?",  # noqa: S608
                [(one.id,) for one in letters],
            )

    def state(self) -> QuarantineState:
        if self._db is None:
            return QuarantineState(0, 0, 0)
        with self._lock, faults(self.path):
            return QuarantineState(**_totals(self._db))

    def sheddable(self) -> int:
        """Bytes that `shed` could give back."""
        return self.state().bytes

    def bytes(self) -> int:
        """Bytes on disk."""
        return bytes_of(self.path)

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _query(self, where: str, *values: object) -> list[Letter]:
        if self._db is None:
            return []
        with self._lock, faults(self.path):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM letters WHERE {where}", values)  # noqa: S608
            return [Letter(*row) for row in rows.fetchall()]

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(self.path, "no dead letters here; is this the data folder?")
        return self._db


def _totals(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT name, value FROM totals").fetchall())


def _add_total(db: sqlite3.Connection, name: str, by: int) -> None:
    db.execute("UPDATE totals SET value = value + ? WHERE name = ?", (by, name))
