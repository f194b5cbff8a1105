"""What keeps the data folder within its bounds: history is shed before alerts ever are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.settings import RetentionSettings
from ingest.acceptor import Acceptor
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from ingest.retention import Limits, Retention
from ingest.telemetry import TelemetryStore

EVERY_S = 5.0


class Housekeeping:
    """Runs retention every few seconds, and at once when the log couldn't be written."""

    def __init__(
        self,
        folder: Path,
        settings: RetentionSettings,
        *,
        log: SqliteLog,
        telemetry: TelemetryStore | None,
        quarantine: Quarantine,
        acceptor: Acceptor,
        clock: Callable[[], int],
        logger: structlog.stdlib.BoundLogger,
    ) -> None:
        self._clock, self._logger, self._acceptor = clock, logger, acceptor
        self._lock = threading.Lock()
        self._retention = Retention(
            folder,
            Limits(
                log_bytes=settings.raw_bytes,
                min_free_bytes=settings.min_free_bytes,
                ballast_bytes=settings.reserve_bytes,
            ),
            log=log,
            telemetry=telemetry,
            letters=quarantine,
            needed_from=lambda: min(acceptor.needed_from, log.needed_from),
        )

    def run(self, stopping: threading.Event) -> None:
        while True:
            self.make_room()
            if stopping.wait(EVERY_S):
                return

    def make_room(self) -> None:
        """From any thread: look at the disk and do what is needed now."""
        with self._lock:
            for action in self._retention.run(self._clock()):
                self._logger.info(
                    "retention", what=action.what, target=action.target, bytes=action.bytes
                )
            # With no history left to shed, only what may save lives is still taken.
            self._acceptor.sparing = self._retention.starved

    def state(self) -> dict[str, Any]:
        """Bytes by what they are for, and what was given back since the start."""
        facts = self._retention.look()
        return {
            "free_bytes": facts.free,
            "log_bytes": facts.log,
            "reserve_bytes": facts.ballast_held,
            "shed_bytes": dict(self._retention.shed_bytes),
            "failed": dict(self._retention.failed),
            "sparing": self._acceptor.sparing,
        }
