"""Which sensors can be believed: dead, stuck, chattering and moved ones are left out.

What a home's counts expect was learnt with all sensors there. When one can't be believed, the share
of activity that it alone used to see is taken off (`cover`): the rest of the home then is as
quiet as it should be. Share and counts age alike, so that needs no learning anew.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity import rhythm
from detectors.inactivity.clock import HOUR_MS
from detectors.inactivity.learning import Rows
from detectors.inactivity.state import DAY_PARTS, SENSOR_UNIT, UNIT, Columns

DEAD_AFTER_MS = 24 * HOUR_MS
DEAD_LIKELY = 16.0
"""Active minutes of the home that the sensor ought to have seen and missed: by chance 1 in e^16."""
FULL_HOUR = 0.8
ALONE_HOUR = 0.1
"""An hour is hot in which it alone saw somebody in so much of the time, or in so much and no other
sensor saw anybody at all, though by their share they ought to have."""
BUSY_HOUR, BUSY_FACTOR, BUSY_DAYS = 0.5, 4.0, 3.0
"""And one in which it saw somebody in so much of the time, so many times more than in its own
busiest hours, once it has been known for some days (proposals)."""
HOT_HOURS, HOT_CUSTOM, HOT_CUSTOM_MOST = 10, 1.25, 12
"""So many hot hours in a row, or a quarter more than the longest row that ended (proposals:
somebody with guests sits in one room for seven hours, in simulated homes and once in 56 days of a
recorded one). A row of more hours than the last never becomes custom."""
_CUSTOM_UNIT = 256
MOVED_DISTANCE, MOVED_DAYS = 0.35, 3
MOVED_SLOW, MOVED_FAST = 120, 40
MOVED_FOR_MS = 14 * 24 * HOUR_MS
"""Habits of four days against those of a month, on so many looks in a row; active ticks that are
needed of both; and how long a moved sensor's room isn't believed. Habits are the parts of the day
in which it sees somebody, alone and together with others. Chosen on simulated homes: of 25 none
was beyond that within 52 days while all hung still; of 100 sensors that were carried to another
room 84 were found, after three days in the middle (proposals)."""
BLAMED_AMOUNT, CLOSE, BLAMED_MORE = 0.25, 0.6, 1.5
"""Which of a home's sensors was carried: its hours changed most, and so did how often it sees
somebody, in logarithms; it has changed by a share of what is asked for. Where it did by not so many
times more than the next one, somebody else is about (proposals)."""
MONTH_OF_FOUR_DAYS = 8
"""A month's counts against those of four days, where habits are steady."""
COVER_LEAST = 0.02


class Trust(IntEnum):
    DEAD = 0
    GOOD = 1
    STUCK = 2  # it sees somebody all the time, and alone, or far more often than it used to
    MOVED = 3  # it shows that somebody is there, but no longer where
    CHATTERING = 4  # it keeps time like a machine


_DEAD, _GOOD, _STUCK, _MOVED, _CHATTERING = (int(one) for one in Trust)


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
) -> Rows:
    """The hourly look at these sensors (those that show a person, inside or at the front door);
    gives those that are mad now and were believed until now."""
    sensors = sensors[sensor["row_ms"][sensors] > 0]
    if not len(sensors):
        return sensors
    owner = home_of[sensors]
    total = home["active"][owner].sum(axis=1) / UNIT
    share = sensor["seen"][sensors].sum(axis=1) / SENSOR_UNIT / np.maximum(total, 1.0)
    missed = (home["acts"][owner] - sensor["acts_then"][sensors]) * share
    silent = now_ms - sensor["row_ms"][sensors] > DEAD_AFTER_MS
    was = sensor["trust"][sensors]
    stuck = _stuck(home, sensor, sensors, owner, ticks_per_hour)
    moved_ms = sensor["moved_ms"][sensors]
    trust = np.full(len(sensors), _GOOD, np.uint8)
    trust[(moved_ms > 0) & (now_ms - moved_ms < MOVED_FOR_MS)] = _MOVED
    trust[stuck] = _STUCK
    trust[rhythm.keeps_time(sensor, sensors, now_ms)] = _CHATTERING
    trust[silent & (missed > DEAD_LIKELY)] = _DEAD
    sensor["trust"][sensors] = trust
    found = sensors[stuck & believed(was)]
    sensor["proof_ms"][found] = sensor["calm_ms"][found][:, None]
    sensor["held_ms"][found] = sensor["calm_ms"][found]
    cover(home, sensor, sensors, owner)
    return found


