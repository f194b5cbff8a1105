"""What the rows of one tick say of each home."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.layout import Kind

POWER_W = 30.0
"""Somebody switched something (proposal)."""

# An attribute of an enumeration costs more than the comparison of a small array.
_MOTION, _CONTACT, _PRESSURE, _WATER, _POWER, _HELP, _METER, _HEARTBEAT, _LINK = (
    int(kind) for kind in Kind
)

Sensors = NDArray[np.int32]
Times = NDArray[np.int64]
Values = NDArray[np.float64]


def is_active(kind: NDArray[np.uint8], value: Values, before: Values) -> NDArray[np.bool_]:
    """Motion, water and the help button by their value, the others by its change: contacts
    repeat their state."""
    known = ~np.isnan(before)
    seen = (kind == _MOTION) | (kind == _WATER) | (kind == _METER) | (kind == _HELP)
    changed = ((kind == _CONTACT) | (kind == _PRESSURE)) & known & (value != before)
    switched = (kind == _POWER) & known & (np.abs(value - before) >= POWER_W)
    return np.asarray((seen & (value > 0)) | changed | switched)


@dataclass(slots=True)
class Moves:
    """Arrays of one entry a home; times are 0 where nothing was."""

    row_min: Times
    row_max: Times
    first_ms: Times
    inside_ms: Times
    room: NDArray[np.uint8]
    door_ms: Times
    water_ms: Times
    hearts: NDArray[np.int32]
    up_ms: Times
    down_ms: Times

    @staticmethod
    def none(homes: int) -> Moves:
        def zeros() -> Times:
            return np.zeros(homes, np.int64)

        return Moves(
            row_min=zeros(),
            row_max=zeros(),
            first_ms=zeros(),
            inside_ms=zeros(),
            room=np.zeros(homes, np.uint8),
            door_ms=zeros(),
            water_ms=zeros(),
            hearts=np.zeros(homes, np.int32),
            up_ms=zeros(),
            down_ms=zeros(),
        )

    def note_rows(
        self,
        home: Sensors,
        kind: NDArray[np.uint8],
        ts: Times,
        value: Values,
        active: NDArray[np.bool_],
    ) -> None:
        """All rows: that the home was heard, heartbeats, links."""
        link = kind == _LINK
        up, down = link & (value > 0), link & (value == 0)
        np.maximum.at(self.up_ms, home[up], ts[up])
        np.maximum.at(self.down_ms, home[down], ts[down])
        said = ~link
        np.maximum.at(self.row_max, home[said], ts[said])
        least(self.row_min, home[said], ts[said])
        # A meter that reports without use does so regularly: that proves as much as a heartbeat.
        heart = (kind == _HEARTBEAT) | ((kind == _METER) & ~active)
        np.add.at(self.hearts, home[heart], np.int32(1))

    def note_inside(self, home: Sensors, ts: Times, room: NDArray[np.uint8]) -> None:
        order = np.argsort(ts, kind="stable")
        self.room[home[order]] = room[order]
        np.maximum.at(self.inside_ms, home, ts)


def least(column: Times, rows: Sensors, ts: Times) -> None:
    """The least time of each row, where 0 stands for none."""
    if not len(rows):
        return
    order = np.argsort(-ts, kind="stable")
    old = column[rows[order]]
    column[rows[order]] = np.where(old > 0, np.minimum(old, ts[order]), ts[order])
