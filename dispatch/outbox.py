"""What is still to be delivered, and the state of receivers."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dispatch.journal import Added, Mark, Over, Switched
from dispatch.retry import Attempts, Next, Outcome, Plan

FRESH_MS = 15 * 60_000
"""Of what was there before the receiver, all that is no older is delivered (proposal)."""
RECOVERED_AFTER = 3
"""Failures in a row after which a success counts as "the receiver is back"."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. id: of the event, the idempotency key. body: as signed."""

    receiver: str
    seq: int
    id: str
    alert: str
    severity: int
    body: bytes
    so_far: Attempts
    recorded_ms: int


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """disabled: why, "" = enabled. not_before_ms: pause of all that isn't urgent."""

    disabled: str
    not_before_ms: int
    failures: int


class Outbox:
    """Marks of deliveries. Shares the store's writing lock: one writer at a time."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock) -> None:
        self._db = db
        self._lock = lock
        self.journal: Callable[[Mark], None] = _nobody
        """Told of each mark after it is kept; it must be quick and must not raise."""

    def close(self) -> None:
        self._db.close()

    def due(self, receiver: str, now_ms: int, *, limit: int, urgent: bool) -> list[Delivery]:
        """Deliveries to attempt now, level Ⅰ first, then by recording. urgent: only those."""
        with self._lock:
            rows = self._db.execute(
                "SELECT d.*, e.id, e.severity, e.body, e.recorded_ms"
                " FROM deliveries d JOIN events e ON e.seq = d.seq"
                " WHERE d.receiver = ? AND d.state = 'pending' AND d.next_ms <= ?"
                " AND d.urgent >= ? ORDER BY d.urgent DESC, d.seq LIMIT ?",
                (receiver, now_ms, int(urgent), limit),
            ).fetchall()
        return [_delivery(row) for row in rows]

    def next_ms(self, receiver: str, now_ms: int) -> int | None:
        """When the next attempt that isn't due already will be; None = there is none."""
        with self._lock:
            row = self._db.execute(
                "SELECT MIN(next_ms) FROM deliveries"
                " WHERE receiver = ? AND state = 'pending' AND next_ms > ?",
                (receiver, now_ms),
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def oldest_urgent_ms(self, receiver: str) -> int | None:
        """Since when an urgent event waits for this receiver; None = none does."""
        with self._lock:
            row = self._db.execute(
                "SELECT MIN(first_ms) FROM deliveries"
                " WHERE receiver = ? AND urgent = 1 AND state IN ('pending', 'blocked')",
                (receiver,),
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def finish(self, delivery: Delivery, plan: Plan, outcome: Outcome, now_ms: int) -> None:
        """Keep what an attempt gave. The next delivery of the alert may go when this is over."""
        over = plan.next in (Next.DONE, Next.EXHAUSTED)
        state = {Next.DONE: "done", Next.EXHAUSTED: "exhausted"}.get(plan.next, "pending")
        next_ms = plan.at_ms if plan.next is Next.RETRY else now_ms
        with self._transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, rung = ?, attempts = attempts + 1, next_ms = ?,"
                " status = ?, error = ?, done_ms = ? WHERE receiver = ? AND seq = ?",
                (
                    state,
                    plan.rung,
                    next_ms,
                    outcome.status,
                    outcome.error[:200],
                    now_ms if over else None,
                    delivery.receiver,
                    delivery.seq,
                ),
            )
            if over:
                _unblock(db, delivery.receiver, delivery.alert, now_ms)
        if over:
            mark = Over(
                receiver=delivery.receiver,
                event=delivery.id,
                state="done" if plan.next is Next.DONE else "exhausted",
                at_ms=now_ms,
                status=outcome.status,
            )
            self.journal(mark)

    def answered(self, receiver: str, outcome: Outcome, now_ms: int, *, pause_ms: int) -> None:
        """Keep what a receiver's answer says of it as a whole; a recovery brings all forward."""
        with self._transaction() as db:
            if outcome.delivered:
                row = db.execute(
                    "SELECT failures FROM receivers WHERE name = ?", (receiver,)
                ).fetchone()
                if row is not None and row["failures"] >= RECOVERED_AFTER:
                    _bring_forward(db, receiver, now_ms)
                db.execute(
                    # A pause that was asked for outlives this: a fire may pass it, the rest waits.
                    "UPDATE receivers SET failures = 0, failing_since_ms = NULL, error = '',"
                    " last_ok_ms = ? WHERE name = ?",
                    (now_ms, receiver),
                )
                return
            db.execute(
                "UPDATE receivers SET failures = failures + 1, error = ?,"
                " failing_since_ms = COALESCE(failing_since_ms, ?),"
                " not_before_ms = MAX(not_before_ms, ?) WHERE name = ?",
                (outcome.error[:200], now_ms, now_ms + pause_ms if pause_ms else 0, receiver),
            )

    def state(self, receiver: str) -> ReceiverState:
        with self._lock:
            row = self._db.execute(
                "SELECT disabled, not_before_ms, failures FROM receivers WHERE name = ?",
                (receiver,),
            ).fetchone()
        return ReceiverState(*row) if row is not None else ReceiverState("", 0, 0)

    def disable(self, receiver: str, why: str, now_ms: int) -> None:
        """Send nothing more to it; its deliveries are kept."""
        with self._transaction() as db:
            _disable(db, receiver, why)
        self.journal(Switched(receiver=receiver, disabled=why, at_ms=now_ms))

    def enable(self, receiver: str, now_ms: int) -> bool:
        """Send to it again, all that waits first. False when there is no such receiver."""
        with self._transaction() as db:
            known = _enable(db, receiver, now_ms)
        if known:
            self.journal(Switched(receiver=receiver, disabled="", at_ms=now_ms))
        return known

    def note(self, mark: Over | Switched | Added) -> None:
        """Keep what another copy has done; known marks change nothing."""
        with self._transaction() as db:
            if isinstance(mark, Over):
                _over(db, mark)
            elif isinstance(mark, Added):
                _added(db, mark.receiver, mark.at_ms)
            elif mark.disabled:
                _disable(db, mark.receiver, mark.disabled)
            else:
                _enable(db, mark.receiver, mark.at_ms)

    def welcome(self, receiver: str, now_ms: int) -> int:
        """Before delivering from a store that was filled from streams: a receiver that nothing was
        ever delivered to gets of the past what is still open, and the last `FRESH_MS`. Gives how
        many deliveries are left out."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT added_ms FROM receivers WHERE name = ?", (receiver,)
            ).fetchone()
            known_ms = None if row is None else row["added_ms"]
            added_ms = now_ms if known_ms is None else int(known_ms)
            _added(db, receiver, added_ms)
            left_out = _leave_out(db, receiver, added_ms - FRESH_MS)
        if known_ms is None:
            self.journal(Added(receiver=receiver, at_ms=added_ms))
        return left_out

    def resume(self, receiver: str, now_ms: int) -> None:
        """After a start: whatever waits is tried at once, urgent ones with their fast lane."""
        with self._transaction() as db:
            _bring_forward(db, receiver, now_ms)

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


def _bring_forward(db: sqlite3.Connection, receiver: str, now_ms: int) -> None:
    """All that waits is due now, except what the receiver itself refused (4xx)."""
    db.execute(
        "UPDATE deliveries SET next_ms = MIN(next_ms, ?),"
        " first_ms = CASE WHEN urgent THEN ? ELSE first_ms END,"
        " rung = CASE WHEN urgent THEN 0 ELSE rung END"
        " WHERE receiver = ? AND state = 'pending'"
        " AND (status IS NULL OR status = 429 OR status = 410 OR status NOT BETWEEN 400 AND 499)",
        (now_ms, now_ms, receiver),
    )


def _disable(db: sqlite3.Connection, receiver: str, why: str) -> None:
    db.execute("UPDATE receivers SET disabled = ? WHERE name = ?", (why, receiver))


def _enable(db: sqlite3.Connection, receiver: str, now_ms: int) -> bool:
    cursor = db.execute(
        "UPDATE receivers SET disabled = '', not_before_ms = 0, failures = 0 WHERE name = ?",
        (receiver,),
    )
    _bring_forward(db, receiver, now_ms)
    return cursor.rowcount == 1


def _added(db: sqlite3.Connection, receiver: str, at_ms: int) -> None:
    db.execute(
        "UPDATE receivers SET added_ms = ? WHERE name = ? AND added_ms IS NULL", (at_ms, receiver)
    )


def _leave_out(db: sqlite3.Connection, receiver: str, before_ms: int) -> int:
    """Deliveries that wait, of events recorded before then; not the latest of an open alert."""
    gone = db.execute(
        "DELETE FROM deliveries WHERE receiver = ? AND state IN ('pending', 'blocked')"
        " AND seq IN (SELECT seq FROM events WHERE recorded_ms < ?)"
        " AND seq NOT IN (SELECT e.seq FROM alerts a JOIN events e ON e.id = a.event"
        " WHERE a.state <> 'cleared')",
        (receiver, before_ms),
    ).rowcount
    if gone:
        db.execute(
            "UPDATE deliveries SET state = 'pending' WHERE receiver = ? AND state = 'blocked'"
            " AND seq = (SELECT MIN(seq) FROM deliveries d WHERE d.receiver = deliveries.receiver"
            " AND d.alert = deliveries.alert AND d.state IN ('pending', 'blocked'))",
            (receiver,),
        )
    return gone


def _over(db: sqlite3.Connection, mark: Over) -> None:
    """The delivery is over here too; when its event hasn't come yet, it will be when it does."""
    # It has been delivered to before anybody noted since when.
    _added(db, mark.receiver, 0)
    row = db.execute("SELECT seq, alert FROM events WHERE id = ?", (mark.event,)).fetchone()
    if row is None:
        db.execute(
            "INSERT OR REPLACE INTO early_marks VALUES (?, ?, ?, ?, ?)",
            (mark.receiver, mark.event, mark.state, mark.status, mark.at_ms),
        )
        return
    db.execute(
        "UPDATE deliveries SET state = ?, status = ?, done_ms = ? WHERE receiver = ? AND seq = ?"
        " AND state IN ('pending', 'blocked')",
        (mark.state, mark.status, mark.at_ms, mark.receiver, row["seq"]),
    )
    _unblock(db, mark.receiver, row["alert"], mark.at_ms)


def _unblock(db: sqlite3.Connection, receiver: str, alert: str, now_ms: int) -> None:
    """The first that is still to go waits for nobody, unless one of the alert is under way."""
    db.execute(
        "UPDATE deliveries SET state = 'pending', next_ms = ?, first_ms = ?"
        " WHERE receiver = ? AND state = 'blocked' AND seq = (SELECT MIN(seq) FROM deliveries"
        " WHERE receiver = ? AND alert = ? AND state IN ('pending', 'blocked'))",
        (now_ms, now_ms, receiver, receiver, alert),
    )


def _nobody(mark: Mark) -> None:
    """The journal of a dispatch that stands alone."""
    del mark


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        receiver=row["receiver"],
        seq=row["seq"],
        id=row["id"],
        alert=row["alert"],
        severity=row["severity"],
        body=row["body"],
        so_far=Attempts(row["rung"], row["first_ms"], bool(row["urgent"])),
        recorded_ms=row["recorded_ms"],
    )
