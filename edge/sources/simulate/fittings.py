"""Which channels each device has, how often it reports, and around which values it moves.

Reporting periods and levels are proposals that keep every quiet device inside the limits of
`docs/simulator.md`; they are not taken from any product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from contracts.quantities import QUANTITY_INDEX
from edge.sources.simulate import charging, lifts, models
from edge.sources.simulate.draws import Floats, draw, key_of
from edge.sources.simulate.layout import Device
from edge.sources.simulate.processes import (
    Channels,
    Happening,
    Ints,
    Model,
    Part,
    Periodic,
    Process,
)
from edge.sources.simulate.rhythms import CURVE_INDEX, level

SECOND: Final = 1_000
MINUTE: Final = 60_000
HOUR: Final = 3_600_000

_STATIC_MPA = {
    "over_100m": 0.30,
    "class1_highrise_public": 0.22,
    "highrise_residential": 0.17,
    "multi_storey": 0.18,
}
"""Static pressure at the worst point of a healthy building, by `building_class`."""


@dataclass(slots=True)
class _Group:
    device: list[int] = field(default_factory=list)
    quantity: list[int] = field(default_factory=list)
    key: list[int] = field(default_factory=list)
    phase: list[int] = field(default_factory=list)
    params: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def channels(self) -> Channels:
        """Sorted by phase, so that the rows of a process come nearly in time order."""
        order = np.argsort(np.array(self.phase), kind="stable")
        params = {name: np.array(column)[order] for name, column in self.params.items()}
        return Channels(
            np.array(self.device, np.int32)[order],
            np.array(self.quantity, np.int16)[order],
            np.array(self.key, np.uint64)[order],
            np.array(self.phase, np.int64)[order],
            params,
        )


_Shape = tuple[Model, int, int]
_Fit = Callable[["Fitter", int, Device], None]


class Fitter:
    """Collects channels of many devices into a few processes, one per (model, period, decimals)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.groups: dict[_Shape, _Group] = defaultdict(_Group)
        self.happening: dict[str, _Group] = defaultdict(_Group)

    def u(self, device: Device, lane: int) -> float:
        """A draw that belongs to the device: its individual level."""
        return draw(key_of(self.seed, "level", device.id), lane)

    def add(
        self,
        number: int,
        device: Device,
        quantity: str,
        model: Model,
        period_ms: int,
        *,
        decimals: int = 0,
        shared: bool = False,
        **params: float,
    ) -> None:
        """One periodic channel. shared: all channels of the device draw the same numbers."""
        group = self.groups[model, period_ms, decimals]
        name = () if shared else (quantity,)
        phase = int(draw(key_of(self.seed, "phase", device.id), period_ms) * period_ms / 2) * 2
        group.device.append(number)
        group.quantity.append(QUANTITY_INDEX[quantity])
        group.key.append(int(key_of(self.seed, "readings", device.id, *name)))
        group.phase.append(phase)
        for param, value in params.items():
            group.params[param].append(value)

    def steady(
        self,
        number: int,
        device: Device,
        quantity: str,
        period_ms: int,
        base: float,
        *,
        swing: float = 0.0,
        curve: str = "flat",
        noise: float = 0.0,
        drift: float = 0.0,
        least: float = 0.0,
        decimals: int = 1,
    ) -> None:
        self.add(
            number,
            device,
            quantity,
            models.steady,
            period_ms,
            decimals=decimals,
            base=base,
            swing=swing,
            curve=CURVE_INDEX[curve],
            noise=noise,
            drift=drift,
            least=least,
        )

    def rest(self, number: int, device: Device, period_ms: int, **values: float) -> None:
        """Bits and states that stay as they are until an incident changes them."""
        for quantity, value in values.items():
            self.add(number, device, quantity, models.constant, period_ms, base=value)

    def battery(self, number: int, device: Device) -> None:
        level_v = 3.6 + 0.05 * self.u(device, 90)
        self.add(number, device, "battery", models.battery, 10 * MINUTE, decimals=2, base=level_v)

    def happens(self, number: int, device: Device, quantity: str) -> None:
        group = self.happening[quantity]
        group.device.append(number)
        group.quantity.append(QUANTITY_INDEX[quantity])
        group.key.append(int(key_of(self.seed, "happening", device.id, quantity)))
        group.phase.append(0)

    def processes(self) -> list[Process]:
        periodic: list[Process] = [
            Periodic(group.channels(), period, model, decimals)
            for (model, period, decimals), group in self.groups.items()
        ]
        return periodic + [
            _HAPPENINGS[quantity](group.channels()) for quantity, group in self.happening.items()
        ]


