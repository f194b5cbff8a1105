"""Reading the dispatch store: lists of alerts, one alert, events after a point."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ALERTS = (
    "SELECT a.*, e.body AS body, e.recorded_ms AS recorded_ms"
    " FROM alerts a JOIN events e ON e.id = a.event"
)

_RULES = (
    "SELECT a.rule AS rule, COUNT(*) AS alerts, SUM(a.state <> 'cleared') AS open,"
    " SUM(a.disposition IS 'real') AS \"real\", SUM(a.disposition IS 'false') AS \"false\","
    " SUM(a.disposition IS 'drill') AS drill, SUM(a.delivery = 'inhibited') AS inhibited,"
    " SUM(a.delivery = 'shadow') AS shadow, SUM(a.over_budget) AS over_budget FROM alerts a"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which alerts to list. "" or None = any. from_ms <= raised < to_ms, in event time.

    before: only alerts first recorded before this sequence number; newest come first.
    """

    grid_prefix: str = ""
    families: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    before: int | None = None
    limit: int = 100


class Queries:
    """Read-only; safe for several threads."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, tuple(values)).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        with self._lock:
            return self._db.execute(sql, tuple(values)).fetchone()

    def alerts(self, selection: Selection) -> list[sqlite3.Row]:
        """Rows of `alerts`, each with `body` and `recorded_ms` of its latest event."""
        where, values = _where(selection)
        sql = f"{_ALERTS}{where} ORDER BY a.first_seq DESC LIMIT ?"
        return self.all(sql, [*values, selection.limit])

    def alert(self, name: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.one(f"{_ALERTS} WHERE a.alert = ?", [name])
        return row

    def events_of(self, alert: str, limit: int = 1000) -> list[sqlite3.Row]:
        """(seq, kind, body) of an alert's events and reminders, in the order of recording."""
        return self.all(
            "SELECT seq, kind, body FROM events WHERE alert = ? ORDER BY seq LIMIT ?",
            [alert, limit],
        )

    def events_after(self, seq: int, limit: int = 500) -> list[sqlite3.Row]:
        """(seq, id, kind, body) of all events and reminders behind `seq`."""
        return self.all(
            "SELECT seq, id, kind, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            [seq, limit],
        )

    def rules(self, selection: Selection) -> list[sqlite3.Row]:
        """(rule, alerts, open, real, false, drill, inhibited, shadow, over_budget) of each rule
        that has raised; the last three as their alerts stand now. By rule."""
        where, values = _where(selection)
        return self.all(f"{_RULES}{where} GROUP BY a.rule ORDER BY a.rule", values)

    def judged(self) -> list[tuple[str, str, int]]:
        """(rule, disposition, how many alerts have it now)."""
        rows = self.all(
            "SELECT rule, disposition, COUNT(*) FROM alerts WHERE disposition IS NOT NULL"
            " GROUP BY rule, disposition"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def notices(self, before: int | None, limit: int) -> list[sqlite3.Row]:
        """(seq, body), newest first, those recorded before `before`."""
        return self.all(
            "SELECT seq, body FROM events WHERE kind = 'notice' AND seq < ?"
            " ORDER BY seq DESC LIMIT ?",
            [2**63 - 1 if before is None else before, limit],
        )

    def last_seq(self) -> int:
        return int(self.one("SELECT COALESCE(MAX(seq), 0) FROM events")[0])

    def open_counts(self) -> dict[str, int]:
        """Level as text -> open alerts of that level."""
        rows = self.all(
            "SELECT severity, COUNT(*) FROM alerts WHERE state <> 'cleared' GROUP BY severity"
        )
        return {str(row[0]): int(row[1]) for row in rows}

    def counters(self) -> dict[str, int]:
        return {row["name"]: row["value"] for row in self.all("SELECT * FROM counters")}

    def receivers(self) -> list[sqlite3.Row]:
        """Each receiver with `open`, the number of its unfinished deliveries."""
        return self.all(
            "SELECT r.*, (SELECT COUNT(*) FROM deliveries d WHERE d.receiver = r.name"
            " AND d.state IN ('pending', 'blocked')) AS open FROM receivers r ORDER BY name"
        )


def _where(selection: Selection) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if selection.grid_prefix:
        parts.append("substr(a.grid, 1, ?) = ?")
        values += [len(selection.grid_prefix), selection.grid_prefix]
    for column, wanted in (
        ("family", selection.families),
        ("severity", selection.severities),
        ("state", selection.states),
        ("delivery", selection.deliveries),
        ("rule", selection.rules),
    ):
        if wanted:
            parts.append(f"a.{column} IN ({','.join('?' * len(wanted))})")
            values += list(wanted)
    for test, bound in (
        ("a.raised_ms >= ?", selection.from_ms),
        ("a.raised_ms < ?", selection.to_ms),
        ("a.first_seq < ?", selection.before),
    ):
        if bound is not None:
            parts.append(test)
            values.append(bound)
    return (" WHERE " + " AND ".join(parts) if parts else ""), values
