"""What an incident or a sensor fault does to the rows of its device.

Changes rewrite or remove rows that the device sends anyway; reports add rows of their own. Each
is a function of the row alone (and of keys drawn for the incident), so cutting time changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITY_INDEX
from edge.sources.simulate.draws import Floats, gauss, unit
from edge.sources.simulate.processes import Ints, Rows

ANY = -1
"""Every quantity of the device."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where and when an effect works. key: the incident's own. before: the value that a channel
    (device, quantity) last had at or before a time, undisturbed; NaN = it has none."""

    device: int
    key: np.uint64
    before: Callable[[int, int, int], float]


class Change(Protocol):
    """Rewrites the values of the rows in its window."""

    @property
    def quantity(self) -> int: ...
    @property
    def from_ms(self) -> int: ...
    @property
    def to_ms(self) -> int: ...

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Hold:
    """The value is `to`."""

    quantity: int
    from_ms: int
    to_ms: int
    to: float

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002
        return np.full(len(ts_ms), self.to)


@dataclass(frozen=True, slots=True)
class Ramp:
    """The value goes to `to` within `rise_ms` and stays; the sensor's noise goes on."""

    quantity: int
    from_ms: int
    to_ms: int
    to: float
    rise_ms: int
    noise: float
    decimals: int

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:
        share = np.clip((ts_ms - self.from_ms) / max(self.rise_ms, 1), 0.0, 1.0)
        keys = np.full(len(ts_ms), site.key, np.uint64)
        there = self.to + self.noise * gauss(keys, ts_ms)
        return np.round(value * (1.0 - share) + there * share, self.decimals)


@dataclass(frozen=True, slots=True)
class Stuck:
    """The value stays what it was when the fault began."""

    quantity: int
    from_ms: int
    to_ms: int

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:
        frozen = site.before(site.device, self.quantity, self.from_ms)
        return value if np.isnan(frozen) else np.full(len(ts_ms), frozen)


@dataclass(frozen=True, slots=True)
class Spikes:
    """Single wild values: one at most in each `every_ms`, so never two in a row."""

    quantity: int
    from_ms: int
    to_ms: int
    to: float
    every_ms: int
    width_ms: int

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002
        into = (ts_ms - self.from_ms) % self.every_ms
        return np.where(into < self.width_ms, self.to, value)


@dataclass(frozen=True, slots=True)
class Noisy:
    """Noise of the given standard deviation on top."""

    quantity: int
    from_ms: int
    to_ms: int
    noise: float
    decimals: int

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:
        keys = np.full(len(ts_ms), site.key, np.uint64)
        return np.round(value + self.noise * gauss(keys, ts_ms), self.decimals)


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows of the window that are missing: all of them, or a drawn share."""

    quantity: int
    from_ms: int
    to_ms: int
    share: float = 1.0

    def apply(self, site: Site, ts_ms: Ints, value: Floats) -> Floats:
        keys = np.full(len(ts_ms), site.key, np.uint64)
        return np.where(unit(keys, ts_ms, 7) < self.share, LOST, value)


LOST = -np.inf
"""Marks rows that `Loss` removes; no sensor of the simulator gives it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of its own: `value` at the start and every `every_ms` (0 = once) before the end, and
    `closing` at the end if it is given. flags: added to what the value itself calls for."""

    quantity: int
    from_ms: int
    to_ms: int
    value: float
    every_ms: int = 0
    closing: float | None = None
    flags: int = 0

    def rows(self, site: Site, from_ms: int, to_ms: int) -> Rows:
        """Rows with from_ms <= ts < to_ms."""
        stop = self.to_ms if self.every_ms else self.from_ms + 1
        ts = np.arange(self.from_ms, stop, max(self.every_ms, 1), dtype=np.int64)
        value = np.full(len(ts), self.value)
        if self.closing is not None:
            ts, value = np.append(ts, self.to_ms), np.append(value, self.closing)
        inside = (ts >= from_ms) & (ts < to_ms)
        ts, value = ts[inside], value[inside]
        rows = Rows.of(
            np.full(len(ts), site.device, np.int32),
            np.full(len(ts), self.quantity, np.int16),
            ts,
            value,
        )
        rows.flags[value != 0] |= np.uint16(self.flags)
        return rows


def index(quantity: str) -> int:
    """The quantity's index in `QUANTITIES`; `ANY` for ""."""
    return QUANTITY_INDEX[quantity] if quantity else ANY


def change_rows(rows: Rows, change: Change, site: Site, keep: NDArray[np.bool_]) -> None:
    """Apply the change to `rows`, sorted by time, in place; `keep` turns False for lost rows."""
    first, last = np.searchsorted(rows.ts_ms, (change.from_ms, change.to_ms))
    if first == last:
        return
    span = slice(int(first), int(last))
    hit = rows.device[span] == site.device
    if change.quantity != ANY:
        hit &= rows.quantity[span] == change.quantity
    where = np.flatnonzero(hit) + int(first)
    value = change.apply(site, rows.ts_ms[where], rows.value[where])
    rows.value[where] = value
    keep[where[value == LOST]] = False
