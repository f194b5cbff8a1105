"""Between the source's thread and the writer's: packers, what waits for a commit, and how far
the source has got, so that packs and cursor are stored in one transaction.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.clock import Clock
from edge.packer import Closed, Packer, PackLimits
from edge.sources import Drawn

MAX_WAITING_ROWS = 200_000
"""Rows drawn and not yet stored (24 bytes each); the source waits when there are more."""
PORTION_ROWS = 50_000
"""Rows of one transaction, about a MiB: on a disk that is nearly full all that waits would
never fit at once."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far the stored packs go: everything up to `cursor`, and `skips[g]` rows of gateway g
    after it. Rows of several gateways are packed at different times, hence the counts."""

    cursor: bytes | None = None
    skips: tuple[int, ...] = ()


@dataclass(slots=True)
class _Entry:
    cursor: bytes | None
    gateway: int
    rows: int
    open: int


class Progress:
    """Turns "n rows of gateway g were packed" into bookmarks."""

    def __init__(self, gateways: int, resume: Bookmark) -> None:
        self._cursor = resume.cursor
        self._skips = list(resume.skips) or [0] * gateways
        self._owed = list(self._skips)
        self._drawn: deque[_Entry] = deque()
        self._open: list[deque[_Entry]] = [deque() for _ in range(gateways)]

    def drew(self, drawn: Drawn) -> Drawn:
        """Note a batch; gives it without the rows that were stored before a restart."""
        rows = len(drawn.batch)
        # A source without cursors starts at "now": it repeats nothing that could be skipped.
        known = 0 if drawn.cursor is None else min(rows, self._owed[drawn.gateway])
        self._owed[drawn.gateway] -= known
        entry = _Entry(drawn.cursor, drawn.gateway, rows, rows - known)
        self._drawn.append(entry)
        if entry.open:
            self._open[drawn.gateway].append(entry)
        self._settle()
        if not known:
            return drawn
        rest = drawn.batch.take(np.arange(known, rows))
        return Drawn(rest, drawn.cursor, drawn.gateway, drawn.tracks)

    def packed(self, gateway: int, rows: int) -> None:
        waiting = self._open[gateway]
        while rows:
            entry = waiting[0]
            taken = min(rows, entry.open)
            entry.open -= taken
            if entry.cursor is not None:
                self._skips[gateway] += taken
            rows -= taken
            if not entry.open:
                waiting.popleft()
        self._settle()

    def bookmark(self) -> Bookmark:
        return Bookmark(self._cursor, tuple(self._skips))

    def _settle(self) -> None:
        while self._drawn and not self._drawn[0].open:
            entry = self._drawn.popleft()
            if entry.cursor is not None:
                self._cursor = entry.cursor
                self._skips[entry.gateway] -= entry.rows


@dataclass(slots=True)
class Taken:
    """Closed packs, and the bookmark that is true once they are stored."""

    closed: list[Closed] = field(default_factory=list)
    bookmark: Bookmark | None = None


class Intake:
    """`offer` is the source's side, `take` and `stored` are the writer's.

    wake: called when an alarm waits or the bound is reached, so that the writer commits at once.
    """

    def __init__(
        self,
        *,
        gateways: int,
        limits: PackLimits,
        resume: Bookmark,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._packers = [Packer(g, limits) for g in range(gateways)]
        self._progress = Progress(gateways, resume)
        self._said = resume
        self._clock = clock
        self._wake = wake
        self._room = threading.Condition()
        self._closed: deque[tuple[Closed, Bookmark]] = deque()
        self._waiting_rows = 0
        self._stopping = False

    def offer(self, drawn: Drawn) -> bool:
        """Take a batch, waiting for room. False when the agent is stopping: it wasn't taken."""
        with self._room:
            while self._waiting_rows >= MAX_WAITING_ROWS and not self._stopping:
                self._wake()
                self._room.wait(1.0)
            if self._stopping:
                return False
            fresh = self._progress.drew(drawn)
            self._waiting_rows += len(fresh.batch)
            packer = self._packers[drawn.gateway]
            clock = self._clock
            wall_ms, mono_ms = clock.wall_ms(), clock.mono_ms()
            if fresh.tracks and len(fresh.batch):
                closed = packer.add_tracks(fresh.batch, fresh.tracks, wall_ms, mono_ms)
            else:
                closed = packer.add(fresh.batch, wall_ms, mono_ms)
            self._note(closed)
        if any(pack.alarm or pack.tracks for pack in closed):
            self._wake()
        return True

    def take(self, *, flush: bool = False) -> Taken:
        """A portion of what is closed by now; with `flush` every open pack is closed first.

        The bookmark is that of the portion's end.
        """
        wall_ms, mono_ms = self._clock.wall_ms(), self._clock.mono_ms()
        with self._room:
            for packer in self._packers:
                self._note(packer.flush() if flush else packer.due(wall_ms, mono_ms))
            closed, bookmark = self._portion()
            if bookmark == self._said:
                return Taken(closed)
            self._said = bookmark
            return Taken(closed, bookmark)

    def _portion(self) -> tuple[list[Closed], Bookmark]:
        closed: list[Closed] = []
        rows = 0
        while self._closed and rows < PORTION_ROWS:
            pack, bookmark = self._closed.popleft()
            closed.append(pack)
            rows += len(pack.batch)
        return closed, bookmark if self._closed else self._progress.bookmark()

    @property
    def has_more(self) -> bool:
        """Whether packs are closed that no portion had room for."""
        return bool(self._closed)

    def stored(self, closed: Sequence[Closed]) -> None:
        """These packs are in the outbox: their memory is free."""
        with self._room:
            self._waiting_rows -= sum(len(pack.batch) for pack in closed)
            self._room.notify_all()

    def is_empty(self) -> bool:
        """Whether everything that was drawn is stored."""
        with self._room:
            return self._waiting_rows == 0

    def stop(self) -> None:
        """Refuse what comes from now on."""
        with self._room:
            self._stopping = True
            self._room.notify_all()

    def _note(self, closed: list[Closed]) -> None:
        for pack in closed:
            self._progress.packed(pack.gateway, len(pack.batch))
            self._closed.append((pack, self._progress.bookmark()))
