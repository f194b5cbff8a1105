"""Which sensors can be believed: dead, stuck, chattering and moved ones are left out.

What a home's counts expect was learnt with all sensors there. When one can't be believed, the share
of activity that it alone used to see is taken off (`cover`): the rest of the home then is as
quiet as it should be. Share and counts age alike, so that needs no learning anew.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.learning import Rows
from detectors.inactivity.state import DAY_PARTS, SENSOR_UNIT, UNIT, Columns

HOUR_MS = 3_600_000
DEAD_AFTER_MS = 24 * HOUR_MS
DEAD_LIKELY = 16.0
"""Active minutes of the home that the sensor ought to have seen and missed: by chance 1 in e^16."""
FULL_HOUR = 0.8
HOT_HOURS = 6
"""So many hours in a row in which it alone saw somebody nearly all the time (proposals)."""
MOVED_DISTANCE = 0.6
MOVED_TICKS = 40
MOVED_FOR_MS = 14 * 24 * HOUR_MS
"""Its habits of four days against those of a month, and how long its room isn't believed then
(proposals)."""
COVER_LEAST = 0.02


class Trust(IntEnum):
    DEAD = 0
    GOOD = 1
    STUCK = 2  # or chattering: it sees somebody all the time, and alone
    MOVED = 3  # it shows that somebody is there, but no longer where


_DEAD, _GOOD, _STUCK, _MOVED = (int(one) for one in Trust)


def believed(trust: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((trust == _GOOD) | (trust == _MOVED))


def judge(
    home: Columns,
    sensor: Columns,
    sensors: Rows,
    home_of: NDArray[np.int32],
    *,
    now_ms: int,
    ticks_per_hour: int,
) -> None:
    """The hourly look at these sensors (those that show a person inside)."""
    sensors = sensors[sensor["row_ms"][sensors] > 0]
    if not len(sensors):
        return
    owner = home_of[sensors]
    total = home["active"][owner].sum(axis=1) / UNIT
    share = sensor["seen"][sensors].sum(axis=1) / SENSOR_UNIT / np.maximum(total, 1.0)
    missed = (home["acts"][owner] - sensor["acts_then"][sensors]) * share
    silent = now_ms - sensor["row_ms"][sensors] > DEAD_AFTER_MS
    dead = silent & (missed > DEAD_LIKELY)
    full = sensor["hour"][sensors] >= FULL_HOUR * ticks_per_hour
    hot = np.where(full, sensor["hot"][sensors] + 1, 0)
    was = sensor["trust"][sensors]
    cooled = sensor["hour"][sensors] < (1 - FULL_HOUR) * ticks_per_hour
    stuck = (hot >= HOT_HOURS) | ((was == _STUCK) & ~cooled)
    moved_ms = sensor["moved_ms"][sensors]
    moved = (moved_ms > 0) & (now_ms - moved_ms < MOVED_FOR_MS)
    trust = np.full(len(sensors), _GOOD, np.uint8)
    trust[moved] = _MOVED
    trust[stuck] = _STUCK
    trust[dead] = _DEAD
    sensor["trust"][sensors] = trust
    sensor["hot"][sensors] = np.minimum(hot, 1000)
    sensor["hour"][sensors] = 0
    _cover(home, sensor, sensors, owner, trust)


def _cover(
    home: Columns,
    sensor: Columns,
    sensors: Rows,
    owner: NDArray[np.int32],
    trust: NDArray[np.uint8],
) -> None:
    lost = np.where(believed(trust)[:, None], 0, sensor["alone"][sensors]) / SENSOR_UNIT
    homes = np.unique(owner)
    place = np.searchsorted(homes, owner)
    sums = np.zeros((len(homes), DAY_PARTS))
    np.add.at(sums, place, lost)
    seen = home["active"][homes] / UNIT
    cover = 1.0 - sums / np.maximum(seen, 1.0)
    home["cover"][homes] = np.clip(cover, COVER_LEAST, 1.0)


def look_for_moves(
    home: Columns, sensor: Columns, sensors: Rows, home_of: NDArray[np.int32], now_ms: int
) -> None:
    """The daily look: a sensor whose hours are no longer those that it had.

    Its own counts begin anew, and its home's counts weigh half: they are learnt over sooner.
    """
    slow = sensor["seen"][sensors].astype(np.float64)
    fast = sensor["lately"][sensors].astype(np.float64)
    enough = (slow.sum(axis=1) / SENSOR_UNIT >= 5 * MOVED_TICKS) & (
        fast.sum(axis=1) / SENSOR_UNIT >= MOVED_TICKS
    )
    distance = np.abs(_shares(slow) - _shares(fast)).sum(axis=1) / 2
    moved = sensors[enough & (distance > MOVED_DISTANCE)]
    if not len(moved):
        return
    sensor["moved_ms"][moved] = now_ms
    sensor["seen"][moved] = sensor["lately"][moved]
    sensor["alone"][moved] = np.minimum(sensor["alone"][moved], sensor["lately"][moved])
    homes = np.unique(home_of[moved])
    for name in ("events", "spent", "room_events", "room_spent", "sum_events", "sum_spent"):
        home[name][homes] >>= 1


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))
