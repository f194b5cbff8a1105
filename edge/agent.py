"""The gateway agent: source -> packers -> outbox -> MQTT, and how it starts and stops.

Three threads: the source's, the writer's (owns the file), the link's (owns the connections). A
thread that fails stops the agent with an error: the service manager starts it again, and what
was accepted is in the outbox.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.clip_desk import ClipDesk
from edge.clip_folder import ClipFolder
from edge.clock import Clock, SystemClock
from edge.intake import Intake
from edge.link import Link
from edge.outbox import Outbox
from edge.outbox_file import OutboxDamaged, OutboxStuck
from edge.settings import Settings
from edge.sources import Source, SourceError, open_source
from edge.writer import Writer

OPEN_AGAIN_MS = 2000
JOIN_S = 10.0
REPORT_MS = 60_000

log = logging.getLogger("gridwarden.edge")


@dataclass(frozen=True, slots=True)
class Report:
    """Counters since the start, and what is held now."""

    accepted_packs: int
    accepted_readings: int
    commits: int
    sent_packs: int
    resent_packs: int
    confirmed_packs: int
    evicted_packs: int
    damaged_outboxes: int
    refused_packs: int
    held_bytes: int
    unconfirmed_packs: int
    disk_full: bool
    connections: int


class Agent:
    """One process's agent, for one gateway or several. `start`, `wait`, `stop`; or `run`."""

    def __init__(self, settings: Settings) -> None:
        """Opens source and outbox. Raises `SourceError`, `OutboxError`, `OutboxStuck`."""
        self.settings = settings
        self.clock = SystemClock()
        gateways = settings.gateway_ids()
        self._kind = settings.source_kind()
        self._source: Source = open_source(
            self._kind, settings.source_options(), clock=self.clock, gateways=gateways
        )
        try:
            self.outbox = Outbox(Path(settings.outbox.path), gateways, settings.outbox_limits())
        except BaseException:
            self._source.close()
            raise
        self._resume = self.outbox.bookmark(self._kind)
        self._intake = Intake(
            gateways=len(gateways),
            limits=settings.pack_limits(),
            resume=self._resume,
            clock=self.clock,
            wake=lambda: self._writer.wake(),
        )
        self._link = Link(
            settings,
            self.outbox,
            self.clock,
            on_confirm=lambda gateway, confirm: self._writer.confirm(gateway, confirm),
            on_resend=lambda gateway, resend: self._writer.resend(gateway, resend),
        )
        self._writer = Writer(
            self.outbox,
            self._intake,
            self.clock,
            source=self._kind,
            commit_ms=settings.outbox.commit_ms,
            added=self._link.added,
            changed=self._link.changed,
        )
        self._desk = _desk(settings, gateways[0], self.clock)
        self._asked = False
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self.source_ended = False
        self._threads = {
            name: threading.Thread(target=self._guarded(run), name=name, daemon=True)
            for name, run in (
                ("source", self._draw),
                ("writer", self._writer.run),
                ("link", self._link.run),
            )
        }

    def start(self) -> None:
        log.info(
            "agent started gateways=%d boot=%016x source=%s held_bytes=%d",
            len(self.outbox.gateways), self.outbox.boot, self._kind, self.outbox.held_bytes,
        )  # fmt: skip
        for thread in self._threads.values():
            thread.start()
        if self._desk is not None:
            self._desk.start()

    def run(self) -> None:
        """Start, work until `ask_to_stop` or a failure, stop. Raises what a thread failed with."""
        self.start()
        self.wait()
        self.stop()

    def wait(self) -> None:
        """Until the agent is to stop."""
        reported_ms = self.clock.mono_ms()
        while not self._asked and not self._done.wait(0.2):
            if self.settings.agent.stop_at_end and self.is_drained:
                return
            if self.clock.mono_ms() - reported_ms >= REPORT_MS:
                reported_ms = self.clock.mono_ms()
                log.info("report %s", _words(self.report()))

    def ask_to_stop(self) -> None:
        """Make `wait` return; may be called from a signal handler, so it takes no lock: setting
        an event would wait forever for the very thread that the handler interrupted in `wait`."""
        self._asked = True

    def stop(self) -> None:
        """Flush, commit, say goodbye. Raises what a thread failed with."""
        self.clock.stop()
        if self._desk is not None:
            self._desk.stop()
        self._intake.stop()
        self._join("source")
        self._writer.stop()
        self._join("writer")
        self._link.stop()
        self._join("link")
        log.info("agent stopped %s", _words(self.report()))
        self._source.close()
        if not any(thread.is_alive() for thread in self._threads.values()):
            self.outbox.close()
        if self._failure is not None:
            raise self._failure

    def report(self) -> Report:
        writer, link = self._writer.figures, self._link.figures
        return Report(
            accepted_packs=writer.packs,
            accepted_readings=writer.readings,
            commits=writer.commits,
            sent_packs=self._link.sent,
            resent_packs=self._link.resent,
            confirmed_packs=writer.confirmed,
            evicted_packs=self.outbox.evicted_packs,
            damaged_outboxes=self.outbox.damaged,
            refused_packs=link.refused,
            held_bytes=self.outbox.held_bytes,
            unconfirmed_packs=self._link.unconfirmed,
            disk_full=self.outbox.disk_full,
            connections=link.connections,
        )

    @property
    def is_connected(self) -> bool:
        return self._link.is_up

    @property
    def is_drained(self) -> bool:
        """Whether the source has ended and everything it gave is confirmed."""
        return self.source_ended and self._intake.is_empty() and self.outbox.held_bytes == 0

    def _draw(self) -> None:
        for drawn in self._source.batches(self._resume.cursor):
            if not self._intake.offer(drawn):
                return
        if self.clock.wait(0):  # Not because the agent is stopping.
            log.info("source ended source=%s", self._kind)
            self.source_ended = True

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                known = isinstance(error, (SourceError, OutboxDamaged))
                name = threading.current_thread().name
                log.error("thread failed name=%s why=%s", name, error, exc_info=not known)
                self._failure = self._failure or error
                self._done.set()

        return guarded

    def _join(self, name: str) -> None:
        thread = self._threads[name]
        thread.join(JOIN_S)
        if thread.is_alive():
            log.error("thread doesn't end name=%s", name)


def _desk(settings: Settings, gateway: str, clock: Clock) -> ClipDesk | None:
    """Where the clips of this agent's cameras are asked for; None when it keeps none."""
    clips = settings.clips()
    if clips is None:
        return None
    path, limit_mib, hours = clips
    folder = ClipFolder(Path(path), limit_bytes=limit_mib << 20, hours=hours)
    return ClipDesk(folder, gateway, settings.broker, settings.port(), clock)


def open_agent(settings: Settings, *, again: Callable[[], bool]) -> Agent | None:
    """Open an agent, waiting while the disk is too full to open the outbox.

    again: called before each further try; False gives up, and None is returned.
    """
    while True:
        try:
            return Agent(settings)
        except OutboxStuck as stuck:
            log.error("outbox can't be opened why=%r; make room on its disk", str(stuck))
            if not again():
                return None


def _words(report: Report) -> str:
    return " ".join(f"{name}={getattr(report, name)}" for name in Report.__slots__)