def doubt(sensor: Columns, sensors: Rows) -> None:
    """The rhythm of these is a machine's: nothing that they said since it began is believed."""
    sensor["trust"][sensors] = _CHATTERING
    sensor["proof_ms"][sensors] = sensor["held_ms"][sensors][:, None]


def _stuck(
    home: Columns, sensor: Columns, sensors: Rows, owner: NDArray[np.int32], ticks_per_hour: int
) -> NDArray[np.bool_]:
    was = sensor["trust"][sensors]
    alone = sensor["hour"][sensors].astype(np.int64)
    own = np.where(believed(was), alone, 0)
    others = home["acts"][owner] - home["acts_before"][owner] - own
    few = max(2.0, ALONE_HOUR * ticks_per_hour)
    hot = alone >= FULL_HOUR * ticks_per_hour
    # Where one sensor sees nearly all that happens, that it is alone says nothing.
    missed = HOT_HOURS * alone * _others_missed(home, sensor, sensors, owner)
    hot |= (alone >= few) & (others <= 0) & (missed >= DEAD_LIKELY)
    hot |= _far_too_busy(home, sensor, sensors, owner, ticks_per_hour)
    rows_before = sensor["hot"][sensors].astype(np.int64)
    custom = sensor["hot_custom"][sensors]
    ended = ~hot & (rows_before <= HOT_CUSTOM_MOST)
    sensor["hot_custom"][sensors] = np.where(
        ended, np.maximum(custom, rows_before * _CUSTOM_UNIT), custom
    )
    in_a_row = np.where(hot, rows_before + 1, 0)
    most = np.maximum(HOT_HOURS, HOT_CUSTOM * custom / _CUSTOM_UNIT)
    calm = sensors[in_a_row == 0]
    sensor["calm_ms"][calm] = sensor["proof_ms"][calm, 0]
    sensor["hot"][sensors] = np.minimum(in_a_row, 1000)
    sensor["hour"][sensors] = 0
    sensor["busy"][sensors] = 0
    home["acts_before"][owner] = home["acts"][owner]
    return np.asarray((in_a_row >= most) | ((was == _STUCK) & (alone >= few)))


