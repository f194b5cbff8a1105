"""The ledger on disk: a copy that saves reading the whole log at the start.

It is written every few seconds with the position that it holds; at the start the rest of the log
is noted on top. What is here can be deleted: it is built again from the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from contracts import pack
from contracts.log import LogRecord
from ingest.completeness import HOUR_MS, KEPT_HOURS, Hour, HourRow, judge, summed
from ingest.ledger import Found, Ledger, Loss
from ingest.sorting import note_record
from ingest.storage import StoreDamaged, faults, open_reader, open_store, transaction

VERSION = 1
MAX_LOSSES = 100_000
"""Rows of losses that are kept (proposal), the oldest go first: hostile senders make many."""

_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE gateways(gateway TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE hours(
    gateway TEXT NOT NULL, hour INTEGER NOT NULL,
    packs INTEGER NOT NULL, readings INTEGER NOT NULL, covered_ms INTEGER NOT NULL,
    PRIMARY KEY(gateway, hour)) WITHOUT ROWID;
CREATE TABLE losses(
    id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, boot TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    readings INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX losses_by_gateway ON losses(gateway)
"""


class Positioned(Protocol):
    """What the ledger needs of a log: `SqliteLog` and `LogReader` have it."""

    @property
    def first_position(self) -> int: ...
    @property
    def last_position(self) -> int: ...
    def read(self, from_position: int) -> Iterator[list[LogRecord]]: ...


class LedgerStore:
    """`ledger.db`. One thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.position = 0
        self._db = (
            open_reader(path, VERSION)
            if read_only
            else open_store(path, schema=_SCHEMA, version=VERSION)
        )

    def load(self, log: Positioned) -> Ledger:
        """The ledger at the end of the log. Raises `StoreDamaged` where the log is shorter."""
        ledger = Ledger()
        if self._db is not None:
            with faults(self.path):
                row = self._db.execute("SELECT value FROM meta WHERE name='position'").fetchone()
                clock = self._db.execute("SELECT value FROM meta WHERE name='now_ms'").fetchone()
                states = self._db.execute("SELECT gateway, state FROM gateways").fetchall()
            self.position = row[0] if row else 0
            for gateway, state in states:
                ledger.restore(gateway, state, clock[0])
        if self.position > log.last_position:
            raise StoreDamaged(
                self.path,
                f"knows of position {self.position}, but the log ends at {log.last_position}; "
                "restore the log's files, or delete this file to go on with what is there",
            )
        for records in log.read(max(self.position + 1, log.first_position)):
            for record in records:
                note_record(ledger, record)
        return ledger

    def save(self, ledger: Ledger, position: int, now_ms: int) -> None:
        """Add what changed since the last time, all or nothing. Raises `StoreFull`."""
        if self._db is None:
            raise StoreDamaged(self.path, "is open for reading only")
        db, change = self._db, ledger.pending()
        with transaction(db, self.path):
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES(?,?)",
                [("position", position), ("now_ms", now_ms)],
            )
            db.executemany("INSERT OR REPLACE INTO gateways VALUES(?,?)", change.states.items())
            db.executemany(
                "INSERT INTO hours VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET "
                "packs=packs+excluded.packs, readings=readings+excluded.readings, "
                "covered_ms=covered_ms+excluded.covered_ms",
                change.hours,
            )
            db.execute("DELETE FROM hours WHERE hour < ?", (now_ms // HOUR_MS - KEPT_HOURS,))
            _insert_losses(db, change.losses)
            for found in change.found:
                _take_back(db, found)
            db.execute(
                "DELETE FROM losses WHERE id <= (SELECT MAX(id) FROM losses) - ?", (MAX_LOSSES,)
            )
        ledger.settle(change)
        self.position = position

    def losses(self, gateway: str | None = None) -> list[Loss]:
        """Kept losses, oldest first."""
        if self._db is None:
            return []
        with faults(self.path):
            rows = self._db.execute(
                "SELECT gateway, boot, first, last, from_ms, to_ms, readings, reason FROM losses "
                "WHERE ?1 IS NULL OR gateway=?1 ORDER BY id",
                (gateway,),
            ).fetchall()
        return [Loss(row[0], int(row[1], 16), *row[2:]) for row in rows]

    def hours(self, ledger: Ledger, gateway: str, now_ms: int) -> list[Hour]:
        """The judgement on each kept hour of a gateway, with what isn't saved yet."""
        stored: list[HourRow] = []
        if self._db is not None:
            with faults(self.path):
                rows = self._db.execute("SELECT * FROM hours WHERE gateway=?", (gateway,))
                stored = [HourRow(*row) for row in rows]
        pending = ledger.pending()
        losses = [loss for loss in pending.losses if loss.gateway == gateway]
        missing = [(loss.from_ms, loss.to_ms) for loss in (*self.losses(gateway), *losses)]
        missing += [(gap.from_ms, gap.to_ms) for _, gap in ledger.gaps(gateway)]
        first_ms, last_ms = ledger.life(gateway)
        fresh = (row for row in pending.hours if row.gateway == gateway)
        return list(
            judge(
                summed([*stored, *fresh]),
                missing,
                first_ms=first_ms,
                last_ms=last_ms,
                now_ms=now_ms,
            )
        )

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


_MAX = 2**63 - 1


def _fit(number: int) -> int:
    """Within SQLite's integers: a tombstone may claim anything."""
    return max(-_MAX, min(_MAX, number))


def _insert_losses(db: sqlite3.Connection, losses: Iterable[Loss]) -> None:
    db.executemany(
        "INSERT INTO losses(gateway, boot, first, last, from_ms, to_ms, readings, reason) "
        "VALUES(?,?,?,?,?,?,?,?)",
        [
            (*loss[:1], pack.boot_text(loss.boot), *(_fit(n) for n in loss[2:7]), loss.reason)
            for loss in losses
        ],
    )


def _take_back(db: sqlite3.Connection, found: Found) -> None:
    """A pack taken for lost has come: cut it out of the rows that name it."""
    boot = pack.boot_text(found.boot)
    rows = db.execute(
        "SELECT id, first, last, from_ms, to_ms, readings, reason FROM losses "
        "WHERE gateway=? AND boot=? AND first<=? AND last>=?",
        (found.gateway, boot, found.seq, found.seq),
    ).fetchall()
    for row_id, first, last, *rest in rows:
        db.execute("DELETE FROM losses WHERE id=?", (row_id,))
        parts = [(first, found.seq - 1), (found.seq + 1, last)]
        _insert_losses(
            db,
            (Loss(found.gateway, found.boot, a, b, *rest) for a, b in parts if a <= b),
        )
