"""The outbox's tables as the writer's transactions use them: packs, boots, counters."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from contracts.batch import ReadingBatch
from contracts.messages import BootConfirm
from contracts.pack import Evicted, Pack, PackHeader, encode
from edge.packer import Closed


class Kind(IntEnum):
    """Of a pack. Sent from the highest down, evicted from the lowest up."""

    DATA = 0
    TOMBSTONE = 1
    ALARM = 2


@dataclass(slots=True)
class Written:
    """What a transaction did. added: (gateway, kind) of new packs; seqs: one for each closed
    pack that was handed in. evicted: packs that were given up."""

    added: set[tuple[int, Kind]] = field(default_factory=set)
    seqs: list[int] = field(default_factory=list)
    confirmed: int = 0
    evicted: int = 0


class Row(NamedTuple):
    """A pack to be put in; gateway is the agent's row, not the file's number."""

    gateway: int
    kind: Kind
    boot: int
    seq: int
    size: int
    from_ms: int
    to_ms: int
    readings: int
    data: bytes


@dataclass(slots=True)
class Counts:
    """What must go back with a transaction that failed. remembered: tombstones by gateway."""

    next_seq: list[int]
    held_bytes: int = 0
    evicted_packs: int = 0
    tombstones: int = 0
    remembered: dict[int, list[Evicted]] = field(default_factory=dict)

    def copy(self) -> Counts:
        return Counts(
            list(self.next_seq),
            self.held_bytes,
            self.evicted_packs,
            self.tombstones,
            dict(self.remembered),
        )


SHOWN_BOOTS = 4
"""Boots without a pack left that are still named in the status."""
TOLD = "tombstones"
_NOTHING = ReadingBatch.of([])


class PackTable:
    """Statements within the transaction that the outbox has begun."""

    def __init__(
        self, db: sqlite3.Connection, gateways: Sequence[str], ids: Sequence[int], boot: int
    ) -> None:
        self.db = db
        self.gateways = tuple(gateways)
        self.ids = tuple(ids)
        self.boot = boot
        self.counts = self._counted()

    def _counted(self) -> Counts:
        held = self.db.execute("SELECT coalesce(sum(size), 0) FROM packs").fetchone()[0]
        counts = Counts([1] * len(self.ids), int(held), self._meta("evicted"), self._meta(TOLD))
        rows = self.db.execute("SELECT * FROM tombstones ORDER BY gateway, boot, first")
        for number, *rest in rows.fetchall():
            if number in self.ids:
                gateway = self.ids.index(number)
                counts.remembered.setdefault(gateway, []).append(Evicted(*rest))
        return counts

    def _meta(self, key: str) -> int:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def start_boot(self) -> None:
        """The boot exists from its first transaction on; its number is never used again."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES ('boots', ?)", (self.boot >> 32,))
        self.db.executemany(
            "INSERT OR IGNORE INTO boots VALUES (?, ?, 1)",
            [(number, self.boot) for number in self.ids],
        )
        self.db.execute(
            "DELETE FROM boots WHERE NOT EXISTS (SELECT 1 FROM packs WHERE"
            " packs.gateway = boots.gateway AND packs.kind IN (0, 1, 2)"
            " AND packs.boot = boots.boot) AND boot NOT IN (SELECT DISTINCT boot FROM boots"
            " ORDER BY boot DESC LIMIT ?)",
            (SHOWN_BOOTS,),
        )

    def encoded(self, closed: Closed) -> Row:
        """The pack with its sequence."""
        seq = self._take_seq(closed.gateway)
        header = PackHeader(
            self.gateways[closed.gateway],
            self.boot,
            seq,
            closed.wall_ms,
            closed.mono_ms,
            alarm=closed.alarm,
        )
        data = encode(Pack(header, closed.batch, tracks=closed.tracks))
        ts = closed.batch.ts_ms
        kind = Kind.ALARM if closed.alarm else Kind.DATA
        return Row(
            closed.gateway, kind, self.boot, seq, len(data), int(ts.min()), int(ts.max()),
            len(ts), data,
        )  # fmt: skip

    def tombstone(
        self, gateway: int, lost: Sequence[Evicted], *, wall_ms: int, mono_ms: int
    ) -> Row:
        """A pack that says what is gone."""
        seq = self._take_seq(gateway)
        header = PackHeader(
            self.gateways[gateway], self.boot, seq, wall_ms, mono_ms, tombstone=True
        )
        data = encode(Pack(header, _NOTHING, tuple(lost)))
        self.counts.tombstones += 1
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (TOLD, self.counts.tombstones))
        return Row(gateway, Kind.TOMBSTONE, self.boot, seq, len(data), 0, 0, 0, data)

    def _take_seq(self, gateway: int) -> int:
        seq = self.counts.next_seq[gateway]
        self.counts.next_seq[gateway] = seq + 1
        return seq

    def insert(self, rows: Sequence[Row], written: Written) -> None:
        ids = self.ids
        self.db.executemany(
            "INSERT INTO packs(gateway, kind, boot, seq, size, from_ms, to_ms, readings, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(ids[row.gateway], *row[1:]) for row in rows],
        )
        self.counts.held_bytes += sum(row.size for row in rows)
        written.added.update((row.gateway, row.kind) for row in rows)

    def save_next(self, gateways: set[int]) -> None:
        """What the status says of the running boot."""
        self.db.executemany(
            "UPDATE boots SET next = ? WHERE gateway = ? AND boot = ?",
            [(self.counts.next_seq[g], self.ids[g], self.boot) for g in gateways],
        )

    def confirm(self, gateway: int, confirm: BootConfirm) -> int:
        """Forget what ingest has; gives how many packs that were."""
        boot = int(confirm.boot, 16)
        count = 0
        for first, last in ((0, confirm.upto), *confirm.ranges):
            sizes = self.db.execute(
                "DELETE FROM packs WHERE gateway = ? AND kind IN (0, 1, 2) AND boot = ?"
                " AND seq BETWEEN ? AND ? RETURNING size",
                (self.ids[gateway], boot, first, last),
            ).fetchall()
            count += len(sizes)
            self.counts.held_bytes -= sum(size for (size,) in sizes)
        return count

    def held_seqs(self, gateway: int, boot: int, first: int, last: int) -> list[int]:
        rows = self.db.execute(
            "SELECT seq FROM packs WHERE gateway = ? AND kind IN (0, 1, 2) AND boot = ?"
            " AND seq BETWEEN ? AND ? ORDER BY seq",
            (self.ids[gateway], boot, first, last),
        )
        return [seq for (seq,) in rows]
