"""The state of all homes as arrays, and its bytes.

A snapshot names homes and sensors, so it can be taken up under another layout: rows are matched by
name, those that are new begin empty, those that are gone are dropped.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.layout import Kind, Layout, Role

VERSION = 5

DAY_PARTS = 8
"""Three hours each."""
HALF_HOURS = 48
SILENCES = 8
"""Classes of silence: 5-10, 10-20, ... 320-640 min, longer."""
ROOM_COUNT = 6
TAIL = 64
"""Classes of surprise, each half a unit wide."""
UNIT = 16
"""A home's counts are integers in this fraction, so that decay doesn't eat what is rare."""
SENSOR_UNIT = 4
"""The same for a sensor's: 180 ticks a day, kept for a month, fit into 16 bits."""

HOME: dict[str, tuple[str, tuple[int, ...]]] = {
    "heard_ms": ("i8", ()),  # last row of any kind; 0 = none yet
    "begun_ms": ("i8", ()),  # what was before isn't known: the last outage ended
    "since_ms": ("i8", ()),  # the silence counts from here
    "before_ms": ("i8", ()),  # how long it was silent before outages, and nobody was seen since
    "upto_ms": ("i8", ()),  # surprise has been added up to here
    "inside_ms": ("i8", ()),  # last activity inside
    "door_ms": ("i8", ()),  # last opening or shutting of the front door
    "water_ms": ("i8", ()),  # last use of water
    "down_ms": ("i8", ()),  # the gateway is offline since; 0 = it isn't
    "gap_ms": ("i8", ()),  # the longest usual pause between rows, decaying
    "hearts": ("i4", ()),  # heartbeats heard, up to a bound
    "state": ("u1", ()),
    "room": ("u1", ()),  # of the last activity
    "loaded": ("u1", ()),  # the bed is
    "surprise": ("f8", ()),  # cumulative hazard of this silence
    "usual": ("f8", ()),  # minutes after which only one such silence in 20 goes on; 0 = not yet
    "recent": ("f8", ()),  # active minutes, decaying over a day
    "acts": ("i8", ()),  # active ticks ever
    "acts_before": ("i8", ()),  # the same at the last hourly look
    "odd_days": ("u1", ()),  # daily looks in a row at which a sensor saw other things than before
    "days": ("i4", ()),  # observed days at home, decaying, x 256
    "told": ("u1", ()),  # emission step
    "told_hour": ("i4", ()),
    "told_state": ("u1", ()),
    "told_proven": ("u1", ()),
    "told_dry": ("u1", ()),  # the day without water, at its ceiling or not
    "events": ("u4", (2, HALF_HOURS, SILENCES)),  # silences that ended, by kind of day
    "spent": ("u4", (2, HALF_HOURS, SILENCES)),  # minutes, by the same
    "room_events": ("u4", (ROOM_COUNT, 4, SILENCES)),
    "room_spent": ("u4", (ROOM_COUNT, 4, SILENCES)),
    "sum_events": ("u4", (SILENCES,)),
    "sum_spent": ("u4", (SILENCES,)),
    "active": ("u4", (DAY_PARTS,)),  # active ticks by part of the day
    "tail": ("u4", (TAIL,)),  # how surprising silences got before they ended
    "cover": ("f8", (DAY_PARTS,)),  # share of activity that the trusted sensors see
    "doubted": ("u1", ()),  # a sensor talks that isn't believed
    "level": ("f8", (3,)),  # tail: from where, how often there a day, mean excess
}
SENSOR: dict[str, tuple[str, tuple[int, ...]]] = {
    "row_ms": ("i8", ()),  # last row
    "value": ("f8", ()),  # of it; NaN = none yet
    "acts_then": ("i8", ()),  # the home's `acts` at that row
    "trust": ("u1", ()),  # `health.Trust`
    "hour": ("u2", ()),  # ticks of this hour in which it alone was active
    "busy": ("u2", ()),  # ticks of this hour in which it was active
    "hot": ("u2", ()),  # hours in a row in which it alone showed somebody, or far too often
    "hot_custom": ("u2", ()),  # the longest such row that ended, decaying, x 256
    "calm_ms": ("i8", ()),  # the last that was believed of it before they began
    "act_ms": ("i8", ()),  # last activation
    "steps": ("i8", (2,)),  # the last two intervals between activations
    "beats": ("i4", ()),  # `rhythm`: the sum of intervals that are alike
    "rhythm_ms": ("i8", ()),  # that sum is above 0 since
    "full_ms": ("i8", ()),  # and was a machine's until; 0 = it wasn't
    "custom_ms": ("i8", ()),  # the longest rhythm that ended, decaying
    "mad_ms": ("i8", ()),  # a machine's for too long, at last; 0 = never
    "proof_ms": ("i8", (3,)),  # the last activations that were believed, newest first
    "held_ms": ("i8", ()),  # the last one before the present rhythm
    "least": ("f8", ()),  # of a meter, the least of this day; NaN = none yet
    "least_before": ("f8", ()),  # and of the day before
    "hours": ("u4", ()),  # of this day, in which the meter said something: a bit each
    "hours_before": ("u4", ()),
    "moved_ms": ("i8", ()),  # when its habits broke; 0 = they didn't
    "seen": ("u2", (DAY_PARTS,)),  # active ticks, decaying over a month
    "lately": ("u2", (DAY_PARTS,)),  # the same over four days
    "alone": ("u2", (DAY_PARTS,)),  # of `seen`, those in which no other sensor was
    "lately_alone": ("u2", (DAY_PARTS,)),  # of `lately`, the same
}
_INITIAL: dict[str, float] = {
    "gap_ms": 3_600_000, "cover": 1.0, "value": np.nan,
    "least": np.nan, "least_before": np.nan, "trust": 1, "told_state": 255,
    "told_proven": 255, "since_ms": 0,
}  # fmt: skip

