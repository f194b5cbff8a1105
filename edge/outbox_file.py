"""The outbox's file: opening, checking, moving a damaged one aside, and the ballast beside it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SCHEMA_VERSION = 1
EPOCH_S = 1_577_836_800  # 2020-01-01

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE gateways(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE boots(
    gateway INTEGER NOT NULL, boot INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY(gateway, boot)
) WITHOUT ROWID;
CREATE TABLE packs(
    id INTEGER PRIMARY KEY, gateway INTEGER NOT NULL, kind INTEGER NOT NULL,
    boot INTEGER NOT NULL, seq INTEGER NOT NULL, size INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL, readings INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX packs_order ON packs(gateway, kind, boot, seq);
CREATE TABLE tombstones(
    gateway INTEGER NOT NULL, boot INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    readings INTEGER NOT NULL, PRIMARY KEY(gateway, boot, first)
) WITHOUT ROWID;
CREATE TABLE cursors(
    source TEXT PRIMARY KEY, cursor BLOB, skips TEXT NOT NULL
) WITHOUT ROWID;
"""

log = logging.getLogger("gridwarden.edge.outbox")


class OutboxError(Exception):
    """The outbox can't be used as it is; the text is one line for the person who installs."""


class OutboxStuck(Exception):
    """The disk didn't take a transaction (full, read-only, input/output error): try again."""


class OutboxDamaged(Exception):
    """The file is damaged: it is moved aside when the agent opens it again."""


_STUCK = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def verdict(error: sqlite3.Error) -> OutboxStuck | OutboxDamaged | None:
    """What an error of SQLite means for the outbox; None = a fault of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _STUCK:
        return OutboxStuck(f"{error} ({getattr(error, 'sqlite_errorname', '')})")
    if code in _DAMAGED:
        return OutboxDamaged(str(error))
    return None


@dataclass(frozen=True, slots=True)
class Opened:
    """The writer's connection, the lock that is held as long as it is open, and what was found.

    moved: the damaged file that had to be moved aside; damaged: how many such there were.
    counter: of boots, the one before this.
    """

    db: sqlite3.Connection
    lock: IO[bytes]
    moved: Path | None
    counter: int
    damaged: int


def open_file(path: Path) -> Opened:
    """Open or make the outbox. Raises `OutboxError`, and `OutboxStuck` when the disk is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        raise OutboxError(f"outbox.path: {path}: {error.strerror}; mend its folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OutboxError(f"outbox.path: {path} is in use by another agent; stop it") from None
    try:
        return _open_locked(path, lock)
    except BaseException:
        lock.close()
        raise


def _open_locked(path: Path, lock: IO[bytes]) -> Opened:
    try:
        db = _connect_checked(path)
        return Opened(db, lock, None, _noted(db, "boots"), _noted(db, "damaged"))
    except OutboxDamaged as damage:
        moved = _move_aside(path)
        boots, damaged = _salvaged(moved)
        counter = max(boots, _hours())
        log.error("outbox damaged file=%s moved=%s why=%r", path, moved, str(damage))
    db = _connect_checked(path)
    try:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('damaged', ?)", (damaged + 1,))
    except sqlite3.Error as error:
        raise verdict(error) or error from error
    return Opened(db, lock, moved, counter, damaged + 1)


def _connect_checked(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        version = _version(db)
        if version > SCHEMA_VERSION:
            raise OutboxError(
                f"outbox.path: {path} was written by a newer version (schema {version}); "
                "install that version or drain it first"
            )
        if version == 0:
            _make(db)
        # A power cut on a worn card can leave half a page: better found now than in a year.
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise OutboxDamaged(found)
        return db
    except sqlite3.Error as error:
        db.close()
        known = verdict(error)
        if known is None:
            raise
        raise known from None
    except BaseException:
        db.close()
        raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _make(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _move_aside(path: Path) -> Path:
    """Keep the newest damaged file for whoever wants to look; an older one makes room for it."""
    for old in path.parent.glob(path.name + ".damaged*"):
        old.unlink()
    moved = path.with_name(path.name + ".damaged")
    for suffix in ("-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(moved.with_name(moved.name + suffix))
    path.rename(moved)
    return moved


def _hours() -> int:
    """A boot number above those that a damaged file is likely to have used up."""
    return max(0, (int(time.time()) - EPOCH_S) // 3600)


def _noted(db: sqlite3.Connection, key: str) -> int:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row and 0 <= row[0] < 1 << 30 else 0


def _salvaged(path: Path) -> tuple[int, int]:
    """Boots and damages that a damaged file has counted, so that later boots sort after."""
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return _noted(db, "boots"), _noted(db, "damaged")
        finally:
            db.close()
    except sqlite3.Error as error:
        log.warning("outbox counters lost why=%r", str(error))
        return 0, 0


class Ballast:
    """A file of zeros that is given up when the disk is full, so that there is room to delete."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def hold(self) -> bool:
        """Whether the ballast is there; made when there is room for it twice."""
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                return True
            if free_bytes(self._path.parent) < 2 * self._size:
                return False
            with self._path.open("wb") as file:
                if self._size:
                    os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError as error:
            log.warning("outbox ballast not held why=%r", str(error))
            return False
        return True

    def release(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("outbox ballast not released why=%r", str(error))


def free_bytes(folder: Path) -> int:
    """What the file system has left for us."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
