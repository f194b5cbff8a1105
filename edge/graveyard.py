"""What the outbox gave up: eviction, tombstones, and answers about sequences that are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.messages import Resend
from contracts.pack import MAX_SEQ, Evicted, decode
from edge.pack_table import Kind, PackTable, Written
from edge.tombstones import Span, answer, merge, without

GIVEN_UP = ((Kind.DATA, Kind.TOMBSTONE), (Kind.ALARM,))
"""In this order; of each group the oldest first."""
REMEMBERED = 1024
"""Tombstone ranges per gateway that are remembered for later questions."""
ANSWERED = 1024
ROWS_AT_ONCE = 512
FOLDED_BYTES = 32 << 10
"""Tombstones of this size are left as they are: they tell of many ranges."""

_KINDS = {
    (Kind.DATA, Kind.TOMBSTONE): "kind < 2",
    (Kind.ALARM,): "kind = 2",
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """The two clocks for a tombstone's header."""

    wall_ms: int
    mono_ms: int


class Graveyard:
    """Works within the transaction that the outbox has begun."""

    def __init__(self, table: PackTable) -> None:
        self._table = table
        self.answered: dict[tuple[int, int, int, int], int] = {}

    def evict(
        self,
        need: int,
        order: Sequence[tuple[Kind, ...]],
        stamp: Stamp,
        written: Written,
    ) -> None:
        """Give up packs of at least `need` bytes where there are so many, with a tombstone."""
        table = self._table
        gone: dict[int, list[Evicted]] = defaultdict(list)
        freed = packs = 0
        for kinds in order:
            while freed < need:
                rows = self._oldest(kinds, need - freed)
                if not rows:
                    break
                for row in rows:
                    gone[table.ids.index(row[1])] += self._epitaph(row)
                    freed += row[5]
                table.db.executemany("DELETE FROM packs WHERE id = ?", [(row[0],) for row in rows])
                packs += sum(row[2] != Kind.TOMBSTONE for row in rows)
        if not freed:
            return
        table.counts.held_bytes -= freed
        written.evicted += packs
        self._count(packs)
        for gateway, ranges in gone.items():
            lost = merge(ranges)
            self._bury(gateway, lost, stamp, written)
            self._remember(gateway, lost)

    def _count(self, evicted: int) -> None:
        counts = self._table.counts
        counts.evicted_packs += evicted
        self._table.db.execute(
            "INSERT OR REPLACE INTO meta VALUES ('evicted', ?)", (counts.evicted_packs,)
        )

    def _oldest(self, kinds: tuple[Kind, ...], need: int) -> list[tuple[int, ...]]:
        """(id, gateway, kind, boot, seq, size, from_ms, to_ms, readings), enough for `need`."""
        rows = self._table.db.execute(
            "SELECT id, gateway, kind, boot, seq, size, from_ms, to_ms, readings FROM packs"  # noqa: S608
            f" WHERE {_KINDS[kinds]} ORDER BY id LIMIT {ROWS_AT_ONCE}"
        ).fetchall()
        sizes = np.cumsum([row[5] for row in rows])
        return rows[: int(np.searchsorted(sizes, need)) + 1]

    def _epitaph(self, row: tuple[int, ...]) -> list[Evicted]:
        """What a pack held; for a tombstone also what it told of."""
        number, _, kind, boot, seq, _, from_ms, to_ms, readings = row
        own = Evicted(boot, seq, seq, from_ms, to_ms, readings)
        if kind != Kind.TOMBSTONE:
            return [own]
        data = self._table.db.execute("SELECT data FROM packs WHERE id = ?", (number,)).fetchone()
        return [own, *decode(data[0]).evicted]

    def _bury(self, gateway: int, lost: Sequence[Evicted], stamp: Stamp, written: Written) -> int:
        """Put a tombstone pack into the outbox, with what held ones tell; gives its sequence."""
        table = self._table
        held = table.db.execute(
            "SELECT id, gateway, kind, boot, seq, size, from_ms, to_ms, readings FROM packs"
            " WHERE gateway = ? AND kind = 1 AND size < ?",
            (table.ids[gateway], FOLDED_BYTES),
        ).fetchall()
        told = [row for old in held for row in self._epitaph(old)]
        table.db.executemany("DELETE FROM packs WHERE id = ?", [(old[0],) for old in held])
        table.counts.held_bytes -= sum(old[5] for old in held)
        row = table.tombstone(
            gateway, merge([*lost, *told]), wall_ms=stamp.wall_ms, mono_ms=stamp.mono_ms
        )
        table.insert([row], written)
        table.save_next({gateway})
        gone = {(old[3], old[4]) for old in held}
        for question, seq in self.answered.items():
            if question[0] == gateway and (table.boot, seq) in gone:
                self.answered[question] = row.seq
        return row.seq

    def _remember(self, gateway: int, lost: Sequence[Evicted]) -> None:
        table = self._table
        known = merge([*table.counts.remembered.get(gateway, ()), *lost])[-REMEMBERED:]
        table.counts.remembered[gateway] = known
        number = table.ids[gateway]
        table.db.execute("DELETE FROM tombstones WHERE gateway = ?", (number,))
        table.db.executemany(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(number, e.boot, e.first, e.last, e.from_ms, e.to_ms, e.readings) for e in known],
        )

    def answer(self, gateway: int, resend: Resend, stamp: Stamp, written: Written) -> None:
        """A tombstone for what was asked for and is gone; what is held is sent again anyway."""
        table, boot = self._table, int(resend.boot, 16)
        # A boot that is over has no more to come: what it never sent is gone as well.
        newest = table.counts.next_seq[gateway] - 1 if boot == table.boot else MAX_SEQ
        asked = [Span(max(1, first), min(last, newest)) for first, last in resend.ranges]
        gone = [
            span
            for ask in asked
            if ask.first <= ask.last
            for span in without([ask], table.held_seqs(gateway, boot, ask.first, ask.last))
        ]
        fresh = [span for span in gone if not self._is_answered(gateway, boot, span)]
        if not fresh:
            return
        rows = answer(boot, fresh, table.counts.remembered.get(gateway, ()))
        seq = self._bury(gateway, rows, stamp, written)
        if len(self.answered) > ANSWERED:
            self.answered.clear()
        self.answered.update({(gateway, boot, s.first, s.last): seq for s in fresh})

    def _is_answered(self, gateway: int, boot: int, span: Span) -> bool:
        """Whether a tombstone that says so is still on its way."""
        seq = self.answered.get((gateway, boot, span.first, span.last))
        return seq is not None and bool(self._table.held_seqs(gateway, self._table.boot, seq, seq))
