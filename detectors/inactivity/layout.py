"""Which homes there are and what hangs in them, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """What a sensor reports. METER: water used since the reading before, 0 too, at regular times.

    LINK is no sensor: 0 = its gateway is offline, 1 = it is back.
    """

    MOTION = 0
    CONTACT = 1
    PRESSURE = 2
    WATER = 3
    POWER = 4
    HELP = 5
    METER = 6
    HEARTBEAT = 7
    LINK = 8


KINDS = {
    "motion": Kind.MOTION,
    "contact": Kind.CONTACT,
    "pressure": Kind.PRESSURE,
    "water_flow": Kind.WATER,
    "water_volume": Kind.METER,
    "power": Kind.POWER,
    "help_button": Kind.HELP,
    "heartbeat": Kind.HEARTBEAT,
}
"""The names that `home.json` and event files use."""


class Room(IntEnum):
    OTHER = 0
    BEDROOM = 1
    LIVING = 2
    KITCHEN = 3
    BATHROOM = 4
    ENTRANCE = 5


ROOMS = {
    "other": Room.OTHER,
    "bedroom": Room.BEDROOM,
    "living": Room.LIVING,
    "office": Room.LIVING,
    "kitchen": Room.KITCHEN,
    "bathroom": Room.BATHROOM,
    "toilet": Room.BATHROOM,
    "entrance": Room.ENTRANCE,
}


class Role(IntEnum):
    """PERSON: shows that somebody is active. AUTOMATIC: runs by itself and shows nothing."""

    PERSON = 0
    FRONT_DOOR = 1
    AUTOMATIC = 2


def role_of(name: str) -> Role:
    """The role behind a name such as `front_door` or `dishwasher_automatic`.

    >>> role_of("front_door").name, role_of("dishwasher_automatic").name, role_of("tv").name
    ('FRONT_DOOR', 'AUTOMATIC', 'PERSON')
    """
    if name == "front_door":
        return Role.FRONT_DOOR
    return Role.AUTOMATIC if name.endswith("_automatic") else Role.PERSON


@dataclass(frozen=True, slots=True)
class Layout:
    """homes: codes, one a row. zone: int16 row of `zones`, the home's local time.

    sensors: names, unique within their home. home: int32 row of `homes`. kind, room, role: uint8.
    """

    homes: tuple[str, ...]
    zone: NDArray[np.int16]
    zones: tuple[tzinfo, ...]
    sensors: tuple[str, ...]
    home: NDArray[np.int32]
    kind: NDArray[np.uint8]
    room: NDArray[np.uint8]
    role: NDArray[np.uint8]

    @staticmethod
    def of(homes: dict[str, tzinfo], sensors: list[tuple[str, str, Kind, Room, Role]]) -> Layout:
        """sensors: (home, name, kind, room, role)."""
        zones = list(dict.fromkeys(homes.values()))
        row = {home: i for i, home in enumerate(homes)}
        return Layout(
            tuple(homes),
            np.array([zones.index(zone) for zone in homes.values()], np.int16),
            tuple(zones),
            tuple(name for _, name, *_ in sensors),
            np.array([row[home] for home, *_ in sensors], np.int32),
            np.array([kind for _, _, kind, _, _ in sensors], np.uint8),
            np.array([room for *_, room, _ in sensors], np.uint8),
            np.array([role for *_, role in sensors], np.uint8),
        )

    def keys(self) -> list[tuple[str, str]]:
        """(home, sensor) of each sensor: what a snapshot is matched by."""
        homes = [self.homes[row] for row in self.home.tolist()]
        return list(zip(homes, self.sensors, strict=True))
