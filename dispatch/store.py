"""The dispatch store: events, the state of alerts, and what is still to be delivered.

SQLite in WAL mode. Events are recorded with `synchronous=FULL`, each batch in one transaction
with its deliveries, so that whoever has seen `record` return will get them delivered. The marks
of finished deliveries are written with NORMAL: a power cut may forget some, and the event is
sent again under the same id.

Safe for several threads: one lock around writing, one around reading.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from contracts.alerts import AlertEvent, encode_event, timestamp
from contracts.messages import OperatorCommand
from contracts.notices import is_notice
from dispatch.journal import Mark, Reminded
from dispatch.outbox import Outbox
from dispatch.queries import Queries
from dispatch.receivers import Filter
from dispatch.renotify import Reminder, Waiting, reminding
from dispatch.tables import connect, open_tables

_event_decoder = msgspec.json.Decoder(AlertEvent)
_command_decoder = msgspec.json.Decoder(OperatorCommand)


@dataclass(frozen=True, slots=True)
class Stored:
    """One recorded event. seq rises by recording; body: the exact bytes."""

    seq: int
    id: str
    kind: str
    body: bytes


class Cursor(NamedTuple):
    """next: the first offset of a stream's partition that hasn't been read into the store."""

    stream: str
    partition: int
    next: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """new: what was not known yet. repeats: ids that were. conflicts: repeats with other bytes."""

    new: tuple[Stored, ...]
    repeats: int = 0
    conflicts: int = 0


class Store:
    """Opens or makes the store at `path`. Raises `StoreRefused`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db = open_tables(path)
        reader = connect(path, synchronous="NORMAL")
        reader.execute("PRAGMA query_only = ON")
        self.queries = Queries(reader)
        self.outbox = Outbox(connect(path, synchronous="NORMAL"), self._lock)
        self._filters: dict[str, Filter] = {}
        self._listeners: list[Callable[[Sequence[Stored]], None]] = []

    def close(self) -> None:
        with self._lock:
            self.queries.close()
            self.outbox.close()
            self._db.close()

    def set_receivers(self, filters: Mapping[str, Filter]) -> None:
        """From now on, each recorded event is to be delivered to these (name -> filter)."""
        with self._transaction() as db:
            for name in filters:
                db.execute("INSERT OR IGNORE INTO receivers (name) VALUES (?)", (name,))
        self._filters = dict(filters)

    def welcome(self, now_ms: int) -> int:
        """See `Outbox.welcome`, of all receivers."""
        return sum([self.outbox.welcome(name, now_ms) for name in self._filters])

    def subscribe(self, listener: Callable[[Sequence[Stored]], None]) -> None:
        """`listener` is called after each commit with new events, in the recording thread.

        It must be quick and must not raise.
        """
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[Sequence[Stored]], None]) -> None:
        self._listeners = [one for one in self._listeners if one != listener]

    # Recording

    def record(
        self,
        events: Sequence[AlertEvent],
        position: int,
        *,
        now_ms: int | None = None,
        times_ms: Sequence[int] = (),
        cursors: Sequence[Cursor] = (),
    ) -> Recorded:
        """Keep events of the log up to `position`, in one transaction; known ids are counted.

        cursors: how far the streams have been read that brought them, kept with them. times_ms:
        when each event was recorded there, else now. An event without `recordedtime` gets it.
        Raises `sqlite3.OperationalError` when the disk is full: then nothing of the call is kept.
        """
        if not events and not cursors:
            return Recorded(())
        now = _now_ms() if now_ms is None else now_ms
        new: list[Stored] = []
        repeats = conflicts = 0
        with self._transaction() as db:
            for event, at_ms in zip(events, times_ms or [now] * len(events), strict=True):
                notice = is_notice(event)
                kind = "notice" if notice else "event"
                seq = self._insert(db, event, kind, position, at_ms, now)
                if seq is None:
                    repeats += 1
                    conflicts += _conflicts(db, event)
                else:
                    new.append(seq)
                    if not notice:
                        _project(db, event, seq.seq, at_ms)
            _count(db, "events_repeated", repeats)
            _count(db, "events_conflicting", conflicts)
            _keep_cursors(db, cursors)
        self._announce(new)
        return Recorded(tuple(new), repeats, conflicts)

    def remind(self, reminder: Reminder, *, now_ms: int | None = None) -> Stored | None:
        """Keep a reminder and send it to receivers that have had all before it.

        None when the alert has been acknowledged or cleared meanwhile.
        """
        now = _now_ms() if now_ms is None else now_ms
        with self._transaction() as db:
            row = db.execute(
                "SELECT e.body, e.position FROM alerts a JOIN events e ON e.id = a.event"
                " WHERE a.alert = ? AND a.event = ? AND a.acknowledged = 0"
                " AND a.state <> 'cleared' AND a.delivery = 'deliver'",
                (reminder.alert, reminder.event),
            ).fetchone()
            if row is None:
                return None
            event = reminding(_event_decoder.decode(row["body"]), reminder)
            event = msgspec.structs.replace(event, recordedtime="")
            stored = self._insert(db, event, "reminder", row["position"], now, now)
            db.execute(
                "UPDATE alerts SET told_ms = ?, reminders = ? WHERE alert = ?",
                (now, reminder.number, reminder.alert),
            )
            _count(db, "reminders", 1)
        if stored is not None:
            self._announce([stored])
            self.outbox.journal(Reminded(event=event, number=reminder.number, at_ms=now))
        return stored

    # What other copies did

    def note(self, marks: Sequence[Mark], cursors: Sequence[Cursor] = ()) -> None:
        """Keep what the delivering copy has told; known marks change nothing.

        The cursors are kept last: after a crash some marks are noted again.
        """
        for mark in marks:
            if isinstance(mark, Reminded):
                self._note_reminder(mark)
            else:
                self.outbox.note(mark)
        with self._transaction() as db:
            _keep_cursors(db, cursors)

    def _note_reminder(self, mark: Reminded) -> None:
        with self._transaction() as db:
            stored = self._insert(db, mark.event, "reminder", 0, mark.at_ms, mark.at_ms)
            db.execute(
                "UPDATE alerts SET told_ms = MAX(told_ms, ?), reminders = MAX(reminders, ?)"
                " WHERE alert = ?",
                (mark.at_ms, mark.number, mark.event.subject),
            )
        if stored is not None:
            self._announce([stored])

    def cursors(self, stream: str) -> dict[int, int]:
        """Partition -> the first offset of the stream that isn't in this store."""
        rows = self.queries.all("SELECT partition, next FROM cursors WHERE stream = ?", (stream,))
        return {row["partition"]: row["next"] for row in rows}

    def _insert(
        self,
        db: sqlite3.Connection,
        event: AlertEvent,
        kind: str,
        position: int,
        at_ms: int,
        now_ms: int,
    ) -> Stored | None:
        """The stored event with its deliveries, due now; None when its id is known. at_ms: when it
        was recorded."""
        if not event.recordedtime:
            event = msgspec.structs.replace(event, recordedtime=timestamp(at_ms))
        body = encode_event(event)
        severity = int(event.data["severity"])
        cursor = db.execute(
            "INSERT OR IGNORE INTO events (id, alert, kind, severity, body, position, recorded_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event.id, event.subject, kind, severity, body, position, at_ms),
        )
        if cursor.rowcount == 0:
            return None
        seq = int(cursor.lastrowid or 0)
        for name, chosen in self._filters.items():
            if chosen.wants(event):
                _enqueue(db, name, seq, event, reminder=kind == "reminder", now_ms=now_ms)
        return Stored(seq, event.id, kind, body)

    def _announce(self, new: Sequence[Stored]) -> None:
        if new:
            for listener in self._listeners:
                listener(new)

    # Commands

    def audit(self, command: OperatorCommand, *, now_ms: int | None = None) -> bool:
        """Keep who asked for what. False when the id is known with another meaning."""
        now = _now_ms() if now_ms is None else now_ms
        body = msgspec.json.encode(command, order="deterministic")
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO commands (id, alert, body, received_ms) VALUES (?, ?, ?, ?)",
                (command.id, command.alert, body, now),
            )
            row = db.execute("SELECT body FROM commands WHERE id = ?", (command.id,)).fetchone()
        kept = _command_decoder.decode(row["body"])
        return msgspec.structs.replace(kept, at_ms=command.at_ms) == command

    # Reminders

    def waiting(self, severity: int) -> list[Waiting]:
        """Open alerts up to this level number that called a person and nobody acknowledged."""
        rows = self.queries.all(
            "SELECT alert, event, revision, told_ms, reminders FROM alerts"
            " WHERE severity <= ? AND acknowledged = 0 AND state <> 'cleared' AND calls = 1"
            " AND delivery = 'deliver'"
            " ORDER BY told_ms, alert",
            (severity,),
        )
        return [Waiting(*row) for row in rows]

    def position(self) -> int:
        """The greatest log position of a recorded event; 0 = none."""
        row = self.queries.one("SELECT COALESCE(MAX(position), 0) FROM events")
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _enqueue(
    db: sqlite3.Connection,
    receiver: str,
    seq: int,
    event: AlertEvent,
    *,
    reminder: bool,
    now_ms: int,
) -> None:
    """One more delivery; behind an unfinished one of the same alert it waits as `blocked`, and
    what another copy has delivered already is over."""
    early = db.execute(
        "DELETE FROM early_marks WHERE receiver = ? AND event = ? RETURNING state, status, done_ms",
        (receiver, event.id),
    ).fetchone()
    if early is not None:
        db.execute(
            "INSERT INTO deliveries"
            " (receiver, seq, alert, urgent, state, first_ms, next_ms, status, done_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(receiver, seq, event.subject, int(int(event.data["severity"]) == 1)),
                *(early["state"], now_ms, now_ms, early["status"], early["done_ms"]),
            ),
        )
        return
    head = db.execute(
        "SELECT MIN(seq) FROM deliveries WHERE receiver = ? AND alert = ?"
        " AND state IN ('pending', 'blocked')",
        (receiver, event.subject),
    ).fetchone()[0]
    if head is not None and reminder:
        return  # It has not even got the alert: a reminder behind it would only pile up.
    urgent = int(event.data["severity"]) == 1
    if head is not None and urgent and event.data["notify"]:
        # A new onset must not wait for the slow end of the ladder.
        db.execute(
            "UPDATE deliveries SET next_ms = MIN(next_ms, ?), first_ms = ?, rung = 0"
            " WHERE receiver = ? AND seq = ? AND state = 'pending' AND rung > 1",
            (now_ms, now_ms, receiver, head),
        )
    db.execute(
        "INSERT INTO deliveries (receiver, seq, alert, urgent, state, first_ms, next_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            receiver,
            seq,
            event.subject,
            int(urgent),
            "pending" if head is None else "blocked",
            now_ms,
            now_ms,
        ),
    )