def _others_missed(
    home: Columns, sensor: Columns, sensors: Rows, owner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The share of a home's activity that others than this sensor see, too or alone."""
    total = home["active"][owner].sum(axis=1) / UNIT
    alone = sensor["alone"][sensors].sum(axis=1) / SENSOR_UNIT
    return np.asarray(np.clip(1.0 - alone / np.maximum(total, 1.0), 0.0, 1.0))


def _far_too_busy(
    home: Columns, sensor: Columns, sensors: Rows, owner: NDArray[np.int32], ticks_per_hour: int
) -> NDArray[np.bool_]:
    busy = sensor["busy"][sensors]
    days = home["days"][owner] / 256.0
    hours = np.maximum(days, 1.0) * 24 / DAY_PARTS
    usual = sensor["seen"][sensors].max(axis=1) / SENSOR_UNIT / hours
    return np.asarray(
        (busy >= BUSY_HOUR * ticks_per_hour) & (busy >= BUSY_FACTOR * usual) & (days >= BUSY_DAYS)
    )


def cover(home: Columns, sensor: Columns, sensors: Rows, owner: NDArray[np.int32]) -> None:
    """sensors: all of their homes, owner: those homes."""
    mad = ~believed(sensor["trust"][sensors])
    lost = np.where(mad[:, None], sensor["alone"][sensors], 0) / SENSOR_UNIT
    homes, place = np.unique(owner, return_inverse=True)
    sums = np.zeros((len(homes), DAY_PARTS))
    np.add.at(sums, place, lost)
    seen = home["active"][homes] / UNIT
    share = 1.0 - sums / np.maximum(seen, 1.0)
    home["cover"][homes] = np.clip(share, COVER_LEAST, 1.0)
    talking = np.zeros(len(homes), bool)
    np.logical_or.at(talking, place, mad & (sensor["trust"][sensors] != _DEAD))
    home["doubted"][homes] = talking


def look_for_moves(
    home: Columns, sensor: Columns, sensors: Rows, home_of: NDArray[np.int32], now_ms: int
) -> None:
    """The daily look at all sensors of some homes: one that no longer sees what it saw, when and
    beside whom it did.

    One a home, and none where several changed alike: that is a visitor, or another life. As long
    as one counts as moved, what its home's sensors see is learnt from the last days alone: beside
    it, others are less alone than they were.
    """
    if not len(sensors):
        return
    distance, blame = _changes(sensor, sensors)
    homes, place = np.unique(home_of[sensors], return_inverse=True)
    moved_ms = sensor["moved_ms"][sensors]
    learning, changed = np.zeros(len(homes), bool), np.zeros(len(homes), bool)
    np.logical_or.at(learning, place, (moved_ms > 0) & (now_ms - moved_ms < MOVED_FOR_MS))
    np.logical_or.at(changed, place, distance > MOVED_DISTANCE)
    most, next_most = np.zeros(len(homes)), np.zeros(len(homes))
    np.maximum.at(most, place, blame)
    is_most = blame >= most[place]
    np.maximum.at(next_most, place, np.where(is_most, 0.0, blame))
    odd = changed & (most >= BLAMED_MORE * next_most) & ~learning
    home["odd_days"][homes] = np.where(odd, home["odd_days"][homes] + 1, 0)
    found = odd & (home["odd_days"][homes] >= MOVED_DAYS)
    if found.any():
        close = is_most & (distance >= CLOSE * MOVED_DISTANCE)
        sensor["moved_ms"][sensors[found[place] & close]] = now_ms
        home["odd_days"][homes[found]] = 0
        for name in ("events", "spent", "room_events", "room_spent", "sum_events", "sum_spent"):
            home[name][homes[found]] >>= 1
    theirs = sensors[(found | learning)[place]]
    for month, days in (("seen", "lately"), ("alone", "lately_alone")):
        steady = sensor[days][theirs].astype(np.int64) * MONTH_OF_FOUR_DAYS
        sensor[month][theirs] = np.minimum(steady, 65_535).astype(np.uint16)


def _changes(sensor: Columns, sensors: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far its habits of the last days are from those of a month, and how much that speaks for
    its having been carried; both 0 where too little is known."""
    slow = _habits(sensor["seen"][sensors], sensor["alone"][sensors])
    fast = _habits(sensor["lately"][sensors], sensor["lately_alone"][sensors])
    months, days = slow.sum(axis=1) / SENSOR_UNIT, fast.sum(axis=1) / SENSOR_UNIT
    known = (months >= MOVED_SLOW) & (days >= MOVED_FAST)
    hours = _distance(sensor["seen"][sensors], sensor["lately"][sensors])
    amount = np.abs(np.log((days * MONTH_OF_FOUR_DAYS + 32) / (months + 32)))
    blame = hours + BLAMED_AMOUNT * amount
    return np.where(known, _distance(slow, fast), 0.0), np.where(known, blame, 0.0)


def _distance(
    one: NDArray[np.float64] | NDArray[np.uint16], other: NDArray[np.float64] | NDArray[np.uint16]
) -> NDArray[np.float64]:
    """Of their shares: 0 = alike, 1 = nothing in common."""
    return np.asarray(np.abs(_shares(one) - _shares(other)).sum(axis=1) / 2)


def _habits(seen: NDArray[np.uint16], alone: NDArray[np.uint16]) -> NDArray[np.float64]:
    """float64[sensor, 2 x part of the day]: together with others, and alone."""
    together = seen.astype(np.float64) - alone
    return np.concatenate([np.maximum(together, 0.0), alone.astype(np.float64)], axis=1)


def age_customs(sensor: Columns, sensors: Rows) -> None:
    """A day later."""
    sensor["hot_custom"][sensors] -= sensor["hot_custom"][sensors] >> 5
    rhythm.age_customs(sensor, sensors)


def _shares(counts: NDArray[np.float64] | NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))
