"""The on-disk outbox: packs wait here until ingest has confirmed them. SQLite, WAL, FULL.

One writer (`Outbox.write`, a transaction with one sync) and readers (`edge.shelf.Shelf`). What
`write` has returned from is accepted: a power cut does not take it. A transaction that the disk
doesn't take raises `OutboxStuck` and changes nothing, in the file or in here.

When the bound is reached the oldest packs go, alarms only when nothing else is left, and a
tombstone pack says which sequences went. Tombstones that were not sent yet are folded into the
next one, so that a month without a link doesn't fill the outbox with them.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from contracts.batch import ReadingBatch
from contracts.messages import BootConfirm, Resend
from contracts.pack import Evicted, Pack, PackHeader, decode, encode
from edge.intake import Bookmark
from edge.outbox_file import (
    Ballast,
    OutboxError,
    OutboxStuck,
    free_bytes,
    open_file,
    verdict,
)
from edge.packer import Closed
from edge.tombstones import Span, answer, merge, without


class Kind(IntEnum):
    """Of a pack. Sent from the highest down, evicted from the lowest up."""

    DATA = 0
    TOMBSTONE = 1
    ALARM = 2


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """bytes: of packs held. free_bytes: of the disk that stay free, from where on the outbox
    doesn't grow. ballast_bytes: given up when the disk is full all the same."""

    bytes: int = 256 << 20
    free_bytes: int = 64 << 20
    ballast_bytes: int = 8 << 20


REMEMBERED = 1024
"""Tombstone ranges per gateway that are remembered for later questions."""
SHOWN_BOOTS = 4
"""Boots without a pack left that are still named in the status."""
ANSWERED = 1024
ROWS_AT_ONCE = 512

_NOTHING = ReadingBatch.of([])


@dataclass(slots=True)
class Work:
    """One transaction. confirms, resends: with the row of their gateway. The clocks stamp
    tombstones."""

    closed: Sequence[Closed] = ()
    bookmark: Bookmark | None = None
    source: str = ""
    confirms: Sequence[tuple[int, BootConfirm]] = ()
    resends: Sequence[tuple[int, Resend]] = ()
    wall_ms: int = 0
    mono_ms: int = 0

    def __bool__(self) -> bool:
        return bool(self.closed or self.bookmark or self.confirms or self.resends)


@dataclass(slots=True)
class Written:
    """What a transaction did. added: (gateway, kind) of new packs; seqs: one for each of
    `Work.closed`. evicted: packs that were given up."""

    added: set[tuple[int, Kind]] = field(default_factory=set)
    seqs: list[int] = field(default_factory=list)
    confirmed: int = 0
    evicted: int = 0


class _Row(NamedTuple):
    gateway: int
    kind: int
    boot: int
    seq: int
    size: int
    from_ms: int
    to_ms: int
    readings: int
    data: bytes


@dataclass(slots=True)
class _Counts:
    """What must go back with a transaction that failed."""

    next_seq: list[int]
    held_bytes: int
    evicted_packs: int
    remembered: dict[int, list[Evicted]]

    def copy(self) -> _Counts:
        return _Counts(
            list(self.next_seq), self.held_bytes, self.evicted_packs, dict(self.remembered)
        )


