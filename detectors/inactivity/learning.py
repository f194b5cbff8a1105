"""What a home teaches: how silences end, and how surprising those were that did end.

All counts are integers that lose one part in 32 a day: half of what is known is 22 days old or
newer. Each home's day ends at its own minute, so that no tick pays for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.prior import BIN, Prior
from detectors.inactivity.state import SILENCES, TAIL, UNIT, Columns

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

SHIFT, FAST_SHIFT = 5, 2
PRIOR_DAYS = 5.0
"""What the prior weighs against a home's own days (proposal)."""
TAIL_PER_MONTH = 20.0
"""The tail begins where silences get to about so often in 30 days (proposal)."""
TAIL_PRIOR = 4.0
"""Silences that the prior's mean excess counts for (proposal)."""
MONTH_DAYS = 30.0

SHORTEST_MIN = 5.0
"""Shorter silences than this say nothing, and depend on how often a sensor repeats itself."""


def silence_class(minutes: Floats) -> NDArray[np.intp]:
    """0: below 10 min, 1: below 20, doubling to 7: 640 min and more."""
    classes = np.floor(np.log2(np.maximum(minutes, SHORTEST_MIN) / SHORTEST_MIN))
    return np.minimum(classes, SILENCES - 1).astype(np.intp)


def note_time(
    home: Columns, rows: Rows, kind_of_day: Rows, half_hour: Rows, silence: Rows, minutes: Floats
) -> None:
    """So many minutes were spent in a silence of this class. Rows are distinct."""
    units = np.rint(minutes * UNIT).astype(np.uint32)
    home["spent"][rows, kind_of_day, half_hour, silence] += units
    home["room_spent"][rows, home["room"][rows], half_hour // 12, silence] += units
    home["sum_spent"][rows, silence] += units


def note_end(home: Columns, rows: Rows, kind_of_day: Rows, half_hour: Rows, silence: Rows) -> None:
    """A silence of this class ended, as surprising as `surprise` says. Rows are distinct."""
    unit = np.uint32(UNIT)
    home["events"][rows, kind_of_day, half_hour, silence] += unit
    home["room_events"][rows, home["room"][rows], half_hour // 12, silence] += unit
    home["sum_events"][rows, silence] += unit
    classes = np.minimum(home["surprise"][rows] / BIN, TAIL - 1).astype(np.intp)
    home["tail"][rows, classes] += unit


def end_day(
    home: Columns, sensor: Columns, rows: Rows, sensors: Rows, prior: Prior, has_door: Rows
) -> None:
    """Age the counts of these homes and sensors by a day and estimate their tails anew.

    has_door: 0 or 1 for each of the rows.
    """
    for name in ("events", "spent", "room_events", "room_spent", "sum_events", "sum_spent",
                 "active", "tail", "days"):  # fmt: skip
        _age(home[name], rows, SHIFT)
    for name in ("seen", "alone"):
        _age(sensor[name], sensors, SHIFT)
    for name in ("lately", "lately_alone"):
        _age(sensor[name], sensors, FAST_SHIFT)
    home["level"][rows] = tail_level(home["tail"][rows], home["days"][rows], prior, has_door)


def _age(column: NDArray[np.generic], rows: Rows, shift: int) -> None:
    part = column[rows]
    column[rows] = part - ((part + ((1 << shift) - 1)) >> shift)  # type: ignore[operator]


def tail_level(
    tail: NDArray[np.uint32], days: NDArray[np.int32], prior: Prior, has_door: Rows
) -> Floats:
    """Where each home's tail begins, how often a day it is reached, and its mean excess.

    Peaks over a threshold with an exponential tail (Pickands 1975): beyond the level that
    silences get to about `TAIL_PER_MONTH` times in 30 days, surprise is taken to fall off
    exponentially, with a mean excess that begins at the prior's and follows the home's own.
    """
    own = days / 256.0
    counts = tail / UNIT
    reached = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    pooled = (reached + PRIOR_DAYS * prior.exceeded[has_door]) / (own + PRIOR_DAYS)[:, None]
    often = pooled >= TAIL_PER_MONTH / MONTH_DAYS
    at = np.maximum(often.sum(axis=1) - 1, 0)
    rows = np.arange(len(tail))
    begins = at * BIN
    middle = (np.arange(TAIL) + 0.5) * BIN
    beyond = np.maximum(middle - begins[:, None], 0.0) * (np.arange(TAIL) >= at[:, None])
    number = reached[rows, at]
    excess = (counts * beyond).sum(axis=1)
    mean = (excess + TAIL_PRIOR * prior.excess[has_door]) / (number + TAIL_PRIOR)
    return np.column_stack([begins, pooled[rows, at], mean])


def per_month(surprise: Floats, level: Floats) -> Floats:
    """How many silences as surprising as this one 30 days of this home would hold.

    Below the tail's beginning this is no more than a bound: there it never matters.
    """
    begins, daily, mean = level[:, 0], level[:, 1], level[:, 2]
    rate: Floats = MONTH_DAYS * daily * np.exp((begins - surprise) / mean)
    return np.minimum(rate, 10_000.0)


def first_level(prior: Prior, has_door: Rows) -> Floats:
    """Before the first day has ended."""
    homes = len(has_door)
    tail, days = np.zeros((homes, TAIL), np.uint32), np.zeros(homes, np.int32)
    return tail_level(tail, days, prior, has_door)
