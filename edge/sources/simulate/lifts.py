"""A lift as a function of time: at most one trip a minute, parked at floor 1 when idle.

A minute's trip begins where the last minute's ended; both ends are drawn per minute, so the
state at any moment needs no history. Encodings as in the public status tables: direction 0 none,
1 up, 2 down; door_zone 1 in, 2 not; passenger 1 yes, 2 no; here door_closed and car_moving 0/1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sources.simulate import rhythms
from edge.sources.simulate.draws import Floats, Keys, unit
from edge.sources.simulate.processes import Channels, Ints

STATES: Final = (
    "position",
    "direction",
    "car_moving",
    "door_zone",
    "door_closed",
    "passenger",
)
MINUTE_MS: Final = 60_000
DEPART_MS: Final = 6_000
PER_FLOOR_MS: Final = 1_500
MAX_FLOORS: Final = 32
"""(32 - 1) * 1.5 s + 6 s + doors ends inside the minute."""

_ACTIVE, _FLOOR = 21, 22


def lift_state(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:  # noqa: ARG001
    """The value of each row's state; params: floors, state (index into `STATES`), phase."""
    p = channels.params
    local = ts_ms - p["phase"].astype(np.int64)
    minute = local // MINUTE_MS
    within = local % MINUTE_MS
    busy, to = _destination(channels.key, p["floors"], minute)
    _, start = _destination(channels.key, p["floors"], minute - 1)
    distance = np.abs(to - start)
    arrive = DEPART_MS + PER_FLOOR_MS * distance
    trip = busy & (distance > 0)
    moving = (distance > 0) & (within >= DEPART_MS) & (within < arrive)
    done = np.floor(np.clip((within - DEPART_MS) / PER_FLOOR_MS, 0, distance))
    heading = np.sign(to - start)
    door = _door_open(trip, within, arrive)
    inside = trip & (within >= 3_000) & (within < arrive + 3_000)
    states: tuple[Floats, ...] = (
        start + heading * done,
        np.where(moving, np.where(heading > 0, 1.0, 2.0), 0.0),
        moving.astype(np.float64),
        np.where(moving, 2.0, 1.0),
        np.where(door, 0.0, 1.0),
        np.where(inside, 1.0, 2.0),
    )
    return np.choose(p["state"].astype(np.intp), states)


def _destination(key: Keys, floors: Floats, minute: Ints) -> tuple[NDArray[np.bool_], Floats]:
    """(whether somebody rides in this minute, the floor at its end)."""
    chance = rhythms.level(rhythms.CURVE_INDEX["lift"], minute * MINUTE_MS)
    busy = unit(key, minute, _ACTIVE) < chance
    floor = 1.0 + np.floor(unit(key, minute, _FLOOR) * np.minimum(floors, MAX_FLOORS))
    return busy, np.where(busy, floor, 1.0)


def _door_open(trip: NDArray[np.bool_], within: Ints, arrive: Floats) -> NDArray[np.bool_]:
    boarding = (within >= 1_000) & (within < 5_000)
    leaving = (within >= arrive + 500) & (within < arrive + 4_500)
    return trip & (boarding | leaving)
