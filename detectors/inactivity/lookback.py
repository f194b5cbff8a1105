"""A sensor that was believed turns out to be mad: what relied on it is put right.

Its home's silence begins where somebody was last seen by a sensor, before it went mad or by one
that didn't, and is as surprising as it would have been by now. So a collapse that a chattering
sensor hid is told of as soon as the sensor is found out, or when it would have been without it,
whichever is later. A front door that chatters leaves nobody away.
"""

from __future__ import annotations

import numpy as np

from detectors.inactivity.health import Trust
from detectors.inactivity.layout import Kind, Layout, Role
from detectors.inactivity.learning import Rows
from detectors.inactivity.state import State

_WET = (int(Kind.WATER), int(Kind.METER))


def look_back(state: State, layout: Layout, watched: Rows, doubted: Rows) -> Rows:
    """Homes whose silence now begins earlier; their surprise is to be reckoned anew.

    watched: all sensors that show a person, inside or at the front door. doubted: those of them
    that are believed no longer; their proofs are what they said before.
    """
    home, sensor = state.home, state.sensor
    homes = np.unique(layout.home[doubted]).astype(np.intp)
    mine = watched[np.isin(layout.home[watched], homes)]
    mine = mine[np.argsort(sensor["proof_ms"][mine, 0], kind="stable")]
    is_door = layout.role[mine] == Role.FRONT_DOOR
    inside = mine[~is_door]
    # The newest comes last and stays.
    where = np.where(sensor["trust"][inside] == Trust.MOVED, 0, layout.room[inside])
    home["room"][layout.home[inside]] = where
    wet = inside[np.isin(layout.kind[inside], _WET)]
    for name, shown in (("inside_ms", inside), ("door_ms", mine[is_door]), ("water_ms", wet)):
        newest = np.zeros(len(layout.homes), np.int64)
        newest[layout.home[shown]] = sensor["proof_ms"][shown, 0]
        home[name][homes] = np.minimum(home[name][homes], newest[homes])
    since = np.maximum(home["inside_ms"][homes], home["door_ms"][homes])
    since = np.maximum(since, home["begun_ms"][homes])
    earlier = since < home["since_ms"][homes]
    home["since_ms"][homes[earlier]] = since[earlier]
    return np.asarray(homes[earlier])
