"""The deciding half of the embedded runner: log records -> engine -> stores, and snapshots.

One thread owns the engine. Outputs are stored before a snapshot covers them; after a crash they
are made again with the same ids, and the store counts the repeats.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog

from app.changeover import RulesNews
from app.engine import Engine, Step
from app.metrics import Metrics
from app.runners.detection import Detection
from contracts.alerts import AlertEvent
from contracts.log import LogRecord
from dispatch.store import Store
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from ingest.storage import StoreError, translated
from ingest.telemetry import TelemetryStore

GATHER_RECORDS = 400

STEP_BYTES = 384 << 10
"""Records of a step (proposal): about 20 000 readings in packs, 10 ms of work. An alarm's event
leaves at the end of its step, so big steps make it wait for what only came along."""
BUSY_GROUPS = 16
"""With so many groups waiting nothing is on time any more, and big steps cost less (proposal)."""

SNAPSHOT_SHARE = 200
"""A snapshot may take one part in so many of the time (proposal): under a heavy load, where many
rows wait and each snapshot keeps the disk from the log, they come more rarely than is set."""
FULL_PAUSE_S = 0.5


class OutOfStep(Exception):
    """Records don't follow what the engine has seen: it must read on from the log."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where a step's outcome goes."""

    store: Store
    quarantine: Quarantine
    telemetry: TelemetryStore | None
    news: Callable[[list[RulesNews]], None] = lambda _: None
    detection: Detection | None = None


class Due(NamedTuple):
    """When the engine, at a position of the log, wants the next time mark; None = never.

    is_behind: the last mark left rows that were due.
    """

    position: int
    at_ms: int | None
    is_behind: bool


class Execution:
    """Feeds the engine. `due_after` is asked by the accepting thread."""

    def __init__(
        self,
        engine: Engine,
        log: SqliteLog,
        outlets: Outlets,
        *,
        clock: Callable[[], int],
        snapshot_every_ms: int,
        metrics: Metrics,
        logger: structlog.stdlib.BoundLogger,
        on_full: Callable[[], None],
        ended: Callable[[], bool],
    ) -> None:
        """on_full: makes room on the disk. ended: the server is stopping, don't wait for room."""
        self.engine, self._log, self._outlets = engine, log, outlets
        self._on_full, self._ended = on_full, ended
        self._is_catching_up = False
        self._clock, self._every_ms = clock, snapshot_every_ms
        self._metrics, self._logger = metrics, logger
        self._snapshot_ms = clock()
        self._snapshot_took_ms = 0
        self._saving: threading.Thread | None = None
        self._due = Due(0, None, False)
        self.heard_ms = log.last_accepted_ms
        self.stepped_ms = clock()
        self.handed = engine.position
        """Up to here everything is decided, and the detectors have it."""

    @property
    def position(self) -> int:
        return self.engine.position

    def due_after(self, mark: int) -> int | None:
        """When another time mark is wanted, after the one at position `mark`; None = no need.

        A backlog is worked off mark by mark: the next is made when the last one is decided, or
        marks would pile up in front of an alarm that comes now.
        """
        due = self._due
        return None if due.is_behind and due.position < mark else due.at_ms

    def watermark_lag_s(self) -> float:
        """Of the slowest gateway heard in the last minute; see the metric."""
        return self.engine.admission.watermark_lag_ms(self.heard_ms) / 1000

    def catch_up(self, progress: Callable[[int, int], None]) -> int:
        """Read on from the snapshot to the end of the log; returns how many records.

        `progress(done, of)` is called after each bundle.
        """
        start, last = self.engine.position, self._log.last_position
        self._is_catching_up = True
        for records in self._log.read(start + 1):
            self.step(records)
            progress(self.engine.position - start, last - start)
        self._is_catching_up = False
        return self.engine.position - start

    def run(self, inlet: queue.Queue[list[LogRecord]], stopping: Callable[[], bool]) -> None:
        """Until told to stop and the queue is empty."""
        while True:
            try:
                records = inlet.get(timeout=0.2)
            except queue.Empty:
                if stopping():
                    return
                continue
            records = _gathered(records, inlet)
            busy = inlet.qsize() >= BUSY_GROUPS
            for part in [records] if busy else portions(records, STEP_BYTES):
                self.step(part)
                self._maybe_snapshot()

    def step(self, records: list[LogRecord]) -> None:
        """One step of the engine, its outcome stored. Raises `OutOfStep`."""
        if records[0].position != self.engine.position + 1:
            raise OutOfStep(f"{records[0].position} doesn't follow {self.engine.position}")
        started = time.perf_counter()
        step = self.engine.step(records)
        engine = self.engine
        self._due = Due(engine.position, engine.next_ms(), engine.admission.is_behind)
        self.heard_ms = records[-1].accepted_ms
        self._keep(step)
        if self._outlets.detection is not None:
            self._outlets.detection.feed(records, step, engine.directory)
        self.handed = engine.position
        self._metrics.step.observe(time.perf_counter() - started)
        self._metrics.position.set(self.engine.position)
        self.stepped_ms = self._clock()

    def _keep(self, step: Step) -> None:
        if step.events:
            self._metrics.repeats.inc(self._record(step.events))
            self._count_events(step.events)
        if step.rejects:
            self._outlets.quarantine.put_rows(step.rejects, self.heard_ms)
            for reject in step.rejects:
                self._metrics.rejected.labels(reject.reject.reason.value).inc()
        if self._outlets.telemetry is not None:
            for batch in step.batches:
                self._outlets.telemetry.write(batch, self.engine.directory)
        self._metrics.count_rows(step.counts)
        if step.news:
            self._outlets.news(step.news)

    def _record(self, events: list[AlertEvent]) -> int:
        """Keep the events, waiting for a disk that has no room; returns how many were known.

        At the start nobody waits: a full disk is told to who starts it.
        """
        while True:
            try:
                return self._outlets.store.record(events, self.engine.position).repeats
            except sqlite3.OperationalError as error:
                self._logger.error("alerts can't be recorded", error=str(error))
                if self._is_catching_up or self._ended():
                    raise translated(self._outlets.store.path, error) or error from error
                self._on_full()
                time.sleep(FULL_PAUSE_S)

    def _count_events(self, events: Iterable[AlertEvent]) -> None:
        for event in events:
            _, _, family, _, phase = event.type.split(".")
            self._metrics.events.labels(family, phase).inc()
            # One that was held back was heard long before it is told.
            if phase == "raised" and event.data["change"] != "released":
                self._metrics.heard.labels(family).observe(_heard_after_s(event))

    def _maybe_snapshot(self) -> None:
        """Take the state here, pack and save it beside: deciding waits for neither."""
        now_ms = self._clock()
        wait_ms = max(self._every_ms, SNAPSHOT_SHARE * self._snapshot_took_ms)
        if now_ms - self._snapshot_ms < wait_ms or self._saving_is_under_way():
            return
        self._snapshot_ms = now_ms
        self._saving = threading.Thread(
            target=self._save,
            args=(self.engine.position, self._freeze()),
            name="snapshot",
            daemon=True,
        )
        self._saving.start()

    def snapshot(self) -> None:
        """Save all state at the engine's position before returning."""
        if self._saving is not None:
            self._saving.join()
        self._snapshot_ms = self._clock()
        self._save(self.engine.position, self._freeze())

    def _freeze(self) -> Callable[[], dict[str, bytes]]:
        """The engine's state and the detectors', at one position of the log."""
        engine = self.engine.freeze()
        if self._outlets.detection is None:
            return engine
        detectors = self._outlets.detection.freeze()
        return lambda: {**engine(), **detectors()}

    def _saving_is_under_way(self) -> bool:
        return self._saving is not None and self._saving.is_alive()

    def _save(self, position: int, frozen: Callable[[], dict[str, bytes]]) -> None:
        """All outputs up to `position` are stored first: those that wait in memory would be gone
        with a kill, and nobody would make them again. A full disk costs only time at a restart."""
        self._outlets.quarantine.flush()
        if self._outlets.telemetry is not None:
            self._outlets.telemetry.flush()
        try:
            self._log.save_snapshot(position, frozen())
        except StoreError as error:
            self._logger.error("no snapshot", error=str(error))
        self._snapshot_took_ms = max(0, self._clock() - self._snapshot_ms)


def _gathered(records: list[LogRecord], inlet: queue.Queue[list[LogRecord]]) -> list[LogRecord]:
    """What else is waiting, so that a backlog is worked off in big steps."""
    gathered = list(records)
    while len(gathered) < GATHER_RECORDS:
        try:
            gathered.extend(inlet.get_nowait())
        except queue.Empty:
            break
    return gathered


def portions(records: list[LogRecord], most_bytes: int) -> Iterator[list[LogRecord]]:
    """The records in their order, cut so that a part's payloads are no more than so many bytes,
    or it is one record."""
    first = size = 0
    for at, record in enumerate(records):
        size += len(record.payload)
        if size > most_bytes and at > first:
            yield records[first:at]
            first, size = at, len(record.payload)
    yield records[first:]


def _heard_after_s(event: AlertEvent) -> float:
    """Seconds from the event time of the condition to the acceptance of the deciding reading."""
    timing = event.data["timing"]
    heard, happened = (datetime.fromisoformat(timing[name]) for name in ("heard", "happened"))
    return max(0.0, (heard - happened).total_seconds())