class Outbox:
    """The writing side; used by one thread. The counters may be read by any."""

    def __init__(
        self,
        path: Path,
        gateways: Sequence[str],
        limits: OutboxLimits | None = None,
    ) -> None:
        """Open or make the file. Raises `OutboxError` (wrong use), `OutboxStuck` (try again)."""
        self.path = path
        self.gateways = tuple(gateways)
        self.limits = limits or OutboxLimits()
        self._ballast = Ballast(path.with_name(path.name + ".ballast"), self.limits.ballast_bytes)
        try:
            opened = open_file(path)
        except OutboxStuck:
            self._ballast.release()
            opened = open_file(path)
        self._db, self._lock, self.moved = opened.db, opened.lock, opened.moved
        self.counter = opened.counter + 1
        self.boot = self.counter << 32 | secrets.randbits(32)
        self.disk_full = False
        self._frozen_bytes: int | None = None
        self._started = False
        self._answered: dict[tuple[int, int, int, int], int] = {}
        try:
            self._ids = self._know_gateways()
            self._now = self._recount()
        except BaseException:
            self.close()
            raise
        self._ballast.hold()

    # What others may read.

    @property
    def held_bytes(self) -> int:
        return self._now.held_bytes

    @property
    def evicted_packs(self) -> int:
        """Packs given up over the life of the file, as far as it remembers."""
        return self._now.evicted_packs

    def next_seq(self, gateway: int) -> int:
        return self._now.next_seq[gateway]

    def id_of(self, gateway: int) -> int:
        """The gateway's number in the file."""
        return self._ids[gateway]

    def bookmark(self, source: str) -> Bookmark:
        """Where the source is to go on."""
        row = self._db.execute(
            "SELECT cursor, skips FROM cursors WHERE source = ?", (source,)
        ).fetchone()
        if row is None:
            return Bookmark()
        skips = msgspec.json.decode(row[1], type=tuple[int, ...])
        if len(skips) != len(self.gateways):
            return Bookmark(row[0], tuple([0] * len(self.gateways)))
        return Bookmark(row[0], skips)

    # Writing.

    def write(self, work: Work) -> Written:
        """One transaction. Raises `OutboxStuck` or `OutboxDamaged`; then nothing was changed."""
        before = self._now.copy()
        answered = dict(self._answered)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            written = self._write(work)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._now, self._answered = before, answered
            self._roll_back()
            if isinstance(error, sqlite3.Error) and (known := verdict(error)):
                self.disk_full = True
                raise known from error
            raise
        self._started = True
        if self.disk_full and self._frozen_bytes is None:
            self.disk_full = not self._ballast.hold()
        return written

    def relieve(self, need: int, wall_ms: int, mono_ms: int) -> Written:
        """After `OutboxStuck`: give up the ballast, then the oldest packs. Raises as `write`."""
        self._ballast.release()
        before = self._now.copy()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            written = Written()
            self._evict(max(need, 1), Work(wall_ms=wall_ms, mono_ms=mono_ms), written)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._now = before
            self._roll_back()
            if isinstance(error, sqlite3.Error) and (known := verdict(error)):
                raise known from error
            raise
        self._started = True
        return written

    def look_at_disk(self) -> None:
        """Stop growing when the disk runs low, and grow again when it doesn't."""
        low = free_bytes(self.path.parent) < self.limits.free_bytes
        if low and self._frozen_bytes is None:
            self._frozen_bytes = max(self._now.held_bytes, 1 << 20)
            self.disk_full = True
        elif not low and self._frozen_bytes is not None:
            self._frozen_bytes = None
            self.disk_full = not self._ballast.hold()

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            if verdict(error) is None:
                raise

    def _write(self, work: Work) -> Written:
        written = Written()
        if not self._started:
            self._start_boot()
        for gateway, confirm in work.confirms:
            written.confirmed += self._confirm(gateway, confirm)
        rows = [self._encoded(closed, written) for closed in work.closed]
        over = self._now.held_bytes + sum(row.size for row in rows) - self._bound()
        if over > 0:
            self._evict(max(over, self._bound() >> 6), work, written)
        self._insert(rows, written)
        for gateway, resend in work.resends:
            self._answer(gateway, resend, work, written)
        self._save_next({gateway for gateway, _ in written.added})
        if work.bookmark is not None:
            skips = msgspec.json.encode(work.bookmark.skips).decode()
            self._db.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)",
                (work.source, work.bookmark.cursor, skips),
            )
        return written

    def _bound(self) -> int:
        frozen = self._frozen_bytes
        return self.limits.bytes if frozen is None else min(frozen, self.limits.bytes)

    def _encoded(self, closed: Closed, written: Written) -> _Row:
        seq = self._take_seq(closed.gateway)
        written.seqs.append(seq)
        header = PackHeader(
            self.gateways[closed.gateway],
            self.boot,
            seq,
            closed.wall_ms,
            closed.mono_ms,
            alarm=closed.alarm,
        )
        data = encode(Pack(header, closed.batch))
        ts = closed.batch.ts_ms
        kind = Kind.ALARM if closed.alarm else Kind.DATA
        return _Row(
            closed.gateway, kind, self.boot, seq, len(data), int(ts.min()), int(ts.max()),
            len(ts), data,
        )  # fmt: skip

    def _take_seq(self, gateway: int) -> int:
        seq = self._now.next_seq[gateway]
        self._now.next_seq[gateway] = seq + 1
        return seq

    def _insert(self, rows: Sequence[_Row], written: Written) -> None:
        ids = self._ids
        self._db.executemany(
            "INSERT INTO packs(gateway, kind, boot, seq, size, from_ms, to_ms, readings, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(ids[row.gateway], *row[1:]) for row in rows],
        )
        self._now.held_bytes += sum(row.size for row in rows)
        written.added.update((row.gateway, Kind(row.kind)) for row in rows)

    def _start_boot(self) -> None:
        """The boot exists from its first transaction on; its number is never used again."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('boots', ?)", (self.counter,))
        self._db.executemany(
            "INSERT OR IGNORE INTO boots VALUES (?, ?, ?)",
            [(self._ids[g], self.boot, 1) for g in range(len(self.gateways))],
        )
        self._db.execute(
            "DELETE FROM boots WHERE NOT EXISTS (SELECT 1 FROM packs WHERE"
            " packs.gateway = boots.gateway AND packs.kind IN (0, 1, 2)"
            " AND packs.boot = boots.boot) AND boot NOT IN (SELECT DISTINCT boot FROM boots"
            " ORDER BY boot DESC LIMIT ?)",
            (SHOWN_BOOTS,),
        )

    def _save_next(self, gateways: set[int]) -> None:
        self._db.executemany(
            "UPDATE boots SET next = ? WHERE gateway = ? AND boot = ?",
            [(self._now.next_seq[g], self._ids[g], self.boot) for g in gateways],
        )

    def _confirm(self, gateway: int, confirm: BootConfirm) -> int:
        boot = int(confirm.boot, 16)
        spans = [(0, confirm.upto), *confirm.ranges]
        count = 0
        for first, last in spans:
            sizes = self._db.execute(
                "DELETE FROM packs WHERE gateway = ? AND kind IN (0, 1, 2) AND boot = ?"
                " AND seq BETWEEN ? AND ? RETURNING size",
                (self._ids[gateway], boot, first, last),
            ).fetchall()
            count += len(sizes)
            self._now.held_bytes -= sum(size for (size,) in sizes)
        return count

    # Giving up.

    def _evict(self, need: int, work: Work, written: Written) -> None:
        gone: dict[int, list[Evicted]] = defaultdict(list)
        gateway_of = {number: g for g, number in enumerate(self._ids)}
        freed = 0
        for kinds in ((Kind.DATA, Kind.TOMBSTONE), (Kind.ALARM,)):
            while freed < need:
                rows = self._oldest(kinds, need - freed)
                if not rows:
                    break
                for row in rows:
                    gateway = gateway_of[row[1]]
                    gone[gateway] += self._epitaph(row)
                    freed += row[5]
                self._db.executemany("DELETE FROM packs WHERE id = ?", [(row[0],) for row in rows])
                written.evicted += sum(row[2] != Kind.TOMBSTONE for row in rows)
        self._now.held_bytes -= freed
        self._now.evicted_packs += written.evicted
        self._db.execute(
            "INSERT OR REPLACE INTO meta VALUES ('evicted', ?)", (self._now.evicted_packs,)
        )
        for gateway, ranges in gone.items():
            lost = merge(ranges)
            self._bury(gateway, lost, work, written)
            self._remember(gateway, lost)

    def _oldest(self, kinds: Sequence[Kind], need: int) -> list[tuple[int, ...]]:
        """(id, gateway, kind, boot, seq, size, from_ms, to_ms, readings), enough for `need`."""
        wanted = ",".join(str(int(kind)) for kind in kinds)
        rows = self._db.execute(
            "SELECT id, gateway, kind, boot, seq, size, from_ms, to_ms, readings FROM packs"  # noqa: S608
            f" WHERE kind IN ({wanted}) ORDER BY id LIMIT {ROWS_AT_ONCE}"
        ).fetchall()
        sizes = np.cumsum([row[5] for row in rows])
        enough = int(np.searchsorted(sizes, need)) + 1
        return rows[:enough]

    def _epitaph(self, row: tuple[int, ...]) -> list[Evicted]:
        """What a pack held; for a tombstone also what it told of."""
        number, _, kind, boot, seq, _, from_ms, to_ms, readings = row
        own = Evicted(boot, seq, seq, from_ms, to_ms, readings)
        if kind != Kind.TOMBSTONE:
            return [own]
        data = self._db.execute("SELECT data FROM packs WHERE id = ?", (number,)).fetchone()[0]
        return [own, *decode(data).evicted]

    def _bury(self, gateway: int, lost: Sequence[Evicted], work: Work, written: Written) -> int:
        """Put a tombstone pack into the outbox; gives its sequence."""
        seq = self._take_seq(gateway)
        header = PackHeader(
            self.gateways[gateway], self.boot, seq, work.wall_ms, work.mono_ms, tombstone=True
        )
        data = encode(Pack(header, _NOTHING, tuple(lost)))
        told = [row for row in lost if row.readings]
        from_ms = min((row.from_ms for row in told), default=0)
        to_ms = max((row.to_ms for row in told), default=0)
        row = _Row(gateway, Kind.TOMBSTONE, self.boot, seq, len(data), from_ms, to_ms, 0, data)
        self._insert([row], written)
        self._save_next({gateway})
        return seq

    def _remember(self, gateway: int, lost: Sequence[Evicted]) -> None:
        known = merge([*self._now.remembered.get(gateway, ()), *lost])[-REMEMBERED:]
        self._now.remembered[gateway] = known
        number = self._ids[gateway]
        self._db.execute("DELETE FROM tombstones WHERE gateway = ?", (number,))
        self._db.executemany(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(number, e.boot, e.first, e.last, e.from_ms, e.to_ms, e.readings) for e in known],
        )

    def _answer(self, gateway: int, resend: Resend, work: Work, written: Written) -> None:
        """A tombstone for what was asked for and is gone; what is held is sent again anyway."""
        boot = int(resend.boot, 16)
        newest = self._newest(gateway, boot)
        asked = [Span(max(1, a), min(b, newest)) for a, b in resend.ranges]
        gone = [
            span
            for ask in asked
            if ask.first <= ask.last
            for span in without([ask], self._held_seqs(gateway, boot, ask))
        ]
        fresh = [s for s in gone if not self._is_answered(gateway, boot, s)]
        if not fresh:
            return
        rows = answer(boot, fresh, self._now.remembered.get(gateway, ()))
        seq = self._bury(gateway, rows, work, written)
        if len(self._answered) > ANSWERED:
            self._answered.clear()
        self._answered.update({(gateway, boot, s.first, s.last): seq for s in fresh})

    def _newest(self, gateway: int, boot: int) -> int:
        """The last sequence that can be asked for; a boot that is over has no more to come."""
        return self._now.next_seq[gateway] - 1 if boot == self.boot else 2**63 - 1

    def _held_seqs(self, gateway: int, boot: int, span: Span) -> list[int]:
        rows = self._db.execute(
            "SELECT seq FROM packs WHERE gateway = ? AND kind IN (0, 1, 2) AND boot = ?"
            " AND seq BETWEEN ? AND ? ORDER BY seq",
            (self._ids[gateway], boot, span.first, span.last),
        )
        return [seq for (seq,) in rows]

    def _is_answered(self, gateway: int, boot: int, span: Span) -> bool:
        seq = self._answered.get((gateway, boot, span.first, span.last))
        if seq is None:
            return False
        return bool(self._held_seqs(gateway, self.boot, Span(seq, seq)))

    # Opening.

    def _know_gateways(self) -> list[int]:
        """The number of each gateway in the file. Refuses a file with packs of others."""
        db = self._db
        strange = [
            name
            for (name,) in db.execute(
                "SELECT name FROM gateways WHERE EXISTS"
                " (SELECT 1 FROM packs WHERE packs.gateway = gateways.id)"
            )
            if name not in self.gateways
        ]
        if strange:
            raise OutboxError(
                f"outbox.path: {self.path} still holds packs of gateway {strange[0]}; let that "
                "gateway drain it, or give this one another path"
            )
        known = dict(db.execute("SELECT name, id FROM gateways").fetchall())
        missing = [name for name in self.gateways if name not in known]
        if missing:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO gateways(name) VALUES (?)", [(n,) for n in missing])
                db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise verdict(error) or error from None
            known = dict(db.execute("SELECT name, id FROM gateways").fetchall())
        return [known[name] for name in self.gateways]

    def _recount(self) -> _Counts:
        db = self._db
        held = db.execute("SELECT coalesce(sum(size), 0) FROM packs").fetchone()[0]
        evicted = db.execute("SELECT value FROM meta WHERE key = 'evicted'").fetchone()
        remembered: dict[int, list[Evicted]] = defaultdict(list)
        gateway_of = {number: g for g, number in enumerate(self._ids)}
        for number, *rest in db.execute("SELECT * FROM tombstones ORDER BY gateway, boot, first"):
            if number in gateway_of:
                remembered[gateway_of[number]].append(Evicted(*rest))
        return _Counts(
            [1] * len(self.gateways), int(held), int(evicted[0]) if evicted else 0, dict(remembered)
        )
