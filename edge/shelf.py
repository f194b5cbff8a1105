"""The reading side of the outbox: what to send next. Sees only what is committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from contracts.messages import HeldBoot
from contracts.pack import boot_text

Key = tuple[int, int]
"""(boot, seq)."""
FIRST: Key = (-1, 0)


class Shelf:
    """Reads packs of the gateways; `ids` are their numbers in the file. Used by one thread."""

    def __init__(self, path: Path, ids: Sequence[int]) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA query_only = 1")
        self._db.execute("PRAGMA cache_size = -512")
        self._ids = tuple(ids)

    def after(self, gateway: int, kind: int, key: Key, limit: int) -> list[tuple[int, int, bytes]]:
        """(boot, seq, data) of the next packs of a kind behind `key`, oldest first."""
        return self._db.execute(
            "SELECT boot, seq, data FROM packs WHERE gateway = ? AND kind = ?"
            " AND (boot, seq) > (?, ?) ORDER BY boot, seq LIMIT ?",
            (self._ids[gateway], kind, *key, limit),
        ).fetchall()

    def pack(self, gateway: int, key: Key) -> bytes | None:
        """One pack; None when it is held no longer."""
        row = self._db.execute(
            "SELECT data FROM packs WHERE gateway = ? AND kind IN (0, 1, 2)"
            " AND boot = ? AND seq = ?",
            (self._ids[gateway], *key),
        ).fetchone()
        return None if row is None else row[0]

    def is_empty(self) -> bool:
        return self._db.execute("SELECT 1 FROM packs LIMIT 1").fetchone() is None

    def boots(self, gateway: int, boot: int) -> tuple[HeldBoot, ...]:
        """What is held of each boot that the outbox remembers; `boot` is the running one."""
        number = self._ids[gateway]
        rows = self._db.execute(
            "SELECT boot, next FROM boots WHERE gateway = ? ORDER BY boot", (number,)
        ).fetchall()
        if all(known != boot for known, _ in rows):
            rows.append((boot, 1))
        return tuple(
            HeldBoot(boot=boot_text(known), oldest=self._oldest(number, known, then), next=then)
            for known, then in rows
        )

    def _oldest(self, number: int, boot: int, then: int) -> int:
        """The least sequence held; one look into the index for each kind."""
        found = [
            self._db.execute(
                "SELECT min(seq) FROM packs WHERE gateway = ? AND kind = ? AND boot = ?",
                (number, kind, boot),
            ).fetchone()[0]
            for kind in (0, 1, 2)
        ]
        return min((seq for seq in found if seq is not None), default=then)

    def close(self) -> None:
        self._db.close()
