"""From batches as a source draws them to batches as packs carry them. Pure: time is an argument.

A pack is closed by rows, by bytes, by age, by an alarm row in it, and before a step of the wall
clock, so that one pack has one clock error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import URGENT

STEP_MS = 500
"""A wall clock that moves this much against the monotonic one has been set (a proposal)."""

ROW_BYTES = 16
DEVICE_BYTES = 24
FIXED_BYTES = 256
"""Estimates of a pack's size: exact enough to bound it, and free."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Rows that will be one pack. gateway: row of the agent's gateways. wall_ms, mono_ms: the
    two clocks, read together when the pack was closed (before a step: when last added to).
    tracks: encoded tracklets that the pack carries."""

    gateway: int
    batch: ReadingBatch
    alarm: bool
    wall_ms: int
    mono_ms: int
    tracks: bytes = b""


@dataclass(frozen=True, slots=True)
class PackLimits:
    """When an open pack is closed."""

    rows: int = 500
    bytes: int = 64 << 10
    age_ms: int = 500


class Packer:
    """The open pack of one gateway."""

    def __init__(self, gateway: int, limits: PackLimits) -> None:
        self.gateway = gateway
        self._limits = limits
        self._parts: list[ReadingBatch] = []
        self._rows = 0
        self._bytes = FIXED_BYTES
        self._opened_mono_ms = 0
        self._stamp = (0, 0)
        self._urgent_of: dict[tuple[str, ...], NDArray[np.bool_] | None] = {}

    def add(self, batch: ReadingBatch, wall_ms: int, mono_ms: int) -> list[Closed]:
        """Take the rows of a batch; gives the packs that are thereby closed."""
        closed = self._before_step(wall_ms, mono_ms)
        urgent = self._urgent(batch)
        total, at = len(batch), 0
        while at < total:
            end = min(total, at + self._limits.rows - self._rows)
            piece = batch if end - at == total else cut(batch, at, end)
            if not self._parts:
                self._opened_mono_ms = mono_ms
            self._stamp = (wall_ms, mono_ms)
            self._parts.append(piece)
            self._rows += end - at
            self._bytes += (end - at) * ROW_BYTES + len(piece.devices) * DEVICE_BYTES
            alarm = urgent is not None and bool(urgent[at:end].any())
            if alarm or self._rows >= self._limits.rows or self._bytes >= self._limits.bytes:
                closed.append(self._close(alarm=alarm))
            at = end
        return closed

    def add_tracks(
        self, batch: ReadingBatch, tracks: bytes, wall_ms: int, mono_ms: int
    ) -> list[Closed]:
        """Tracklets and the rows that go with them: a pack of their own, closed at once."""
        alarm = self._urgent(batch) is not None
        pack = Closed(self.gateway, batch, alarm, wall_ms, mono_ms, tracks)
        return [*self._before_step(wall_ms, mono_ms), *self.flush(), pack]

    def due(self, wall_ms: int, mono_ms: int) -> list[Closed]:
        """The open pack when it is old enough, or when the wall clock has been set."""
        closed = self._before_step(wall_ms, mono_ms)
        if self._parts and mono_ms - self._opened_mono_ms >= self._limits.age_ms:
            self._stamp = (wall_ms, mono_ms)
            closed.append(self._close(alarm=False))
        return closed

    def flush(self) -> list[Closed]:
        """The open pack, whatever its age."""
        return [self._close(alarm=False)] if self._parts else []

    def _before_step(self, wall_ms: int, mono_ms: int) -> list[Closed]:
        wall, mono = self._stamp
        if self._parts and abs((wall_ms - mono_ms) - (wall - mono)) > STEP_MS:
            return [self._close(alarm=False)]
        return []

    def _close(self, *, alarm: bool) -> Closed:
        batch = join(self._parts)
        self._parts, self._rows, self._bytes = [], 0, FIXED_BYTES
        wall_ms, mono_ms = self._stamp
        return Closed(self.gateway, batch, alarm, wall_ms, mono_ms)

    def _urgent(self, batch: ReadingBatch) -> NDArray[np.bool_] | None:
        """bool[len(batch)]: rows that may not wait; None when there is none."""
        names = batch.quantities
        if names not in self._urgent_of:
            if len(self._urgent_of) > 64:
                self._urgent_of.clear()
            mask = np.array([name in URGENT for name in names], bool)
            self._urgent_of[names] = mask if mask.any() else None
        mask_of = self._urgent_of[names]
        urgent = (batch.flags & Flag.ALARM) != 0
        if mask_of is not None:
            # NaN says that the sensor sent no value: that is no alarm.
            urgent |= mask_of[batch.quantity] & (batch.value != 0) & (batch.value == batch.value)
        return urgent if urgent.any() else None


def cut(batch: ReadingBatch, start: int, end: int) -> ReadingBatch:
    """Rows start..end-1, with only the devices that they name."""
    used, device = np.unique(batch.device[start:end], return_inverse=True)
    rows = used.tolist()
    return ReadingBatch(
        tuple(batch.devices[k] for k in rows),
        tuple(batch.families[k] for k in rows),
        batch.quantities,
        device.astype(np.int32),
        batch.quantity[start:end],
        batch.ts_ms[start:end],
        batch.value[start:end],
        batch.flags[start:end],
    )


def join(parts: Sequence[ReadingBatch]) -> ReadingBatch:
    """One batch of all rows, in order, with the union of the dictionaries."""
    first = parts[0]
    if len(parts) == 1:
        return first
    same = all(
        part.devices == first.devices
        and part.quantities == first.quantities
        and part.families == first.families
        for part in parts
    )
    devices: dict[tuple[str, str], int] = {}
    quantities: dict[str, int] = {}
    device, quantity = [], []
    for part in () if same else parts:
        pairs = zip(part.devices, part.families, strict=True)
        place = np.array([devices.setdefault(pair, len(devices)) for pair in pairs], np.int32)
        names = [quantities.setdefault(name, len(quantities)) for name in part.quantities]
        device.append(place[part.device])
        quantity.append(np.array(names, np.int16)[part.quantity])
    return ReadingBatch(
        first.devices if same else tuple(d for d, _ in devices),
        first.families if same else tuple(f for _, f in devices),
        first.quantities if same else tuple(quantities),
        np.concatenate([p.device for p in parts] if same else device),
        np.concatenate([p.quantity for p in parts] if same else quantity),
        np.concatenate([part.ts_ms for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.flags for part in parts]),
    )
