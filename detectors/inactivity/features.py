"""The model's input: what the home itself has taught, and the circumstances of this silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.learning import Rows
from detectors.inactivity.prior import Prior
from detectors.inactivity.state import HALF_HOURS, ROOM_COUNT, UNIT, Columns

NAMES: tuple[str, ...] = (
    "log_rate_silence", "log_rate_now", "log_rate_other_days", "log_rate_room", "log_rate_prior",
    "known_minutes", "log_minutes", "sin_day", "cos_day", "sin_half_day", "cos_half_day", "weekend",
    "bed_loaded", "recent",
    "room_other", "room_bedroom", "room_living", "room_kitchen", "room_bathroom", "room_entrance",
)  # fmt: skip
"""Bump the manifest's input specification when these change."""

_WEIGHT = 60.0 * UNIT
"""Minutes that a coarser estimate counts for where a finer one takes over from it (proposal)."""
_AROUND = np.array([-1, 0, 1])
_SHARE = np.array([1.0, 2.0, 1.0]) / 2.0


def features(
    home: Columns,
    rows: Rows,
    *,
    kind_of_day: Rows,
    minute: NDArray[np.int64],
    silence: Rows,
    minutes: NDArray[np.float64],
    prior: Prior,
) -> NDArray[np.float32]:
    """float32[len(rows), len(NAMES)]. minute: of the local day. minutes: of silence."""
    half_hour = (minute // 30).astype(np.intp)
    prior_now = prior.rate[half_hour, silence]
    overall = _rate(
        home["sum_events"][rows, silence],
        home["sum_spent"][rows, silence],
        prior.rate.mean(axis=0)[silence],
    )
    expected = overall * prior_now / prior.rate.mean(axis=0)[silence]
    around = (half_hour[:, None] + _AROUND) % HALF_HOURS
    column = rows[:, None], kind_of_day[:, None], around, silence[:, None]
    events, spent = home["events"][column] @ _SHARE, home["spent"][column] @ _SHARE
    other = rows[:, None], 1 - kind_of_day[:, None], around, silence[:, None]
    others = _rate(home["events"][other] @ _SHARE, home["spent"][other] @ _SHARE, expected)
    now = _rate(events, spent, expected)
    room = home["room"][rows].astype(np.intp)
    at = rows, room, half_hour // 12, silence
    in_room = _rate(home["room_events"][at], home["room_spent"][at], overall)
    angle = 2 * np.pi * minute / 1440.0
    usual = home["active"][rows].sum(axis=1) / UNIT / np.maximum(home["days"][rows] / 256.0, 1.0)
    columns = [
        np.log(overall), np.log(now), np.log(others), np.log(in_room), np.log(prior_now),
        np.log1p(spent / UNIT) / 5.0, np.log(np.maximum(minutes, 1.0)),
        np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle),
        kind_of_day, home["loaded"][rows] > 0,
        np.clip(np.log((home["recent"][rows] + 5.0) / (usual + 5.0)), -2.0, 2.0),
    ]  # fmt: skip
    found = np.empty((len(rows), len(NAMES)), np.float32)
    for k, values in enumerate(columns):
        found[:, k] = values
    found[:, len(columns) :] = room[:, None] == np.arange(ROOM_COUNT)
    return found


def _rate(
    events: NDArray[np.generic], spent: NDArray[np.generic], coarser: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Events per minute, drawn to the coarser estimate as long as little time was seen."""
    e, s = events.astype(np.float64), spent.astype(np.float64)
    return np.asarray((e + _WEIGHT * coarser) / (s + _WEIGHT))
