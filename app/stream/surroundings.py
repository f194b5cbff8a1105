"""What lanes need of the world, so that tests may be another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from app.stream.contents import Library
from app.stream.ends import Ends
from app.stream.judging import Judging
from app.stream.post import Post
from app.stream.saver import Saver
from app.stream.snapshots import SnapshotReader
from app.stream.takeover import Takeover
from app.stream.topics import Topics
from app.stream.worker_metrics import WorkerMetrics
from ingest.telemetry import TelemetryStore


class Reading(Protocol):
    """The reader of the log, as lanes need it: which partitions it may go on with."""

    async def resume(self, number: int, offset: int) -> None:
        """Read a partition on from `offset`."""

    def hold(self, number: int) -> None:
        """Read no more of it for now; what is on its way may be lost until `resume`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All of it. failed: ends the process."""

    topics: Topics
    contents: Library
    takeover: Takeover
    reader: SnapshotReader
    reading: Reading
    post: Post
    saver: Saver
    ends: Callable[[Iterable[int]], Awaitable[Ends]]
    troubled: Callable[[], bool]
    telemetry: TelemetryStore | None
    metrics: WorkerMetrics
    logger: structlog.stdlib.BoundLogger
    clock: Callable[[], int]
    failed: Callable[[str], None]
    judging: Judging