def fit_devices(seed: int, devices: Sequence[Device]) -> list[Process]:
    """The processes of all devices."""
    fitter = Fitter(seed)
    for number, device in enumerate(devices):
        _FITS[device.family](fitter, number, device)
    return fitter.processes()


def _smoke(f: Fitter, n: int, d: Device) -> None:
    f.rest(n, d, MINUTE, fire=0.0)
    f.rest(n, d, 30 * MINUTE, fault=0.0, tamper=0.0, battery_low=0.0)
    f.steady(n, d, "temperature", MINUTE, 20 + 4 * f.u(d, 0), swing=2.5, curve="sun", noise=0.1)
    f.battery(n, d)


def _firewater(f: Fitter, n: int, d: Device) -> None:
    point = d.attributes["point"]
    u = f.u(d, 0)
    if point == "pump_room":
        f.rest(n, d, MINUTE, pump_running=0.0, pump_fault=0.0)
        f.steady(n, d, "tank_level", MINUTE, 3.2 + 0.3 * u, noise=0.004, drift=0.05, decimals=3)
        return
    base = {
        "worst": _STATIC_MPA[d.attributes["building_class"]] + 0.02 * u,
        "municipal": 0.26 + 0.05 * u,
        "indoor": 0.40 + 0.20 * u,
    }[point]
    swing = 0.015 if point == "municipal" else 0.004
    f.steady(
        n,
        d,
        "static_pressure",
        10 * SECOND,
        base,
        swing=swing,
        curve="supply",
        noise=0.0012,
        drift=0.003,
        decimals=3,
    )
    f.battery(n, d)


def _efire(f: Fitter, n: int, d: Device) -> None:
    u = f.u(d, 0)
    f.steady(
        n, d, "residual_current", 10 * SECOND, 80 + 70 * u, swing=25, curve="load", noise=3,
        drift=5, decimals=0,
    )  # fmt: skip
    f.steady(
        n, d, "cable_temperature", 30 * SECOND, 30 + 6 * u, swing=6, curve="load", noise=0.2,
        drift=1.5,
    )  # fmt: skip
    f.steady(n, d, "current", 30 * SECOND, 40 + 60 * u, swing=30, curve="load", noise=1.0)
    f.steady(n, d, "voltage", MINUTE, 226, swing=-4, curve="load", noise=0.6)
    f.rest(n, d, 10 * MINUTE, arc=0.0)


def _elevator(f: Fitter, n: int, d: Device) -> None:
    floors = float(d.attributes["floors"])
    phase = 2 * int(f.u(d, 0) * MINUTE / 2)
    for state, name in enumerate(lifts.STATES):
        f.add(
            n, d, name, lifts.lift_state, 5 * SECOND, shared=True,
            floors=floors, state=float(state), phase=float(phase),
        )  # fmt: skip
    f.rest(n, d, MINUTE, service_mode=1.0, power=1.0, fault_code=0.0)
    for name, rate in (("trip_counter", 1.0), ("running_hours", 0.012)):
        base = 20_000 * rate * (1 + f.u(d, 1))
        f.add(
            n, d, name, models.counter, 10 * MINUTE,
            base=base, rate=rate, curve=CURVE_INDEX["lift"],
        )  # fmt: skip


