"""Opening SQLite files, and what can go wrong with them as typed errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

BUSY_MS = 5000


class StoreError(Exception):
    """A file of ours can't be used. `path` is the file, the text says what to do about it."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path


class StoreTooNew(StoreError):
    """Written by a newer version. `found` and `supported` are versions of the file's schema."""

    def __init__(self, path: Path, found: int, supported: int) -> None:
        super().__init__(
            path,
            f"written by a newer version (schema {found}, this version knows {supported}); "
            "upgrade gridwarden or choose another data folder",
        )
        self.found, self.supported = found, supported


class StoreFull(StoreError):
    """No room for the write: nothing of it was kept, and it may be tried again."""


class StoreBusy(StoreError):
    """Another process has the store open for writing."""


class StoreDamaged(StoreError):
    """The content is not what this program wrote."""


class StoreFailed(StoreError):
    """The disk answered with an error: what was being written must count as not written."""


_NO_ROOM = frozenset(
    {
        sqlite3.SQLITE_FULL,
        # A file size limit shows as a failed write, and the shared memory file of the WAL as
        # one that can't grow; a disk that is really full shows as SQLITE_FULL.
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; programming errors pass through."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        found = translated(path, error)
        if found is None:
            raise
        raise found from error


def translated(path: Path, error: sqlite3.DatabaseError) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code in _NO_ROOM:
        return StoreFull(path, "no room on the disk; free some space")
    primary = code & 0xFF
    if primary in _DAMAGED:
        return StoreDamaged(path, f"damaged ({error}); restore it from a copy or move it away")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(path, "in use by another process")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return StoreFailed(path, f"the disk refused ({error}); check the disk and its rights")
    return None


def open_store(
    path: Path,
    *,
    schema: str,
    version: int,
    page_bytes: int = 4096,
    wal_bytes: int = 4 << 20,
    synchronous: Literal["FULL", "NORMAL"] = "FULL",
    shrinks: bool = False,
) -> sqlite3.Connection:
    """Open for writing in WAL mode, in autocommit; an empty file gets the schema.

    wal_bytes: the WAL is copied into the file when it holds about so much. shrinks: `shrink` can
    give back the space of deleted rows.
    Raises `StoreTooNew`, `StoreDamaged`, `StoreFull`, `StoreFailed`.
    """
    with faults(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            db.execute(f"PRAGMA page_size={page_bytes}")
            if shrinks:
                db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={synchronous}")
            db.execute(f"PRAGMA wal_autocheckpoint={max(1, wal_bytes // page_bytes)}")
            found = schema_version(db)
            if found > version:
                raise StoreTooNew(path, found, version)
            if found == 0:
                db.executescript(f"BEGIN;{schema};PRAGMA user_version={version};COMMIT;")
        except BaseException:
            db.close()
            raise
    return db


def open_reader(path: Path, version: int) -> sqlite3.Connection | None:
    """Open read-only beside a writer; None where the file has no schema yet or is not there."""
    if not path.exists():
        return None
    with faults(path):
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            found = schema_version(db)
        except BaseException:
            db.close()
            raise
    if found > version:
        db.close()
        raise StoreTooNew(path, found, version)
    if found == 0:
        db.close()
        return None
    return db


def schema_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All or nothing; errors come as ours."""
    with faults(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back by itself.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def shrink(db: sqlite3.Connection, path: Path) -> None:
    """Give the space of deleted rows back to the disk, in place: it needs no room of its own."""
    with faults(path):
        # `execute` would step it once, which frees one page.
        db.executescript("PRAGMA incremental_vacuum")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def take_lock(path: Path) -> int:
    """A lock for one writing process, held until the descriptor is closed. Raises `StoreBusy`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreFailed(path, f"can't be opened ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreBusy(path, "in use by another gridwarden; stop that one first") from None
    return descriptor


def sync_folder(path: Path) -> None:
    """Make names that were added to or removed from a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(path, f"can't be made ({error.strerror})") from error


def files_of(path: Path) -> tuple[Path, ...]:
    """A database and what SQLite keeps beside it."""
    return path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))


def bytes_of(path: Path) -> int:
    """Bytes on disk of a database with its WAL; 0 where it is gone."""
    total = 0
    for file in files_of(path):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def remove(path: Path) -> int:
    """Delete a closed database; returns the bytes that came free.

    The database itself goes first: a WAL without its database is nothing, the reverse would be
    a database that misses its last commits.
    """
    freed = bytes_of(path)
    for file in files_of(path):
        file.unlink(missing_ok=True)
    sync_folder(path.parent)
    return freed