def _project(db: sqlite3.Connection, event: AlertEvent, seq: int, now_ms: int) -> None:
    """The alert's row after this event; an older revision than the known one changes nothing."""
    data = event.data
    at_ms = _ms(event.time)
    calls = int(bool(data["notify"]))
    delivery = data.get("delivery") or {"state": "deliver", "alert": ""}
    db.execute(
        "INSERT INTO alerts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,?,?,?)"
        " ON CONFLICT (alert) DO UPDATE SET last_seq = excluded.last_seq,"
        " severity = excluded.severity, state = excluded.state,"
        " acknowledged = excluded.acknowledged, unknown = excluded.unknown,"
        " disposition = excluded.disposition, revision = excluded.revision,"
        " updated_ms = excluded.updated_ms, event = excluded.event,"
        " delivery = excluded.delivery, held_by = excluded.held_by,"
        " over_budget = excluded.over_budget,"
        " calls = MAX(calls, excluded.calls),"
        " told_ms = CASE WHEN excluded.calls THEN excluded.told_ms ELSE told_ms END"
        " WHERE excluded.revision > revision",
        (
            event.subject,
            seq,
            seq,
            event.gridcode,
            data["family"],
            data["condition"],
            data["device"],
            data["rule"]["id"],
            data["severity"],
            data["state"],
            int(data["acknowledged"]),
            int(data["unknown"]),
            data["disposition"],
            data["revision"],
            at_ms,
            at_ms,
            event.id,
            calls,
            now_ms,
            delivery["state"],
            delivery["alert"],
            int(data.get("over_budget", False)),
        ),
    )


def _keep_cursors(db: sqlite3.Connection, cursors: Sequence[Cursor]) -> None:
    db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", cursors)


def _conflicts(db: sqlite3.Connection, event: AlertEvent) -> int:
    """1 when the known event of this id says something else: the log's promise is broken."""
    row = db.execute("SELECT body FROM events WHERE id = ?", (event.id,)).fetchone()
    known = _event_decoder.decode(row["body"])
    bare = {"recordedtime": "", "traceparent": ""}
    same = encode_event(msgspec.structs.replace(known, **bare)) == encode_event(
        msgspec.structs.replace(event, **bare)
    )
    return 0 if same else 1


def _count(db: sqlite3.Connection, name: str, by: int) -> None:
    if by:
        db.execute(
            "INSERT INTO counters VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )


def _ms(text: str) -> int:
    at = datetime.fromisoformat(text)
    return round(at.timestamp() * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