def _ebike(f: Fitter, n: int, d: Device) -> None:
    for name, decimals in (
        ("port_power", 1), ("current", 2), ("port_temperature", 1), ("session_time", 0),
        ("relay", 0),
    ):  # fmt: skip
        f.add(
            n, d, name, charging.port_state, 30 * SECOND, decimals=decimals, shared=True,
            facet=float(charging.FACETS.index(name)),
        )  # fmt: skip
    f.add(
        n, d, "stop_reason", charging.port_state, MINUTE, shared=True,
        facet=float(charging.FACETS.index("stop_reason")),
    )  # fmt: skip
    f.rest(n, d, MINUTE, smoke=0.0, water_ingress=0.0)


def _camera(f: Fitter, n: int, d: Device) -> None:
    f.rest(n, d, 5 * MINUTE, lens_blocked=0.0, online=1.0)
    f.happens(n, d, "falling_object.score")


def _elderly(f: Fitter, n: int, d: Device) -> None:
    f.rest(n, d, 5 * MINUTE, online=1.0, help_button=0.0)
    f.add(n, d, "water_volume", models.tap, 30 * MINUTE, decimals=4)
    f.happens(n, d, "motion")
    f.happens(n, d, "contact")
    f.battery(n, d)


def _water(f: Fitter, n: int, d: Device) -> None:
    f.steady(
        n, d, "flow", MINUTE, 1.2 + 0.4 * f.u(d, 0), swing=-0.9, curve="supply", noise=0.05,
        decimals=3,
    )  # fmt: skip
    f.steady(
        n, d, "water_volume", 15 * MINUTE, 1.1 + 0.4 * f.u(d, 0), swing=-0.8, curve="supply",
        noise=0.04, decimals=3,
    )  # fmt: skip
    f.rest(n, d, 10 * MINUTE, leak=0.0)
    f.battery(n, d)


def _gas(f: Fitter, n: int, d: Device) -> None:
    f.steady(n, d, "gas_lel", 30 * SECOND, 0.6 + 0.4 * f.u(d, 0), noise=0.2, drift=0.2)
    f.rest(n, d, 10 * MINUTE, leak=0.0)


_FITS: dict[str, _Fit] = {
    "smoke": _smoke,
    "firewater": _firewater,
    "efire": _efire,
    "elevator": _elevator,
    "ebike": _ebike,
    "camera": _camera,
    "elderly": _elderly,
    "water": _water,
    "gas": _gas,
}


def _one(u: Floats) -> Floats:
    return np.ones_like(u)


def _nil(u: Floats) -> Floats:
    return np.zeros_like(u)


def _chance(curve: str) -> Callable[[Channels, Ints], Floats]:
    def chance(channels: Channels, ts_ms: Ints) -> Floats:  # noqa: ARG001
        return level(CURVE_INDEX[curve], ts_ms)

    return chance


def _some(share: float) -> Callable[[Channels, Ints], Floats]:
    def chance(channels: Channels, ts_ms: Ints) -> Floats:  # noqa: ARG001
        return np.full(len(ts_ms), share)

    return chance


def _motion(channels: Channels) -> Happening:
    """Seen, and over 4 to 24 s later."""
    parts = (Part(_nil, _one), Part(lambda u: 4_000 + 20_000 * u, _nil))
    return Happening(channels, MINUTE, 24_000, _chance("home"), parts)


def _door(channels: Channels) -> Happening:
    """The front door opens, and closes 3 to 40 s later."""
    parts = (Part(_nil, _one), Part(lambda u: 3_000 + 37_000 * u, _nil))
    return Happening(channels, 10 * MINUTE, 40_000, _chance("door"), parts)


def _passers_by(channels: Channels) -> Happening:
    """Birds, leaves, laundry: a low score, less than one storey crossed."""
    storeys = QUANTITY_INDEX["falling_object.storeys"]
    parts = (
        Part(_nil, lambda u: 0.03 + 0.3 * u),
        Part(_nil, lambda u: np.floor(90.0 * u) / 100.0, storeys),
    )
    return Happening(channels, 15 * MINUTE, 1_000, _some(0.35), parts, decimals=3)


_HAPPENINGS: dict[str, Callable[[Channels], Happening]] = {
    "motion": _motion,
    "contact": _door,
    "falling_object.score": _passers_by,
}
