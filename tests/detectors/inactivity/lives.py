"""Homes for tests: simulated ones, and hand-made days whose alarms can be reckoned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.models import load_inactivity
from detectors.inactivity.alarms import Cause, Change, Episodes
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.inactivity.operator import InactivityOperator, Scores
from detectors.inactivity.presence import HomeState
from detectors.training.homes import Habits, Sensor, SimulatedHome, simulate_home
from rules.zones import zone

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STEP_MIN = 5
SHANGHAI = "Asia/Shanghai"

KIT: list[Sensor] = [
    ("m-bedroom", Kind.MOTION, Room.BEDROOM, Role.PERSON),
    ("m-living", Kind.MOTION, Room.LIVING, Role.PERSON),
    ("m-kitchen", Kind.MOTION, Room.KITCHEN, Role.PERSON),
    ("m-bath", Kind.MOTION, Room.BATHROOM, Role.PERSON),
    ("c-door", Kind.CONTACT, Room.ENTRANCE, Role.FRONT_DOOR),
    ("h-hub", Kind.HEARTBEAT, Room.OTHER, Role.PERSON),
]
REGULAR = Habits(
    wake=420.0, wake_spread=20.0, bed=1320.0, bed_spread=20.0, night_trips=1.0, nap=0.2,
    liveliness=1.2, outings=1.0, outing_min=80.0, missed_door=0.0, visitors=0.2, quiet_days=0.0,
    journeys=0.0,
)  # fmt: skip

Rows = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def regular_home(name: str = "home-1", days: int = 40, *, faults: bool = False) -> SimulatedHome:
    return simulate_home(name, seed=7, days=days, sensors=KIT, habits=REGULAR, faults=faults)


def layout_of(home: SimulatedHome, zone_name: str = SHANGHAI) -> Layout:
    return Layout.of(
        {home.name: zone(zone_name).info}, [(home.name, *sensor) for sensor in home.sensors]
    )


def operator_of(layout: Layout, *, step_min: int = STEP_MIN) -> InactivityOperator:
    infer, prior, _ = load_inactivity()
    return InactivityOperator(layout, infer, prior, step_min=step_min)


@dataclass
class Told:
    changes: list[Change]
    scores: list[Scores]

    def causes(self, since_ms: int = 0) -> list[Cause]:
        return [c.cause for c in self.changes if c.at_ms >= since_ms and c.cause]

    def states(self, row: int = 0) -> list[tuple[int, HomeState]]:
        """(time, state) at each change."""
        found: list[tuple[int, HomeState]] = []
        for one in self.scores:
            state = HomeState(int(one.state[row]))
            if not found or found[-1][1] is not state:
                found.append((one.at_ms, state))
        return found


def run(operator: InactivityOperator, rows: Rows, until_ms: int, episodes: Episodes) -> Told:
    """Feed all, then let time pass; rows later than a tick wait for theirs."""
    operator.feed(*rows)
    scores = operator.advance(until_ms)
    return Told([c for one in scores for c in episodes.note(one)], scores)


def cut(rows: Rows, keep: NDArray[np.bool_]) -> Rows:
    return rows[0][keep], rows[1][keep], rows[2][keep]


def rows_of(home: SimulatedHome) -> Rows:
    return home.sensor, home.ts_ms, home.value


def rows(listed: Iterable[tuple[int, int, float]]) -> Rows:
    """(sensor, ts_ms, value), in the order of acceptance."""
    found = list(listed)
    return (
        np.array([r[0] for r in found], np.int32),
        np.array([r[1] for r in found], np.int64),
        np.array([r[2] for r in found], np.float64),
    )


def unlike_a_clock(first: int, last: int, every: int, seed: int) -> list[int]:
    """Minutes as people keep them: about so often, and never twice alike."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.5, 1.5, (last - first) // every) * every
    found = first + np.cumsum(steps)
    return sorted({int(one) for one in found[found < last]})


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def local(home: SimulatedHome, day: int, hour: float) -> int:
    """Unix ms of an hour of a local day of a simulated home, in Shanghai."""
    del home
    return ms("2024-01-01T00:00+08:00") + day * DAY + round(hour * HOUR)
