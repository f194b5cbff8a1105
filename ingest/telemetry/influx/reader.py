"""Reading from the store over a connection of its own; beside a writer, or without one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ingest.telemetry.contract import Sample, Unreadable
from ingest.telemetry.influx import reading
from ingest.telemetry.influx.wire import Address, NoAnswer, Wire


class InfluxReader:
    """Any thread may call. All methods raise `Unreadable`."""

    def __init__(self, address: Address) -> None:
        """Raises `TokenUnreadable`."""
        self._wire = Wire(address)
        self._lock = threading.Lock()

    def range(self, device: str, quantity: str, from_ms: int, to_ms: int) -> list[Sample]:
        """Samples with from_ms <= ts < to_ms in time order, at most `MAX_SAMPLES`."""
        with self._asking() as wire:
            question = reading.range_question(device, quantity, from_ms, to_ms)
            return reading.range_answer(wire.ask(question))

    def latest(self, device: str) -> dict[str, Sample]:
        """Quantity -> newest stored sample."""
        found: dict[str, Sample] = {}
        with self._asking() as wire:
            for asked, question in reading.latest_questions(device):
                for quantity, sample in reading.latest_answer(asked, wire.ask(question)):
                    known = found.get(quantity)
                    if known is None or sample.ts_ms >= known.ts_ms:
                        found[quantity] = sample
        return found

    def history(self, device: str, from_ms: int, to_ms: int) -> list[tuple[str, Sample]]:
        """(quantity, sample) of all that a device sent with from_ms <= ts < to_ms, in time order.

        A span that holds more than the server gives at once is asked for in halves.
        """
        question = reading.history_question(device, from_ms, to_ms)
        with self._asking() as wire:
            found, whole = reading.history_answer(wire.ask(question))
        if whole or to_ms - from_ms < 2:
            return found
        middle = (from_ms + to_ms) // 2
        return self.history(device, from_ms, middle) + self.history(device, middle, to_ms)

    def renew(self) -> None:
        """Read the token again. Raises `TokenUnreadable`."""
        with self._lock:
            self._wire.renew()

    def close(self) -> None:
        self._wire.close()

    @contextmanager
    def _asking(self) -> Iterator[Wire]:
        try:
            with self._lock:
                yield self._wire
        except (NoAnswer, reading.BadAnswer) as error:
            raise Unreadable(str(error)) from None
