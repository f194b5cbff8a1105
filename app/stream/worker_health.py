"""What a worker says when it is asked whether it is well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.stream.ends import Looker
from app.stream.judging import Judging
from app.stream.lanes import Lanes
from app.stream.outlet import Outlet
from app.stream.readings import Readings
from app.stream.settings import StreamSettings
from app.stream.watch import clock_problem

SLOW_S = 5.0
"""A record that Kafka hasn't taken for so long is a problem to tell of (proposal)."""
UNSAVED_TIMES = 5
"""So many intervals without a snapshot are a problem (proposal): recovery grows, and the log may
forget what only it has."""


@dataclass(frozen=True, slots=True)
class KafkaState:
    """Kafka as this worker sees it."""

    outlet: Outlet
    looker: Looker

    @property
    def error(self) -> str:
        """What is wrong with it, "" = nothing."""
        told = self.outlet.last_error or self.looker.last_error
        waiting_s = self.outlet.oldest_s()
        if not told and waiting_s > SLOW_S:
            # The client tries again by itself and says nothing.
            return f"a record has waited {waiting_s:.0f} s for an acknowledgement"
        return told


class WorkerHealth:
    """`document` may be asked for from any thread."""

    def __init__(
        self,
        settings: StreamSettings,
        kafka: KafkaState,
        lanes: Lanes,
        judging: Judging,
        readings: Readings,
    ) -> None:
        self._settings, self._kafka = settings, kafka
        self._lanes, self._judging, self._readings = lanes, judging, readings

    def document(self) -> dict[str, Any]:
        """`ok`, `ready`, the problems in words, and a line for each partition."""
        kafka = self._kafka.error
        lanes = self._lanes
        partitions = lanes.document()
        standing = lanes.standing()
        problems = [f"kafka: {kafka}"] if kafka else []
        problems += [f"partition {n} stands: {why}" for n, why in sorted(standing.items())]
        problems += [f"kafka: {at}: {why}" for at, why in self._kafka.outlet.troubles().items()]
        problems += [
            f"partition {one['partition']} refused rules: {one['rules_refused']}"
            for one in partitions
            if one["rules_refused"]
        ]
        problems += [
            f"partition {one['partition']} has no rules: run gridwarden publish"
            for one in partitions
            if not one["rules"] and one["offset"] >= 0
        ]
        longest_s = UNSAVED_TIMES * self._settings.worker.snapshot_every_s
        problems += [
            f"partition {one['partition']}: no snapshot for {one['unsaved_s']:.0f} s"
            for one in partitions
            if one["unsaved_s"] > longest_s
        ]
        problems += self._judging.problems()
        problems += filter(None, [clock_problem(self._kafka.outlet.ahead_ms)])
        store = self._readings.store
        telemetry = None if store is None else store.state()
        if telemetry is not None and telemetry.problem:
            problems.append(f"telemetry store: {telemetry.problem}")
        return {
            "ok": not problems,
            "ready": not kafka and not lanes.loading - set(standing),
            "problems": problems,
            "group": self._settings.workers,
            "instance": self._settings.worker.instance,
            "loading": sorted(lanes.loading),
            "standing": {str(number): why for number, why in sorted(standing.items())},
            "partitions": partitions,
            "telemetry": None if telemetry is None else msgspec.to_builtins(telemetry),
        }
