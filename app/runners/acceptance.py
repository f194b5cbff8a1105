"""The accepting half of the embedded runner: broker -> log -> acknowledgement -> engine.

One thread owns it. What the log doesn't have is never acknowledged; what it has is confirmed at
once, before the engine looks at it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from app.metrics import Metrics
from contracts.log import LogRecord
from contracts.messages import OperatorCommand
from ingest.acceptor import Accepted, Acceptor
from ingest.message import Message
from ingest.storage import StoreBusy, StoreFailed, StoreFull

IDLE_MARK_MS = 1_000
RESEND_EVERY_MS = 1_000
FULL_PAUSE_S = 0.5
HAND_OVER_S = 0.5
GROUP_MESSAGES = 400


class Inlet(Protocol):
    """Where messages come from; `ingest.subscriber.Subscriber` and the tests' inlets."""

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = ...) -> list[Message]: ...

    def ack(self, messages: Iterable[Message]) -> None: ...

    def publish(self, topic: str, payload: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """commit_ms: gather time of a group. mark_ms: time marks while something waits."""

    commit_ms: int
    mark_ms: int


class Acceptance:
    """Loops until told to stop. `engine_due_ms(position)` is when the engine next wants a time
    mark; position: of the last one."""

    def __init__(
        self,
        inlet: Inlet,
        acceptor: Acceptor,
        outlet: queue.Queue[list[LogRecord]],
        *,
        timing: Timing,
        clock: Callable[[], int],
        engine_due_ms: Callable[[int], int | None],
        on_full: Callable[[], None],
        metrics: Metrics,
        log: structlog.stdlib.BoundLogger,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """ended: the server is stopping, and perhaps nobody takes records any more."""
        self._inlet, self._acceptor, self._outlet = inlet, acceptor, outlet
        self._timing, self._clock, self._due_ms = timing, clock, engine_due_ms
        self._on_full, self._metrics, self._log, self._ended = on_full, metrics, log, ended
        self._cut = False
        self._order = threading.Lock()
        self._marked_ms = 0
        self._marked = 0
        self._resent_ms = 0
        self.disk_full = False

    def submit(self, command: OperatorCommand) -> None:
        """From any thread: returns when the command is in the log, at its own position.

        Raises `StoreFull`, `StoreFailed`: then it was not taken and may be sent again.
        """
        self._in_order(lambda: [self._acceptor.append_command(command)])

    def append_scores(self, packs: list[Message]) -> None:
        """The same for packs of the server's own detectors; those that the log has are dropped."""
        self._in_order(lambda: self._acceptor.accept(packs, inner=True).records)

    def change_rules(self, name: str, content: bytes, after_ms: int) -> None:
        """The same for rules that come into force so long after now."""
        self._in_order(lambda: [self._acceptor.append_rules(name, content, after_ms)])

    def _in_order(self, append: Callable[[], list[LogRecord]]) -> None:
        """The engine gets records in the order of their positions, whoever appends them."""
        with self._order:
            records = append()
            if records:
                self._hand_over(records)

    def _hand_over(self, records: list[LogRecord]) -> None:
        """Wait for room. At the end the log has what found none, and the next start reads it;
        nothing may be handed over behind such a cut."""
        while not self._cut:
            try:
                self._outlet.put(records, timeout=HAND_OVER_S)
                return
            except queue.Full:
                self._cut = self._ended()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Returns when `stopping()`; what was taken by then is in the log and acknowledged."""
        while not stopping():
            messages = self._inlet.take(
                GROUP_MESSAGES, self._timing.mark_ms, self._timing.commit_ms
            )
            self._commit(messages, stopping)
            self._ask_for_missing()

    def _commit(self, messages: list[Message], stopping: Callable[[], bool]) -> None:
        """The same group again and again while the disk is full: nothing is acknowledged."""
        mark = self._mark_is_due(self._clock())
        if not messages and not mark:
            return
        while not self._tried(messages, mark):
            self._on_full()
            if stopping():
                return
            time.sleep(FULL_PAUSE_S)

    def _tried(self, messages: list[Message], mark: bool) -> bool:
        """One try; False when the disk had no room."""

        def append() -> list[LogRecord]:
            started = time.perf_counter()
            accepted = self._acceptor.accept(messages, mark=mark)
            self._metrics.commit.observe(time.perf_counter() - started)
            self._answer(messages, accepted)
            if mark:
                self._marked_ms = accepted.records[-1].accepted_ms
                self._marked = accepted.records[-1].position
            return accepted.records

        return self._guarded(append)

    def _guarded(self, append: Callable[[], list[LogRecord]]) -> bool:
        try:
            self._in_order(append)
        except (StoreFull, StoreFailed, StoreBusy) as error:
            self._log.error("the log can't be written", error=str(error))
            self.disk_full = True
        else:
            self.disk_full = False
        return not self.disk_full

    def _answer(self, messages: list[Message], accepted: Accepted) -> None:
        self._inlet.ack(messages)
        for topic, payload in accepted.answers:
            self._inlet.publish(topic, payload)
        counts = self._metrics.messages
        others = accepted.duplicates + accepted.refused + accepted.turned_back
        counts.labels("accepted").inc(len(messages) - others)
        counts.labels("turned_back").inc(accepted.turned_back)
        counts.labels("duplicate").inc(accepted.duplicates)
        counts.labels("refused").inc(accepted.refused)
        for reason, number in accepted.reasons.items():
            self._metrics.rejected.labels(reason).inc(number)

    def _mark_is_due(self, now_ms: int) -> bool:
        waited = now_ms - self._marked_ms
        if waited >= IDLE_MARK_MS or waited < 0:
            return True
        due = self._due_ms(self._marked)
        return due is not None and due <= now_ms and waited >= self._timing.mark_ms

    def _ask_for_missing(self) -> None:
        now_ms = self._clock()
        if now_ms - self._resent_ms < RESEND_EVERY_MS:
            return
        self._resent_ms = now_ms
        for topic, payload in self._acceptor.resends(now_ms):
            self._inlet.publish(topic, payload)
        self._guarded(self._replayed)
        self._metrics.missing.set(self._acceptor.ledger.open_gaps)

    def _replayed(self) -> list[LogRecord]:
        """Dead letters that somebody asked to take again."""
        accepted = self._acceptor.accept_replays()
        for topic, payload in accepted.answers:
            self._inlet.publish(topic, payload)
        return accepted.records