Columns = dict[str, NDArray[Any]]


class SnapshotMismatch(Exception):
    """A snapshot that this version can't read."""


def new_columns(spec: dict[str, tuple[str, tuple[int, ...]]], rows: int) -> Columns:
    return {
        name: np.full((rows, *shape), _INITIAL.get(name, 0), np.dtype(f"<{kind}"))
        for name, (kind, shape) in spec.items()
    }


class State:
    """home, sensor: one array a column of `HOME` and `SENSOR`. tick_ms: of the last tick, 0 = none.

    pending: rows that wait for their tick; (sensor i4, ts i8, value f8).
    """

    def __init__(self, layout: Layout) -> None:
        self.home = new_columns(HOME, len(layout.homes))
        self.sensor = new_columns(SENSOR, len(layout.sensors))
        self.tick_ms = 0
        self.pending: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]] = (
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.float64),
        )

    def bytes_per_home(self, homes: int) -> float:
        columns = (*self.home.values(), *self.sensor.values())
        return sum(column.nbytes for column in columns) / max(1, homes)

    def copy_home(self, source: int, target: int) -> None:
        """All that is known of a home becomes that of another, its sensors left out."""
        for column in self.home.values():
            column[target] = column[source]

    def snapshot(self, layout: Layout) -> bytes:
        return msgspec.msgpack.encode(
            {
                "version": VERSION,
                "tick_ms": self.tick_ms,
                "homes": layout.homes,
                "sensors": layout.keys(),
                "home": {name: column.tobytes() for name, column in self.home.items()},
                "sensor": {name: column.tobytes() for name, column in self.sensor.items()},
                "pending": [column.tobytes() for column in self.pending],
            }
        )

    def restore(self, blob: bytes, layout: Layout) -> None:
        """Raises `SnapshotMismatch`."""
        try:
            kept = msgspec.msgpack.decode(blob)
            if kept["version"] not in (3, 4, VERSION):
                raise SnapshotMismatch(f"version {kept['version']}, this is {VERSION}")
            self.tick_ms = kept["tick_ms"]
            homes = _matched(list(kept["homes"]), list(layout.homes))
            sensors = _matched([tuple(key) for key in kept["sensors"]], layout.keys())
            old = kept["version"] != VERSION
            _take(self.home, HOME, kept["home"], homes, partial=old)
            _take(self.sensor, SENSOR, kept["sensor"], sensors, partial=old)
            if kept["version"] == 3:
                self._raise_from_3()
            self.pending = _pending(kept["pending"], sensors)
        except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
            raise SnapshotMismatch(f"damaged: {error}") from None

    def _raise_from_3(self) -> None:
        """What homes have taught outlasts a new version. That one kept no proofs of single
        sensors, so that no silence is looked back on beyond this moment."""
        self.home["begun_ms"][:] = self.home["since_ms"]
        self.home["acts_before"][:] = self.home["acts"]


def _matched(old: list[Any], new: list[Any]) -> NDArray[np.intp]:
    """Old row -> new row, -1 = gone."""
    row = {name: i for i, name in enumerate(new)}
    return np.array([row.get(name, -1) for name in old], np.intp)


def _take(
    columns: Columns,
    spec: dict[str, tuple[str, tuple[int, ...]]],
    kept: dict[str, bytes],
    rows: NDArray[np.intp],
    *,
    partial: bool,
) -> None:
    there = rows >= 0
    for name, (kind, shape) in spec.items():
        if partial and name not in kept:
            continue  # It came later, and stays as it is at first.
        old = np.frombuffer(kept[name], np.dtype(f"<{kind}")).reshape(len(rows), *shape)
        columns[name][rows[there]] = old[there]


def _pending(
    kept: list[bytes], rows: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    old = np.frombuffer(kept[0], "<i4")
    ts, value = np.frombuffer(kept[1], "<i8"), np.frombuffer(kept[2], "<f8")
    sensor = rows[old].astype(np.int32) if len(old) else np.empty(0, np.int32)
    there = sensor >= 0
    return sensor[there], ts[there], value[there]


def sensor_mask(layout: Layout) -> NDArray[np.bool_]:
    """Sensors that show a person inside: neither the front door nor what runs by itself."""
    return np.asarray((layout.kind < Kind.HEARTBEAT) & (layout.role == Role.PERSON))
