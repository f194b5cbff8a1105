"""At home, away, asleep or unknown; and up to when a home's sensors are known to have worked."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.clock import HOUR_MS, MINUTE_MS
from detectors.inactivity.layout import Room
from detectors.inactivity.learning import Rows, per_month
from detectors.inactivity.moves import Moves
from detectors.inactivity.state import Columns

GRACE_MS = 90_000
"""Motion so soon after the front door may be of the one who leaves (proposal)."""
SETTLED_MS = 10 * MINUTE_MS
"""Nobody seen for so long after the front door: the home is empty (proposal)."""
OUTAGE_FACTOR, OUTAGE_LEAST_MS, OUTAGE_MOST_MS = 2.0, 30 * MINUTE_MS, 6 * HOUR_MS
"""A pause of this many usual pauses is an outage (proposal)."""
HEARTS = 24
"""Heartbeats after which a home is one that has heartbeats (proposal)."""
BLIND_MS = 24 * HOUR_MS
"""A home without heartbeats that says nothing for so long may as well be cut off."""
KEPT_MONTHLY = 1.0
"""Silences so rare in 30 days outlast an outage: lost data clears no alarm."""
NIGHT = (21 * 60, 9 * 60)
ASLEEP_MIN = 20.0


class HomeState(IntEnum):
    """The values of `home.state`."""

    UNKNOWN = 0
    HOME = 1
    AWAY = 2
    ASLEEP = 3


_UNKNOWN, _HOME, _AWAY, _ASLEEP = (int(one) for one in HomeState)
_BEDROOM = int(Room.BEDROOM)


def is_here(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """At home, awake or asleep."""
    return np.asarray((state == _HOME) | (state == _ASLEEP))


def resume(home: Columns, moves: Moves) -> None:
    """Heartbeats and links: learn the usual pause, and begin anew behind an outage."""
    home["hearts"][:] = np.minimum(home["hearts"] + moves.hearts, HEARTS)
    came = np.flatnonzero(moves.row_max > 0)
    gap = moves.row_min[came] - home["heard_ms"][came]
    known = home["heard_ms"][came] > 0
    out = known & (gap > outage_ms(home, came)) & (home["hearts"][came] >= HEARTS)
    usual = home["gap_ms"][came]
    fed = known & ~out & (gap > 0)
    home["gap_ms"][came] = np.where(fed, np.maximum(gap, usual - (usual >> 10)), usual)
    back = came[out | ~known]
    _begin(home, back, moves.row_min[back])
    up = np.flatnonzero((moves.up_ms > 0) & ((home["down_ms"] > 0) | (moves.down_ms > 0)))
    _begin(home, up, moves.up_ms[up])
    home["down_ms"][up] = 0
    down = np.flatnonzero(moves.down_ms > moves.up_ms)
    home["down_ms"][down] = moves.down_ms[down]
    home["heard_ms"][:] = np.maximum(home["heard_ms"], moves.row_max)


def _begin(home: Columns, rows: Rows, ts: NDArray[np.int64]) -> None:
    """What was before isn't known: the silence counts from here.

    One that was alarming already goes on being so: nobody has been seen since. What was silent
    before an outage of less than a day counts on for the ceilings, or a home that is cut off every
    night would never reach them.
    """
    alarming = per_month(home["surprise"][rows], home["level"][rows]) <= KEPT_MONTHLY
    alarming |= home["heard_ms"][rows] - home["since_ms"][rows] >= BLIND_MS
    alarming &= home["since_ms"][rows] > 0
    home["upto_ms"][rows] = np.maximum(home["upto_ms"][rows], ts)
    rows, ts = rows[~alarming], ts[~alarming]
    down, since = home["down_ms"][rows], home["since_ms"][rows]
    end = np.where(down > 0, down, home["heard_ms"][rows])
    silent = np.where(since > 0, np.maximum(end - since, 0), 0)
    goes_on = (since > 0) & (ts - end < BLIND_MS)
    home["before_ms"][rows] = np.where(goes_on, home["before_ms"][rows] + silent, 0)
    home["begun_ms"][rows] = np.maximum(home["begun_ms"][rows], ts)
    home["since_ms"][rows] = np.maximum(home["since_ms"][rows], ts)
    home["surprise"][rows] = 0.0
    home["usual"][rows] = 0.0


def outage_ms(home: Columns, rows: Rows | slice) -> NDArray[np.float64]:
    """A pause longer than this is an outage, where there are heartbeats."""
    usual = home["gap_ms"][rows] * OUTAGE_FACTOR
    return np.clip(usual, OUTAGE_LEAST_MS, OUTAGE_MOST_MS)


def proven_ms(home: Columns, at_ms: int) -> NDArray[np.int64]:
    """Up to when the sensors of each home are known to have worked."""
    proven = np.where(home["hearts"] >= HEARTS, home["heard_ms"], at_ms)
    down = home["down_ms"]
    return np.where(down > 0, np.minimum(proven, down), proven)


def states(home: Columns, at_ms: int, minute: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8 `HomeState` of each home. minute: of its local day."""
    out = np.where(
        home["hearts"] >= HEARTS,
        at_ms - home["heard_ms"] > outage_ms(home, slice(None)),
        at_ms - home["heard_ms"] > BLIND_MS,
    )
    never = home["heard_ms"] == 0
    after_door = home["inside_ms"] <= home["door_ms"] + GRACE_MS
    away = (home["door_ms"] > 0) & after_door & (at_ms - home["door_ms"] >= SETTLED_MS)
    night = (minute >= NIGHT[0]) | (minute < NIGHT[1])
    still = at_ms - home["since_ms"] >= ASLEEP_MIN * MINUTE_MS
    asleep = still & ((home["loaded"] > 0) | (night & (home["room"] == _BEDROOM)))
    state = np.where(asleep, _ASLEEP, _HOME)
    state = np.where(away, _AWAY, state)
    unknown = never | (home["down_ms"] > 0) | (out & ~(away & (home["hearts"] < HEARTS)))
    return np.where(unknown, _UNKNOWN, state).astype(np.uint8)
