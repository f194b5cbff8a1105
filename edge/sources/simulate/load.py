"""The load profile: many devices, simple rhythmic values, made as fast as columns allow.

Rows of one round (period) are laid out in the order of the devices' phases, so that a span of
time is one slice and nothing is ever sorted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, ReadingBatch
from edge.sources.simulate.draws import Floats, bits, key_of, unit
from edge.sources.simulate.happened import Expected, Truth
from edge.sources.simulate.layout import Building, Device, GridPlan, Layout, Size, plan_grids
from edge.sources.simulate.rhythms import DAY_MS

FIRE_LASTS_MS = 1_000
_TABLE = 1 << 16
_STRIDE = 40_503
"""Odd, so that a device meets every entry of the table."""


@dataclass(frozen=True, slots=True)
class Channel:
    """base, swing over the day, noise (half width), and 10**decimals of the sensor."""

    quantity: str
    base: float
    swing: float
    noise: float
    scale: float


CHANNELS: dict[str, tuple[Channel, Channel]] = {
    "firewater": (
        Channel("static_pressure", 0.18, 0.01, 0.004, 1000.0),
        Channel("temperature", 16.0, 3.0, 0.2, 10.0),
    ),
    "efire": (
        Channel("residual_current", 120.0, 30.0, 8.0, 1.0),
        Channel("cable_temperature", 34.0, 6.0, 0.5, 10.0),
    ),
    "smoke": (
        Channel("temperature", 22.0, 3.0, 0.2, 10.0),
        Channel("battery", 3.5, 0.0, 0.01, 100.0),
    ),
}
FAMILIES: tuple[str, ...] = tuple(CHANNELS)


@dataclass(frozen=True, slots=True)
class LoadSize:
    """How much: every device sends `quantities` (1 or 2) values each `period_ms`.

    fire_every_ms: one smoke alarm this often in the whole district, gone 1 s later; 0 = none.
    """

    gateways: tuple[str, ...]
    devices_per_gateway: int = 50
    period_ms: int = 1_000
    quantities: int = 1
    grids: int = 10
    fire_every_ms: int = 0

    def __post_init__(self) -> None:
        if not self.gateways or self.devices_per_gateway < 1:
            raise ValueError("a load has at least one gateway and one device")
        if self.quantities not in (1, 2):
            raise ValueError("quantities is 1 or 2")
        if self.period_ms < 1 or self.fire_every_ms < 0:
            raise ValueError("period_ms is at least 1, fire_every_ms at least 0")


@dataclass(frozen=True, slots=True)
class _Columns:
    """The devices of one gateway, or of all, in the order of their phases; a row is a (device,
    quantity). Per row: phase int64, key uint64, base, swing, noise, scale float64."""

    devices: tuple[str, ...]
    families: tuple[str, ...]
    quantities: tuple[str, ...]
    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    phase_ms: NDArray[np.int64]
    offset: NDArray[np.int32]
    base: Floats
    swing: Floats
    noise: Floats
    scale: Floats


class LoadDistrict:
    """Has the face of `District`; readings are a pure function of (seed, size, time)."""

    def __init__(self, seed: int, size: LoadSize, *, start_ms: int) -> None:
        self.seed = seed
        self.size = size
        self.start_ms = start_ms
        self._columns: dict[int | None, _Columns] = {}
        numbers = np.arange(_TABLE)
        self._noise = unit(np.full(_TABLE, key_of(seed, "noise"), np.uint64), numbers)

    @property
    def gateways(self) -> tuple[str, ...]:
        return self.size.gateways

    def readings(self, from_ms: int, to_ms: int, gateway: int | None = None) -> ReadingBatch:
        """All rows with from_ms <= ts < to_ms, of one gateway or of all, rising in ts."""
        if gateway not in self._columns:
            self._columns[gateway] = self._lay_out(gateway)
        c, period = self._columns[gateway], self.size.period_ms
        first, last = from_ms // period, (to_ms - 1) // period
        width = len(c.phase_ms)
        start = int(np.searchsorted(c.phase_ms, from_ms - first * period))
        unused = width - int(np.searchsorted(c.phase_ms, to_ms - last * period))
        rounds = np.arange(first, last + 1, dtype=np.int64)
        span = slice(start, len(rounds) * width - unused)
        ts = (rounds[:, None] * period + c.phase_ms).reshape(-1)[span]
        batch = ReadingBatch(
            c.devices,
            c.families,
            c.quantities,
            np.tile(c.device, len(rounds))[span],
            np.tile(c.quantity, len(rounds))[span],
            ts,
            self._values(c, rounds).reshape(-1)[span],
            np.zeros(len(ts), np.uint16),
        )
        fires = self._fires(from_ms, to_ms, gateway)
        return _merged(batch, fires) if fires else batch

    def split(self, from_ms: int, to_ms: int, gateways: Sequence[int]) -> list[ReadingBatch]:
        """`readings` of each of the gateways."""
        return [self.readings(from_ms, to_ms, gateway) for gateway in gateways]

    def truth(self, from_ms: int, to_ms: int, gateway: int | None = None) -> list[Truth]:
        """The smoke alarms that begin with from_ms <= start < to_ms."""
        return [
            self._told(number, device, ts)
            for number, device, ts, value in self._alarms(from_ms, to_ms, gateway)
            if value
        ]

    @cached_property
    def layout(self) -> Layout:
        """For the registry; made only when asked for."""
        areas, grids = plan_grids(Size(grids=self.size.grids))
        at = [(round(g.west + 0.003, 6), round(g.south + 0.003, 6)) for g in grids]
        buildings = tuple(
            Building(f"{i + 1}号楼", i, "highrise_residential", 18, *at[i])
            for i in range(len(grids))
        )
        count = len(self.gateways) * self.size.devices_per_gateway
        devices = tuple(self._device(n, grids, at) for n in range(count))
        return Layout(areas, grids, buildings, self.gateways, devices)

    def _device(
        self, number: int, grids: Sequence[GridPlan], at: Sequence[tuple[float, float]]
    ) -> Device:
        gateway = number // self.size.devices_per_gateway
        grid = gateway % len(grids)
        family = FAMILIES[number % len(FAMILIES)]
        extra = {"point": "worst", "hydrant": "indoor"} if family == "firewater" else {}
        return Device(
            id=_device_id(number),
            family=family,
            gateway=gateway,
            grid=grid,
            building=grid,
            unit="1单元",
            floor=str(1 + number % 18),
            lon=at[grid][0],
            lat=at[grid][1],
            attributes={"building_class": "highrise_residential", **extra},
        )

    def _lay_out(self, gateway: int | None) -> _Columns:
        size = self.size
        each = size.devices_per_gateway
        if gateway is None:
            numbers = np.arange(len(size.gateways) * each)
        else:
            numbers = np.arange(gateway * each, (gateway + 1) * each)
        seed = np.full(len(numbers), key_of(self.seed, "load"), np.uint64)
        phase = (bits(seed, numbers) % np.uint64(size.period_ms)).astype(np.int64)
        numbers = numbers[np.argsort(phase, kind="stable")]
        phase = np.sort(phase)
        chosen = [CHANNELS[FAMILIES[n % len(FAMILIES)]][: size.quantities] for n in numbers]
        flat = [channel for channels in chosen for channel in channels]
        names = tuple(dict.fromkeys(channel.quantity for channel in flat))
        q = size.quantities
        rows = np.repeat(numbers * 2, q) + np.tile(np.arange(q), len(numbers))
        return _Columns(
            devices=tuple(_device_id(int(n)) for n in numbers),
            families=tuple(FAMILIES[n % len(FAMILIES)] for n in numbers),
            quantities=names,
            device=np.repeat(np.arange(len(numbers), dtype=np.int32), q),
            quantity=np.array([names.index(channel.quantity) for channel in flat], np.int16),
            phase_ms=np.repeat(phase, q),
            offset=(bits(np.repeat(seed, q), rows, 1) % np.uint64(_TABLE)).astype(np.int32),
            base=np.array([channel.base for channel in flat]),
            swing=np.array([channel.swing for channel in flat]),
            noise=np.array([channel.noise * 2 for channel in flat]),
            scale=np.array([channel.scale for channel in flat]),
        )

    def _values(self, c: _Columns, rounds: NDArray[np.int64]) -> Floats:
        """float64[rounds, rows]: base + swing * sine of the day + noise, as the sensor rounds.

        The noise of round r is entry (row's own offset + r * a step) of a fixed table: cheap to
        look up, and repeated for a device only after `len(self._noise)` rounds.
        """
        turn = 2.0 * math.pi * (rounds * self.size.period_ms % DAY_MS) / DAY_MS
        at = c.offset + (rounds * _STRIDE % _TABLE).astype(np.int32)[:, None]
        at &= _TABLE - 1
        value: Floats = self._noise[at]
        value *= c.noise
        value += c.base + np.sin(turn)[:, None] * c.swing
        value *= c.scale
        np.rint(value, out=value)
        value /= c.scale
        return value

    def _alarms(
        self, from_ms: int, to_ms: int, gateway: int | None
    ) -> list[tuple[int, int, int, float]]:
        """(number of the alarm, device, ts, value) of each row of `fire` in the span."""
        every = self.size.fire_every_ms
        if not every:
            return []
        smoke = FAMILIES.index("smoke")
        count = len(self.gateways) * self.size.devices_per_gateway
        heads = max(1, (count - smoke + len(FAMILIES) - 1) // len(FAMILIES))
        rows = []
        for k in range((from_ms - FIRE_LASTS_MS) // every, to_ms // every + 1):
            device = (k * 7 % heads) * len(FAMILIES) + smoke
            if device >= count or gateway not in (None, device // self.size.devices_per_gateway):
                continue
            for ts, value in ((k * every, 1.0), (k * every + FIRE_LASTS_MS, 0.0)):
                if from_ms <= ts < to_ms:
                    rows.append((k, device, ts, value))
        return rows

    def _fires(
        self, from_ms: int, to_ms: int, gateway: int | None
    ) -> list[tuple[str, str, str, int, float, int]]:
        return [
            (_device_id(device), "smoke", "fire", ts, value, int(Flag.ALARM) if value else 0)
            for _, device, ts, value in self._alarms(from_ms, to_ms, gateway)
        ]

    def _told(self, number: int, device: int, ts_ms: int) -> Truth:
        plan = self.layout.devices[device]
        return Truth(
            id=f"fire-{number}",
            kind="fire",
            klass="incident",
            device=plan.id,
            family=plan.family,
            gateway=self.gateways[plan.gateway],
            grid=self.layout.grids[plan.grid].code,
            building=self.layout.buildings[plan.building].name,
            start_ms=ts_ms,
            end_ms=ts_ms + FIRE_LASTS_MS,
            expect=(Expected("smoke.fire", ts_ms, ts_ms),),
        )


def _device_id(number: int) -> str:
    return f"ld-{number + 1:06d}"


def _merged(
    batch: ReadingBatch, extra: list[tuple[str, str, str, int, float, int]]
) -> ReadingBatch:
    """`batch` with a few rows more, in time order; equal times keep the batch's rows first."""
    more = ReadingBatch.of(sorted(extra, key=lambda row: (row[3], row[0])))
    device = {name: i for i, name in enumerate(batch.devices)}
    quantities = tuple(dict.fromkeys((*batch.quantities, *more.quantities)))
    rows = np.array([device[name] for name in more.devices], np.int32)[more.device]
    names = np.array([quantities.index(name) for name in more.quantities], np.int16)
    ts = np.concatenate([batch.ts_ms, more.ts_ms])
    order = np.argsort(ts, kind="stable")
    return ReadingBatch(
        batch.devices,
        batch.families,
        quantities,
        np.concatenate([batch.device, rows])[order],
        np.concatenate([batch.quantity, names[more.quantity]])[order],
        ts[order],
        np.concatenate([batch.value, more.value])[order],
        np.concatenate([batch.flags, more.flags])[order],
    )
