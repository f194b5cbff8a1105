"""The learnt line of a home: for how long it may be quiet, by the time at which a silence begins.

It is asked of the detector itself: for each half hour of a day to come a copy of the home falls
silent then, heartbeats go on, and the hours until it is told of are the line. So the line holds
what the detector knows on that day, the fixed ceilings included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluate.detected import branched
from app.homes import RecordedHome
from detectors.inactivity.alarms import causes
from detectors.inactivity.clock import MINUTE_MS
from detectors.inactivity.layout import Kind
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HEARTS, HomeState
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer

STARTS = 48
STEP_MIN = 15
MOST_H = 24.0


@dataclass(frozen=True, slots=True)
class LearntLine:
    """begin_ms: the time that the first half hour begins at. hours: float64[48], of silence that
    begins in this and the following half hours, until the home is told of."""

    begin_ms: int
    hours: NDArray[np.float64]


def learnt(
    home: RecordedHome,
    known: InactivityOperator,
    infer: Infer | None,
    prior: Prior,
    *,
    budget: float,
) -> LearntLine:
    """known: the detector of this home alone; it isn't changed."""
    layout, lives = branched(home, STARTS)
    asked = InactivityOperator(layout, infer, prior, step_min=STEP_MIN)
    begin = -(-known.state.tick_ms // (30 * MINUTE_MS)) * 30 * MINUTE_MS
    asked.skip(begin)
    beats = lives[layout.kind[lives] == Kind.HEARTBEAT]
    hours = np.full(STARTS, MOST_H)
    steps = int((STARTS / 2 + MOST_H) * 60 / STEP_MIN)
    for step in range(steps):
        now = begin + step * STEP_MIN * MINUTE_MS
        if step * STEP_MIN % 30 == 0 and step * STEP_MIN // 30 < STARTS:
            _fall_silent(asked, known, step * STEP_MIN // 30 + 1, now)
        if len(beats) and known.state.home["hearts"][0] >= HEARTS:
            asked.feed(
                beats,
                np.full(len(beats), now + STEP_MIN * MINUTE_MS, np.int64),
                np.ones(len(beats)),
            )
        scores = asked.tick(now + STEP_MIN * MINUTE_MS)
        rung = causes(scores, budget)[1:] > 0
        quiet = (now + STEP_MIN * MINUTE_MS - begin) / 3_600_000 - np.arange(STARTS) / 2
        first = rung & (quiet > 0) & (quiet < hours)
        hours[first] = quiet[first]
    return LearntLine(begin, hours)


def _fall_silent(
    asked: InactivityOperator, known: InactivityOperator, row: int, at_ms: int
) -> None:
    """The copy is as the home is known now, and somebody has just been seen in it."""
    new, old = asked.state.home, known.state.home
    for name, column in new.items():
        column[row] = old[name][0]
    for name in ("since_ms", "upto_ms", "inside_ms", "heard_ms"):
        new[name][row] = at_ms
    new["water_ms"][row] = at_ms if old["water_ms"][0] else 0
    for name in ("surprise", "usual", "down_ms", "loaded"):
        new[name][row] = 0
    new["state"][row] = HomeState.HOME
