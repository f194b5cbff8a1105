"""The thread that owns the outbox's file: group commit, confirms, and what to do when it's full."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from contracts.messages import BootConfirm, Resend
from edge.clock import Clock
from edge.graveyard import Stamp
from edge.intake import Intake
from edge.outbox import Outbox, Work
from edge.outbox_file import OutboxStuck
from edge.pack_table import Kind, Written
from edge.packer import ROW_BYTES, Closed

LOOK_MS = 1000
RETRY_MS = 200
RETRY_MOST_MS = 5000
RELIEF_BYTES = 1 << 20
STOP_TRIES = 5

_T = TypeVar("_T")

log = logging.getLogger("gridwarden.edge.writer")


@dataclass(slots=True)
class Figures:
    """What was accepted since the agent was started."""

    packs: int = 0
    readings: int = 0
    commits: int = 0
    confirmed: int = 0
    evicted: int = 0
    stuck: int = 0


class Writer:
    """`run` is a thread; `wake`, `confirm` and `resend` may be called from any.

    added: told after each commit which (gateway, kind) has new packs; changed: told when the
    status has something new to say.
    """

    def __init__(
        self,
        outbox: Outbox,
        intake: Intake,
        clock: Clock,
        *,
        source: str,
        commit_ms: int,
        added: Callable[[Iterable[tuple[int, Kind]]], None],
        changed: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._intake = intake
        self._clock = clock
        self._source = source
        self._commit_s = commit_ms / 1000
        self._added = added
        self._changed = changed
        self._wake = threading.Event()
        self._stopping = False
        self._confirms: deque[tuple[int, BootConfirm]] = deque()
        self._resends: deque[tuple[int, Resend]] = deque()
        self._work = Work(source=source)
        self._retry_ms = 0
        self._look_at_ms = 0
        self.figures = Figures()

    def wake(self) -> None:
        """Commit now."""
        self._wake.set()

    def confirm(self, gateway: int, confirm: BootConfirm) -> None:
        self._confirms.append((gateway, confirm))

    def resend(self, gateway: int, resend: Resend) -> None:
        self._resends.append((gateway, resend))

    def stop(self) -> None:
        """Flush the open packs, commit, and end `run`."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        tries = 0
        while not self._stopping:
            wait_s = self._retry_ms / 1000 if self._retry_ms else self._commit_s
            self._wake.wait(wait_s)
            self._wake.clear()
            self.step()
        while True:
            self.step(flush=True)
            tries = tries + 1 if self._work else 0
            if tries >= STOP_TRIES or not (self._work or self._intake.has_more):
                break
        if self._work.closed:
            rows = sum(len(pack.batch) for pack in self._work.closed)
            log.error("stopped with readings not accepted readings=%d", rows)

    def step(self, *, flush: bool = False) -> None:
        """Gather what there is and commit it."""
        now_ms = self._clock.mono_ms()
        if now_ms >= self._look_at_ms:
            self._look_at_ms = now_ms + LOOK_MS
            self._look_at_disk()
        self._gather(flush=flush)
        if self._work:
            self._commit()
        if self._intake.has_more and not self._work:
            self._wake.set()

    def _look_at_disk(self) -> None:
        was = self._outbox.disk_full
        self._outbox.look_at_disk()
        self._tell_disk(was)

    def _gather(self, *, flush: bool) -> None:
        work = self._work
        # What isn't stored yet still counts in the intake, whose bound holds the source back.
        if not work.closed:
            taken = self._intake.take(flush=flush)
            work.closed = taken.closed
            work.bookmark = taken.bookmark or work.bookmark
        work.confirms = [*work.confirms, *_drained(self._confirms)]
        work.resends = [*work.resends, *_drained(self._resends)]
        work.wall_ms, work.mono_ms = self._clock.wall_ms(), self._clock.mono_ms()

    def _commit(self) -> None:
        was = self._outbox.disk_full
        work = self._work
        try:
            written = self._outbox.write(work)
        except OutboxStuck as stuck:
            self._relieve(stuck)
            self._tell_disk(was)
            return
        self._retry_ms = 0
        self._work = Work(source=self._source)
        self._accepted(work.closed, written)
        self._tell_disk(was)

    def _relieve(self, stuck: OutboxStuck) -> None:
        """Make room and go on at once; where that fails keep the alarms at least, and wait."""
        self.figures.stuck += 1
        if not self._retry_ms:
            log.error("outbox doesn't take packs why=%r; making room", str(stuck))
            self._outbox.give_up_ballast()
            self._retry_ms = RETRY_MS
            self._wake.set()
            return
        work = self._work
        need = sum(len(pack.batch) for pack in work.closed) * ROW_BYTES + RELIEF_BYTES
        try:
            written = self._outbox.relieve(
                need,
                Stamp(work.wall_ms, work.mono_ms),
                for_alarms=any(pack.alarm for pack in work.closed),
            )
            self._accepted([], written)
            self._save_alarms()
            if self._retry_ms == RETRY_MS:
                self._wake.set()
        except OutboxStuck as again:
            log.debug("outbox has no room yet why=%r", str(again))
        self._retry_ms = min(self._retry_ms * 2, RETRY_MOST_MS)

    def _save_alarms(self) -> None:
        """The alarms among what waits, alone. Their rows come again if the agent dies before the
        rest and the bookmark are stored: twice is better than never."""
        work = self._work
        alarms = [pack for pack in work.closed if pack.alarm]
        if not alarms:
            return
        only = Work(closed=alarms, wall_ms=work.wall_ms, mono_ms=work.mono_ms)
        written = self._outbox.write(only)
        work.closed = [pack for pack in work.closed if not pack.alarm]
        self._accepted(alarms, written)

    def _accepted(self, closed: Iterable[Closed], written: Written) -> None:
        closed = list(closed)
        figures = self.figures
        figures.commits += 1
        figures.packs += len(closed)
        figures.readings += sum(len(pack.batch) for pack in closed)
        figures.confirmed += written.confirmed
        if written.evicted:
            figures.evicted += written.evicted
            log.warning("outbox full, oldest packs given up packs=%d", written.evicted)
            self._changed()
        if closed:
            self._intake.stored(closed)
        if written.added:
            self._added(written.added)

    def _tell_disk(self, was: bool) -> None:
        if self._outbox.disk_full != was:
            level = logging.ERROR if self._outbox.disk_full else logging.INFO
            log.log(level, "disk full=%s", self._outbox.disk_full)
            self._changed()


def _drained(queue: deque[_T]) -> list[_T]:
    """Everything that is in the queue now."""
    return [queue.popleft() for _ in range(len(queue))]
