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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.messages import BootConfirm, Resend
from contracts.pack import MAX_BOOT
from edge.graveyard import GIVEN_UP, Graveyard, Stamp
from edge.intake import Bookmark
from edge.outbox_file import (
    Ballast,
    OutboxError,
    OutboxStuck,
    free_bytes,
    open_file,
    verdict,
)
from edge.pack_table import PackTable, Written
from edge.packer import Closed


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """bytes: of packs held. free_bytes: of the disk that stay free, from where on the outbox
    doesn't grow. ballast_bytes: given up when the disk is full all the same."""

    bytes: int = 256 << 20
    free_bytes: int = 64 << 20
    ballast_bytes: int = 8 << 20


LEAST_BYTES = 1 << 20
"""What the outbox may hold on a disk that is nearly full."""


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


class Outbox:
    """The writing side; used by one thread. The properties may be read by any."""

    def __init__(
        self, path: Path, gateways: Sequence[str], limits: OutboxLimits | None = None
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
        self._db, self._lock = opened.db, opened.lock
        self.moved, self.damaged = opened.moved, opened.damaged
        self.boot = min(opened.counter + 1, MAX_BOOT >> 32) << 32 | secrets.randbits(32)
        self.disk_full = False
        self._frozen_bytes: int | None = None
        self._started = False
        try:
            ids = _know_gateways(self._db, self.gateways, path)
            self._table = PackTable(self._db, self.gateways, ids, self.boot)
        except BaseException:
            self.close()
            raise
        self._graveyard = Graveyard(self._table)
        self._ballast.hold()

    # What others may read.

    @property
    def held_bytes(self) -> int:
        return self._table.counts.held_bytes

    @property
    def evicted_packs(self) -> int:
        """Packs given up over the life of the file."""
        return self._table.counts.evicted_packs

    @property
    def tombstones(self) -> int:
        """Packs made over the life of the file to say what was given up."""
        return self._table.counts.tombstones

    def next_seq(self, gateway: int) -> int:
        return self._table.counts.next_seq[gateway]

    def id_of(self, gateway: int) -> int:
        """The gateway's number in the file."""
        return self._table.ids[gateway]

    def bookmark(self, source: str) -> Bookmark:
        """Where the source is to go on."""
        row = self._db.execute(
            "SELECT cursor, skips FROM cursors WHERE source = ?", (source,)
        ).fetchone()
        if row is None:
            return Bookmark()
        return Bookmark(row[0], msgspec.json.decode(row[1], type=tuple[int, ...]))

    # Writing.

    def write(self, work: Work) -> Written:
        """One transaction. Raises `OutboxStuck` or `OutboxDamaged`; then nothing was changed."""
        written = self._transaction(lambda written: self._write(work, written))
        if self.disk_full and self._frozen_bytes is None:
            self.disk_full = not self._ballast.hold()
        return written

    def give_up_ballast(self) -> None:
        """The first answer to `OutboxStuck`: room on the disk, and a log that starts afresh.

        The room is for giving up and confirming, not for growing into: with a write-ahead log
        that has no room to be copied nothing could ever be given up again.
        """
        self._ballast.release()
        if self._frozen_bytes is None:
            self._frozen_bytes = max(self.held_bytes, LEAST_BYTES)
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            if verdict(error) is None:
                raise

    def relieve(self, need: int, stamp: Stamp, *, for_alarms: bool) -> Written:
        """The second: give up the oldest packs, unless the file has `need` bytes to spare, for
        then more would not help. Alarms go only for the sake of alarms. Raises as `write`."""
        order = GIVEN_UP if for_alarms else GIVEN_UP[:1]

        def make_room(written: Written) -> None:
            if self._spare_bytes() < need:
                self._graveyard.evict(need, order, stamp, written)

        return self._transaction(make_room)

    def look_at_disk(self) -> None:
        """Stop growing when the disk runs low, and grow again when it doesn't."""
        low = free_bytes(self.path.parent) < self.limits.free_bytes
        if low and self._frozen_bytes is None:
            self._frozen_bytes = max(self.held_bytes, LEAST_BYTES)
            self.disk_full = True
        elif not low and self._frozen_bytes is not None and self._ballast.hold():
            self._frozen_bytes = None
            self.disk_full = False

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def _transaction(self, step: Callable[[Written], None]) -> Written:
        before = self._table.counts.copy()
        answered = dict(self._graveyard.answered)
        written = Written()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if not self._started:
                self._table.start_boot()
            step(written)
            self._db.execute("COMMIT")
        except BaseException as error:
            # SQLite may have rolled back by itself: what is in here goes back either way.
            _roll_back(self._db)
            self._table.counts, self._graveyard.answered = before, answered
            known = verdict(error) if isinstance(error, sqlite3.Error) else None
            if known is None:
                raise
            self.disk_full = self.disk_full or isinstance(known, OutboxStuck)
            raise known from error
        self._started = True
        return written

    def _write(self, work: Work, written: Written) -> None:
        table, stamp = self._table, Stamp(work.wall_ms, work.mono_ms)
        for gateway, confirm in work.confirms:
            written.confirmed += table.confirm(gateway, confirm)
        rows = [table.encoded(closed) for closed in work.closed]
        written.seqs = [row.seq for row in rows]
        bound = self._bound()
        over = self.held_bytes + sum(row.size for row in rows) - bound
        if over > 0:
            # In portions, so that a tombstone tells of many packs and not of one.
            self._graveyard.evict(max(over, bound >> 6), GIVEN_UP[:1], stamp, written)
        table.insert(rows, written)
        over = self.held_bytes - bound
        if over > 0:
            # Nothing but alarms is left of the old: the new data goes before them.
            self._graveyard.evict(over, GIVEN_UP, stamp, written)
        for gateway, resend in work.resends:
            self._graveyard.answer(gateway, resend, stamp, written)
        table.save_next({gateway for gateway, _ in written.added})
        if work.bookmark is not None:
            skips = msgspec.json.encode(work.bookmark.skips).decode()
            self._db.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)",
                (work.source, work.bookmark.cursor, skips),
            )

    def _bound(self) -> int:
        frozen = self._frozen_bytes
        return self.limits.bytes if frozen is None else min(frozen, self.limits.bytes)

    def _spare_bytes(self) -> int:
        """Pages of the file that are free for new packs."""
        pages = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages * self._db.execute("PRAGMA page_size").fetchone()[0])


def _know_gateways(db: sqlite3.Connection, gateways: Sequence[str], path: Path) -> list[int]:
    """The number of each gateway in the file. Refuses a file with packs of others."""
    holding = db.execute(
        "SELECT name FROM gateways WHERE EXISTS"
        " (SELECT 1 FROM packs WHERE packs.gateway = gateways.id)"
    ).fetchall()
    strange = [name for (name,) in holding if name not in gateways]
    if strange:
        raise OutboxError(
            f"outbox.path: {path} still holds packs of gateway {strange[0]}; let that gateway "
            "drain it, or give this one another path"
        )
    known = dict(db.execute("SELECT name, id FROM gateways").fetchall())
    missing = [(name,) for name in gateways if name not in known]
    if not missing:
        return [known[name] for name in gateways]
    try:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO gateways(name) VALUES (?)", missing)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(db)
        raise verdict(error) or error from error
    known = dict(db.execute("SELECT name, id FROM gateways").fetchall())
    return [known[name] for name in gateways]


def _roll_back(db: sqlite3.Connection) -> None:
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except sqlite3.Error as error:
        if verdict(error) is None:
            raise
