"""Batches of readings as columns: the unit that everything from the edge to the rules passes.

`ReadingBatch` is what travels: columns plus their own dictionaries. `TaggedBatch` is what the
operators see after ingest: the same rows keyed to one process-wide `DeviceDirectory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITY_INDEX


class Flag(IntFlag):
    """Bits of the u16 `flags` column.

    The low byte is the sender's; the high byte is ingest's and is cleared on arrival, so that
    no sender can claim what only ingest may find.
    """

    ALARM = 1  # the sender raised this reading as an alarm: it never waits
    BAD = 2  # quality: the device says that the value is wrong
    STALE = 4  # quality: the value is an old one, repeated
    HISTORICAL = 8  # stored and sent later on purpose
    TEST = 16  # the device says "test"; an annotation, never a reason to be quiet
    LATE = 256  # event time was behind the gateway's watermark when it was accepted
    REPAIRED = 512  # event time was repaired from the gateway's monotonic clock
    CLOCK_UNKNOWN = 1024  # no clock could be trusted: event time is the time of acceptance
    UNVERIFIED = 2048  # sent by a gateway that may not speak for the device
    UNREGISTERED = 4096  # the device or its grid is not in the registry


SENDER_FLAGS = 0x00FF


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Readings as they travel; row i of every column is one reading.

    devices, families: one entry per device of this batch (`families[k]` belongs to `devices[k]`).
    quantities: one entry per quantity name of this batch, canonical units implied.
    device, quantity: int32 / int16, rows of the dictionaries. ts_ms: int64, unix milliseconds.
    value: float64 in the canonical unit, NaN = the sensor sent no value. flags: uint16, `Flag`.
    """

    devices: tuple[str, ...]
    families: tuple[str, ...]
    quantities: tuple[str, ...]
    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.ts_ms)

    @staticmethod
    def of(rows: Iterable[tuple[str, str, str, int, float, int]]) -> ReadingBatch:
        """Build from (device, family, quantity, ts_ms, value, flags) rows; for small batches."""
        devices: dict[str, int] = {}
        families: list[str] = []
        quantities: dict[str, int] = {}
        dev: list[int] = []
        qty: list[int] = []
        ts: list[int] = []
        val: list[float] = []
        flg: list[int] = []
        for device, family, quantity, ts_ms, value, flags in rows:
            if device not in devices:
                devices[device] = len(devices)
                families.append(family)
            dev.append(devices[device])
            qty.append(quantities.setdefault(quantity, len(quantities)))
            ts.append(ts_ms)
            val.append(value)
            flg.append(flags)
        return ReadingBatch(
            tuple(devices),
            tuple(families),
            tuple(quantities),
            np.array(dev, np.int32),
            np.array(qty, np.int16),
            np.array(ts, np.int64),
            np.array(val, np.float64),
            np.array(flg, np.uint16),
        )

    def rows(self) -> list[tuple[str, str, str, int, float, int]]:
        """The inverse of `of`, for tests, dead letters and explanations; not for the hot path."""
        return [
            (self.devices[d], self.families[d], self.quantities[q], t, v, f)
            for d, q, t, v, f in zip(
                self.device.tolist(),
                self.quantity.tolist(),
                self.ts_ms.tolist(),
                self.value.tolist(),
                self.flags.tolist(),
                strict=True,
            )
        ]

    def take(self, index: NDArray[np.intp]) -> ReadingBatch:
        return ReadingBatch(
            self.devices,
            self.families,
            self.quantities,
            self.device[index],
            self.quantity[index],
            self.ts_ms[index],
            self.value[index],
            self.flags[index],
        )


@dataclass(frozen=True, slots=True)
class TaggedBatch:
    """Rows keyed to the process's `DeviceDirectory`; row i of every column is one reading.

    device: int32 row of the directory. quantity: int16 index into `quantities.QUANTITIES`.
    ts_ms: int64 repaired event time. value: float64. flags: uint16.
    heard_ms: int64 accepted_ms of the log record. position: int64 position of that record.
    row: int32 row inside the record. order: int64 (boot number << 40 | seq) of the pack, so that
    (ts_ms, order, row) is the stated order of timed rules within one device.
    """

    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]
    heard_ms: NDArray[np.int64]
    position: NDArray[np.int64]
    row: NDArray[np.int32]
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ts_ms)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> TaggedBatch:
        return TaggedBatch(*(getattr(self, name)[index] for name in TAGGED))

    @staticmethod
    def empty() -> TaggedBatch:
        """Always the same one: columns without rows can't be changed."""
        return _EMPTY

    @staticmethod
    def join(parts: Sequence[TaggedBatch]) -> TaggedBatch:
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return TaggedBatch.empty()
        return TaggedBatch(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in TAGGED)
        )

    @staticmethod
    def of(
        rows: Iterable[tuple[int, str, int, float]],
        *,
        flags: int = 0,
        heard_ms: int | None = None,
        position: int = 1,
    ) -> TaggedBatch:
        """Build from (device index, quantity name, ts_ms, value); for tests and small batches.

        `heard_ms` defaults to each row's own time; rows count up inside one record `position`.
        """
        listed = list(rows)
        n = len(listed)
        ts = np.array([r[2] for r in listed], np.int64)
        return TaggedBatch(
            np.array([r[0] for r in listed], np.int32),
            np.array([QUANTITY_INDEX[r[1]] for r in listed], np.int16),
            ts,
            np.array([r[3] for r in listed], np.float64),
            np.full(n, flags, np.uint16),
            ts.copy() if heard_ms is None else np.full(n, heard_ms, np.int64),
            np.full(n, position, np.int64),
            np.arange(n, dtype=np.int32),
            np.full(n, position, np.int64),
        )


TAGGED: dict[str, type] = {
    "device": np.int32,
    "quantity": np.int16,
    "ts_ms": np.int64,
    "value": np.float64,
    "flags": np.uint16,
    "heard_ms": np.int64,
    "position": np.int64,
    "row": np.int32,
    "order": np.int64,
}
"""The columns of a `TaggedBatch` in their order, and their dtypes."""
_EMPTY = TaggedBatch(*(np.empty(0, dtype) for dtype in TAGGED.values()))
