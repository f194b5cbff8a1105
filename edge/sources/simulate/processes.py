"""Processes: what makes rows. Each holds channels of one kind as columns and turns a time span
into rows; a row is a function of (key of its channel, number of its slot) only.

A periodic process has one row a slot, at slot * period + phase. An event process has at most one
happening a slot, at a drawn moment, with one or more rows that stay inside their slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sources.simulate.draws import Floats, Keys, bits, unit

Ints = NDArray[np.int64]
Rows32 = NDArray[np.int32]
Params = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Rows:
    """Row i of every column is one reading.

    device: int32 number of the device. quantity: int16 index into `QUANTITIES`. ts_ms: int64.
    value: float64. flags: uint16.
    """

    device: Rows32
    quantity: NDArray[np.int16]
    ts_ms: Ints
    value: Floats
    flags: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.ts_ms)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        return Rows(
            self.device[index],
            self.quantity[index],
            self.ts_ms[index],
            self.value[index],
            self.flags[index],
        )

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        if not parts:
            return Rows.of((), (), (), ())
        if len(parts) == 1:
            return parts[0]
        return Rows(
            np.concatenate([p.device for p in parts]),
            np.concatenate([p.quantity for p in parts]),
            np.concatenate([p.ts_ms for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.flags for p in parts]),
        )

    @staticmethod
    def of(
        device: Sequence[int] | NDArray[np.int32],
        quantity: Sequence[int] | NDArray[np.int16],
        ts_ms: Sequence[int] | Ints,
        value: Sequence[float] | Floats,
    ) -> Rows:
        return Rows(
            np.asarray(device, np.int32),
            np.asarray(quantity, np.int16),
            np.asarray(ts_ms, np.int64),
            np.asarray(value, np.float64),
            np.zeros(len(ts_ms), np.uint16),
        )


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels as columns: device int32, quantity int16, key uint64 (of the device), phase_ms
    int64 and named float64 parameters, all of one length."""

    device: Rows32
    quantity: NDArray[np.int16]
    key: Keys
    phase_ms: Ints
    params: Params = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.device)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Channels:
        return Channels(
            self.device[index],
            self.quantity[index],
            self.key[index],
            self.phase_ms[index],
            {name: column[index] for name, column in self.params.items()},
        )


Model = Callable[[Channels, Ints, Ints], Floats]
"""(channels repeated per row, slot int64[n], ts_ms int64[n]) -> value float64[n]."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """One row a slot and channel. decimals: what the sensor resolves."""

    channels: Channels
    period_ms: int
    model: Model
    decimals: int

    def rows(self, from_ms: int, to_ms: int) -> Rows:
        """Rows with from_ms <= ts < to_ms, channel by channel inside a slot."""
        channels, period = self.channels, self.period_ms
        first = (from_ms - period) // period
        slots = np.arange(first, to_ms // period + 1, dtype=np.int64)
        ts = slots[:, None] * period + channels.phase_ms
        where = np.nonzero((ts >= from_ms) & (ts < to_ms))
        return self.at(where[1], slots[where[0]])

    def at(self, channel: NDArray[np.intp], slot: Ints) -> Rows:
        """The rows of the given channels and slots."""
        chosen = self.channels.take(channel)
        ts = slot * self.period_ms + chosen.phase_ms
        value = np.round(self.model(chosen, slot, ts), self.decimals)
        return Rows.of(chosen.device, chosen.quantity, ts, value)

    def slot_at(self, channel: int, ts_ms: int) -> int:
        """The slot whose row is the last one at or before `ts_ms`."""
        return int((ts_ms - int(self.channels.phase_ms[channel])) // self.period_ms)

    def only(self, keep: NDArray[np.bool_]) -> Periodic:
        return replace(self, channels=self.channels.take(keep))


@dataclass(frozen=True, slots=True)
class Part:
    """One row of a happening: `after(u)` ms behind its start, with `value(u)`.

    u: float64[n], a draw per happening. quantity: -1 = that of the channel.
    """

    after: Callable[[Floats], Floats]
    value: Callable[[Floats], Floats]
    quantity: int = -1


@dataclass(frozen=True, slots=True)
class Happening:
    """At most one happening a slot, with a chance that follows the time of day.

    reach_ms: the longest time from the start of a happening to its last row; starts are drawn so
    that all rows stay inside the slot.
    """

    channels: Channels
    slot_ms: int
    reach_ms: int
    chance: Callable[[Channels, Ints], Floats]
    parts: tuple[Part, ...]
    decimals: int = 0

    def rows(self, from_ms: int, to_ms: int) -> Rows:
        """Rows with from_ms <= ts < to_ms."""
        first, last = from_ms // self.slot_ms, (to_ms - 1) // self.slot_ms
        slots = np.arange(first, last + 1, dtype=np.int64)
        slot = np.repeat(slots, len(self.channels))
        chosen = self.channels.take(np.tile(np.arange(len(self.channels)), len(slots)))
        happens = unit(chosen.key, slot, _CHANCE) < self.chance(chosen, slot * self.slot_ms)
        chosen, slot = chosen.take(happens), slot[happens]
        start = slot * self.slot_ms + self._offset(chosen.key, slot)
        u = unit(chosen.key, slot, _SHAPE)
        made = [self._part(part, chosen, start, u) for part in self.parts]
        rows = Rows.join(made)
        return rows.take((rows.ts_ms >= from_ms) & (rows.ts_ms < to_ms))

    def _offset(self, key: Keys, slot: Ints) -> Ints:
        room = np.uint64(self.slot_ms - self.reach_ms)
        return (bits(key, slot, _OFFSET) % room).astype(np.int64)

    def _part(self, part: Part, chosen: Channels, start: Ints, u: Floats) -> Rows:
        quantity = chosen.quantity
        if part.quantity >= 0:
            quantity = np.full(len(quantity), part.quantity, np.int16)
        ts = start + part.after(u).astype(np.int64)
        return Rows.of(chosen.device, quantity, ts, np.round(part.value(u), self.decimals))

    def only(self, keep: NDArray[np.bool_]) -> Happening:
        return replace(self, channels=self.channels.take(keep))


Process = Periodic | Happening

_CHANCE: Final = 101
_SHAPE: Final = 102
_OFFSET: Final = 103
