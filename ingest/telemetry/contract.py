"""What every telemetry store offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory


class Sample(NamedTuple):
    """One stored reading. value: canonical unit, None = the sensor sent no value."""

    ts_ms: int
    value: float | None
    flags: int


@dataclass(frozen=True, slots=True)
class TelemetryState:
    """What the store holds and what it doesn't.

    mode: "full" keeps every row; "thinned" the last of each series and interval, and every row
    with an alarm flag. lag_ms: accepted_ms of the newest row handed over less that of the newest
    stored; what is younger can't be found yet. kept_from_ms: nothing heard before is here.
    Row counts are totals since the start: thinned were left out on purpose, lost could not be
    written, refused are dead letters.

    A store on another machine: spilled is what waits on this disk, the oldest heard at
    spilled_from_ms; retries counts what had to be sent again; lost_from_ms to lost_to_ms is when
    the first and the last of the lost rows were heard. problem: one line for people, "" = none.
    """

    mode: Literal["full", "thinned"]
    interval_ms: int
    lag_ms: int
    kept_from_ms: int | None
    handed_rows: int
    stored_rows: int
    thinned_rows: int
    lost_rows: int
    refused_rows: int = 0
    retries: int = 0
    spilled_rows: int = 0
    spilled_bytes: int = 0
    spilled_from_ms: int | None = None
    lost_from_ms: int | None = None
    lost_to_ms: int | None = None
    problem: str = ""


class Unreadable(Exception):
    """The store can't answer a question now; the text says why."""


class TelemetryReader(Protocol):
    """What can be asked of every store, beside the process that writes it. Raises `Unreadable` or
    `StoreError`.

    range: samples with from_ms <= ts < to_ms in time order. latest: the newest of each quantity.
    history: (quantity, sample) of all that a device sent in the span, in time order.
    """

    def range(self, device: str, quantity: str, from_ms: int, to_ms: int) -> list[Sample]: ...

    def latest(self, device: str) -> dict[str, Sample]: ...

    def history(self, device: str, from_ms: int, to_ms: int) -> list[tuple[str, Sample]]: ...

    def close(self) -> None: ...


class TelemetryStore(TelemetryReader, Protocol):
    """write never blocks and never raises for a full disk: the state says what became of it.

    flush: what was handed over before is safe when it returns, thinned or not: stored, or on this
    machine's disk on its way to the store. alive: its thread runs. sheddable, shed: bytes that it
    could give back, and to do so.
    """

    @property
    def alive(self) -> bool: ...

    def write(self, batch: TaggedBatch, directory: DeviceDirectory) -> None: ...

    def flush(self) -> None: ...

    def state(self) -> TelemetryState: ...

    def sheddable(self) -> int: ...

    def shed(self, wanted_bytes: int) -> int: ...
