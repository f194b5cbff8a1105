"""The one rule of `bench rules` as a Bytewax dataflow; imported only where Bytewax is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, TestingSource, run_main


class Reading(Protocol):
    """What the flow reads of a decoded reading."""

    @property
    def device(self) -> str: ...

    @property
    def ts_ms(self) -> int: ...

    @property
    def value(self) -> float: ...


BATCH = 1_000


class _Hold(StatefulBatchLogic[tuple[int, float], int, int | None]):
    """`for` on one device: 1 for every raise and clear."""

    def __init__(self, limit: float, for_ms: int) -> None:
        self._limit, self._for_ms = limit, for_ms
        self._since: int | None = None
        self._firing = False

    def on_batch(self, values: list[tuple[int, float]]) -> tuple[Iterable[int], bool]:
        told = []
        for ts_ms, value in values:
            if self._since is not None and ts_ms - self._since >= self._for_ms:
                self._since, self._firing = None, True
                told.append(1)
            if value >= self._limit:
                if not self._firing and self._since is None:
                    self._since = ts_ms
            elif self._firing:
                self._firing = False
                told.append(1)
            else:
                self._since = None
        return told, StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return None

    def snapshot(self) -> int | None:
        return self._since


def run(readings: Sequence[Reading], *, limit: float, for_ms: int) -> int:
    """How many changes the flow tells, on one worker."""
    told: list[tuple[str, int]] = []
    flow = Dataflow("hold")
    rows = op.input("readings", flow, TestingSource(readings, batch_size=BATCH))
    keyed = op.map("key", rows, lambda row: (row.device, (row.ts_ms, row.value)))
    changes = op.stateful_batch("hold", keyed, lambda _: _Hold(limit, for_ms))
    op.output("told", changes, TestingSink(told))
    run_main(flow)  # type: ignore[no-untyped-call]
    return len(told)
