"""Which homes are told of at a tick: rules hold what they heard last, so only news is sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.batch import ReadingBatch
from detectors.inactivity.alarms import DRY_MIN, at_home
from detectors.inactivity.operator import InactivityOperator, Scores
from detectors.inactivity.presence import HomeState

LADDER = np.array([30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01])
"""Silences in 30 days: each step down is told as it is crossed, whatever budget a rule has."""
QUANTITIES = (
    "home.state", "home.gone", "home.proven", "inactivity.usual", "inactivity.minutes",
    "inactivity.dry", "inactivity.p", "inactivity.per_30d",
)  # fmt: skip
_COLUMNS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0], np.int16)
_OF_UNKNOWN = np.arange(len(_COLUMNS)) <= 1
"""Rules hear row by row. Where nothing is known any more, the state goes first, so that no number
that was reset ends an alert; otherwise it goes last, so that none is judged by an old number."""
_DRY = 5


def news(operator: InactivityOperator, scores: Scores) -> NDArray[np.intp]:
    """Rows of the homes whose state changed, whose silence became a step rarer or an hour longer,
    that are without water for too long or no longer, or that are active again. What is told is
    noted in the operator's state."""
    home = operator.state.home
    step = (scores.monthly[:, None] <= LADDER).sum(axis=1).astype(np.uint8)
    hour = (scores.minutes // 60).astype(np.int32)
    dry = at_home(scores.state) & (np.nan_to_num(scores.dry, nan=0.0) >= DRY_MIN)
    rises = (step > home["told"]) | (hour > home["told_hour"])
    ends = (hour < home["told_hour"]) | ((step == 0) & (home["told"] > 0))
    other = scores.state != home["told_state"]
    other |= (scores.hearts != home["told_proven"]) | (dry != home["told_dry"])
    told = np.flatnonzero(rises | ends | other)
    home["told"][told] = step[told]
    home["told_hour"][told] = hour[told]
    home["told_state"][told] = scores.state[told]
    home["told_proven"][told] = scores.hearts[told]
    home["told_dry"][told] = dry[told]
    return told


def readings(scores: Scores, rows: NDArray[np.intp], homes: tuple[str, ...]) -> ReadingBatch:
    """The scores of these homes, stamped on the homes; six digits, so that a number is a number on
    every machine."""
    count, kinds = len(rows), len(_COLUMNS)
    state = scores.state[rows].astype(np.float64)
    gone = np.where(at_home(scores.state[rows]), 0.0, scores.minutes[rows])
    columns = np.stack(
        [
            state,
            np.floor(gone),
            scores.hearts[rows].astype(np.float64),
            np.floor(scores.usual[rows]),
            np.floor(scores.minutes[rows]),
            np.floor(scores.dry[rows]),
            _rounded(scores.p[rows]),
            _rounded(scores.monthly[rows]),
            state,
        ],
        axis=1,
    )
    # What isn't known has no probability: rules keep what they heard last.
    unknown = state == HomeState.UNKNOWN
    known = np.where(unknown[:, None], _OF_UNKNOWN, np.arange(kinds) > 0)
    known[:, _DRY] &= ~np.isnan(columns[:, _DRY])
    number = int(known.sum())
    return ReadingBatch(
        tuple(homes[row] for row in rows.tolist()),
        ("elderly",) * count,
        QUANTITIES,
        np.repeat(np.arange(count, dtype=np.int32), kinds)[known.ravel()],
        np.tile(_COLUMNS, count)[known.ravel()],
        np.full(number, scores.at_ms, np.int64),
        columns[known],
        np.zeros(number, np.uint16),
    )


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([float(f"{value:.6g}") for value in values.tolist()])
