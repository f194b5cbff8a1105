"""A detector that says each second that it has heard it, or fails when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from contracts.alert_data import ModelRef
from contracts.batch import ReadingBatch, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord

T0 = 1_800_000_000_000
S = 1_000
OLD = ModelRef(detector="inactivity", hash="a" * 64)


@dataclass
class Listener:
    """A detector that says each second that it has heard it. at: what it does at a time first."""

    heard: list[int] = field(default_factory=list)
    at: Callable[[int], None] = lambda _: None
    says: Callable[[int], bool] = lambda _: True
    model: ModelRef = OLD
    name: str = "inactivity"
    gateway: str = "detector-inactivity"

    def settle(self, directory: DeviceDirectory) -> None: ...

    def on_rows(self, batch: TaggedBatch) -> None: ...

    def on_record(self, record: LogRecord) -> None: ...

    def on_mark(self, heard_ms: int) -> Sequence[ReadingBatch]:
        second = (heard_ms - T0) // S
        self.at(second)
        self.heard.append(second)
        if not self.says(second):
            return ()
        return (ReadingBatch.of([("home", "elderly", "inactivity.minutes", heard_ms, 1.0, 0)]),)

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.heard)

    def restore(self, blob: bytes) -> None:
        self.heard = msgspec.json.decode(blob, type=list[int])
