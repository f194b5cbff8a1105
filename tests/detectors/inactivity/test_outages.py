"""A link that fails every night: the ceiling is reached all the same, and no outage is counted."""

from __future__ import annotations

import numpy as np

from detectors.inactivity.alarms import CEILING_MIN, at_home
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.training.homes import START_MS
from rules.zones import zone
from tests.detectors.inactivity.lives import DAY, HOUR, MINUTE, SHANGHAI, operator_of

LAYOUT = Layout.of(
    {"home-1": zone(SHANGHAI).info},
    [
        ("home-1", "m-living", Kind.MOTION, Room.LIVING, Role.PERSON),
        ("home-1", "h-hub", Kind.HEARTBEAT, Room.OTHER, Role.PERSON),
    ],
)
DAYS = 20
LAST = DAYS * DAY + 10 * HOUR
"""Nobody moves after that. Before, somebody did every ten hours: twelve of silence are usual."""


def longest(moved: tuple[int, ...], away: tuple[tuple[int, int], ...]) -> list[tuple[int, float]]:
    """(when, minutes of silence) at each look at which somebody is thought at home.

    moved: moments of motion. away: when the home is cut off. All in ms from the start.
    """
    beats = np.arange(0, LAST + 4 * DAY, 10 * MINUTE)
    acts = np.array([*range(0, LAST + 1, 10 * HOUR), *moved])
    ts = np.concatenate([beats, acts, acts + MINUTE])
    sensor = np.repeat([1, 0], [len(beats), 2 * len(acts)]).astype(np.int32)
    value = np.repeat([1.0, 1.0, 0.0], [len(beats), len(acts), len(acts)])
    for begin, end in away:
        heard = (ts < begin) | (ts >= end)
        ts, sensor, value = ts[heard], sensor[heard], value[heard]
    order = np.argsort(ts, kind="stable")
    operator = operator_of(LAYOUT)
    operator.feed(sensor[order], START_MS + ts[order], value[order])
    told = operator.advance(START_MS + LAST + 4 * DAY - MINUTE)
    return [(one.at_ms - START_MS, float(one.minutes[0])) for one in told if at_home(one.state)[0]]


NIGHTS = tuple((day * DAY + 22 * HOUR, (day + 1) * DAY + 6 * HOUR) for day in range(DAYS, DAYS + 4))


def ceiling(found: list[tuple[int, float]]) -> int | None:
    return next((at for at, minutes in found if minutes >= CEILING_MIN), None)


def test_cut_off_every_night_it_comes_after_a_day_of_seen_silence() -> None:
    # 12 h until the first night, then from six in the morning on.
    due = (DAYS + 1) * DAY + 18 * HOUR
    at = ceiling(longest((), NIGHTS))
    assert at is not None
    assert due <= at <= due + 30 * MINUTE


def test_who_moves_in_between_begins_anew() -> None:
    at = ceiling(longest(((DAYS + 1) * DAY + 12 * HOUR,), NIGHTS))
    # 10 h until the night, 14 h of the day after.
    assert at is not None
    assert (DAYS + 2) * DAY + 20 * HOUR <= at <= (DAYS + 2) * DAY + 20 * HOUR + 30 * MINUTE


def test_what_was_before_a_day_without_news_counts_no_more() -> None:
    back = LAST + 2 * HOUR + 25 * HOUR
    at = ceiling(longest((), ((LAST + 2 * HOUR, back),)))
    assert at is not None
    assert back + DAY <= at <= back + DAY + 30 * MINUTE
