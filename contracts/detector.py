"""The Detector protocol: accepted rows and time marks of the log in, scores out as readings.

A detector speaks as an inner gateway (ADR 0011): its scores go into the log in packs, and from
there they are readings like all others. It is deterministic over the log: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contracts.alert_data import ModelRef
from contracts.batch import ReadingBatch, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord

INNER_PREFIX = "detector-"
"""Gateways whose ids begin so are part of the server: nobody outside may speak as one."""


class Detector(Protocol):
    """name: as in `inactivity`. gateway: `INNER_PREFIX` + name. model: what judges,
    for its record in the log.

    settle: the directory that rows refer to from now on; called first, and again when the registry
    has changed. on_rows: accepted rows, in log order. on_record: each record but time marks, for
    input that doesn't become rows (tracklets, gateway states); between two marks records come
    before rows. on_mark: time has got to `heard_ms`; gives the scores that are due, in an order
    that depends on the log alone. snapshot: all that is known, versioned; `restore` on a settled
    detector carries on.
    """

    name: str
    gateway: str
    model: ModelRef

    def settle(self, directory: DeviceDirectory) -> None: ...

    def on_rows(self, batch: TaggedBatch) -> None: ...

    def on_record(self, record: LogRecord) -> None: ...

    def on_mark(self, heard_ms: int) -> Sequence[ReadingBatch]: ...

    def snapshot(self) -> bytes: ...

    def restore(self, blob: bytes) -> None: ...
