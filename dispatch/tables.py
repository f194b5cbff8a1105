"""The tables of the dispatch store, and opening them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

STORE_VERSION = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    alert TEXT NOT NULL,
    kind TEXT NOT NULL,              -- event, reminder, notice
    severity INTEGER NOT NULL,
    body BLOB NOT NULL,              -- the exact bytes that are signed and sent
    position INTEGER NOT NULL,       -- of the log
    recorded_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_alert ON events (alert, seq);

CREATE TABLE IF NOT EXISTS alerts (
    alert TEXT PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    grid TEXT NOT NULL,
    family TEXT NOT NULL,
    condition TEXT NOT NULL,
    device TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity INTEGER NOT NULL,
    state TEXT NOT NULL,
    acknowledged INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    disposition TEXT,
    revision INTEGER NOT NULL,
    raised_ms INTEGER NOT NULL,      -- event time of the first event
    updated_ms INTEGER NOT NULL,     -- event time of the latest event
    event TEXT NOT NULL,             -- id of the latest event
    calls INTEGER NOT NULL,          -- 1 once an event has called a person
    told_ms INTEGER NOT NULL,        -- when a person was last called
    reminders INTEGER NOT NULL,
    delivery TEXT NOT NULL DEFAULT 'deliver', -- of the latest event: deliver, inhibited, shadow
    held_by TEXT NOT NULL DEFAULT '',         -- the alert that inhibits
    over_budget INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alerts_newest ON alerts (first_seq);
CREATE INDEX IF NOT EXISTS alerts_open ON alerts (severity, acknowledged) WHERE state <> 'cleared';

CREATE INDEX IF NOT EXISTS alerts_judged
    ON alerts (rule, disposition) WHERE disposition IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_notices ON events (seq) WHERE kind = 'notice';

CREATE TABLE IF NOT EXISTS deliveries (
    receiver TEXT NOT NULL,
    seq INTEGER NOT NULL,
    alert TEXT NOT NULL,
    urgent INTEGER NOT NULL,
    state TEXT NOT NULL,             -- pending, blocked, done, exhausted
    rung INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL,
    status INTEGER,
    error TEXT NOT NULL DEFAULT '',
    done_ms INTEGER,
    PRIMARY KEY (receiver, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (receiver, next_ms) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_first
    ON deliveries (receiver, urgent DESC, seq) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_open
    ON deliveries (receiver, alert, seq) WHERE state IN ('pending', 'blocked');

CREATE TABLE IF NOT EXISTS receivers (
    name TEXT PRIMARY KEY,
    disabled TEXT NOT NULL DEFAULT '',   -- why; '' = enabled
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, -- in a row
    failing_since_ms INTEGER,
    last_ok_ms INTEGER,
    error TEXT NOT NULL DEFAULT '',
    added_ms INTEGER                     -- beside Kafka: delivered to since; 0 = longer than known
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS commands (
    id TEXT PRIMARY KEY,
    alert TEXT NOT NULL,
    body BLOB NOT NULL,
    received_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS early_marks (   -- deliveries that were over before the event came here
    receiver TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,             -- done, exhausted
    status INTEGER,
    done_ms INTEGER NOT NULL,
    PRIMARY KEY (receiver, event)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS cursors (       -- how far streams have been read into this store
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL,           -- the first offset that hasn't been
    PRIMARY KEY (stream, partition)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


# What version 2 added to a table of version 1; a repeat after a kill finds them there.
_ADDED = {
    "delivery": "TEXT NOT NULL DEFAULT 'deliver'",
    "held_by": "TEXT NOT NULL DEFAULT ''",
    "over_budget": "INTEGER NOT NULL DEFAULT 0",
}


class StoreRefused(Exception):
    """The store can't be used; the text is one line with the file and the mend."""


def open_tables(path: Path) -> sqlite3.Connection:
    """The store's writing connection; the tables are made where they are missing.

    Raises `StoreRefused` for a store from a newer version or a file that is none.
    """
    connection = connect(path, synchronous="FULL")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > STORE_VERSION:
            raise StoreRefused(
                f"{path}: written by a newer gridwarden (store version {version}, this one knows "
                f"{STORE_VERSION}); install that version, or name another data folder"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_TABLES)
        known = {row["name"] for row in connection.execute("PRAGMA table_info(alerts)")}
        receivers = {row["name"] for row in connection.execute("PRAGMA table_info(receivers)")}
        if "added_ms" not in receivers:
            # Who doesn't know it passes it over.
            connection.execute("ALTER TABLE receivers ADD COLUMN added_ms INTEGER")
        for column, kind in _ADDED.items():
            if column not in known:
                connection.execute(f"ALTER TABLE alerts ADD COLUMN {column} {kind}")
        connection.execute(f"PRAGMA user_version = {STORE_VERSION}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreRefused(f"{path}: {error}; name another data folder") from None
    except StoreRefused:
        connection.close()
        raise
    return connection


def connect(path: Path, *, synchronous: str) -> sqlite3.Connection:
    """One more connection; transactions are begun by hand. `StoreRefused` if it can't be opened."""
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30.0
        )
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except sqlite3.DatabaseError as error:
        raise StoreRefused(f"{path}: {error}; name another data folder") from None
    connection.row_factory = sqlite3.Row
    return connection
