"""Which homes are told of at a tick: rules hold what they heard last, so only news is sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.batch import ReadingBatch
from detectors.inactivity.operator import HomeState, InactivityOperator, Scores

LADDER = np.array([30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01])
"""Silences in 30 days: each step down is told as it is crossed, whatever budget a rule has."""
QUANTITIES = ("home.state", "inactivity.minutes", "inactivity.p", "inactivity.per_30d")
_COLUMNS = np.array([0, 1, 2, 3, 0], np.int16)
"""Rules hear row by row. Where nothing is known any more, the state goes first, so that no number
that was reset ends an alert; otherwise it goes last, so that none is judged by an old number."""


def news(operator: InactivityOperator, scores: Scores) -> NDArray[np.intp]:
    """Rows of the homes whose state changed, whose silence became a step rarer or an hour longer,
    or that are active again. What is told is noted in the operator's state."""
    home = operator.state.home
    step = (scores.monthly[:, None] <= LADDER).sum(axis=1).astype(np.uint8)
    hour = (scores.minutes // 60).astype(np.int32)
    rises = (step > home["told"]) | (hour > home["told_hour"])
    ends = (hour < home["told_hour"]) | ((step == 0) & (home["told"] > 0))
    told = np.flatnonzero(rises | ends | (scores.state != home["told_state"]))
    home["told"][told] = step[told]
    home["told_hour"][told] = hour[told]
    home["told_state"][told] = scores.state[told]
    return told


def readings(scores: Scores, rows: NDArray[np.intp], homes: tuple[str, ...]) -> ReadingBatch:
    """The scores of these homes, stamped on the homes; six digits, so that a number is a number on
    every machine."""
    count, kinds = len(rows), len(_COLUMNS)
    state = scores.state[rows].astype(np.float64)
    columns = np.stack(
        [
            state,
            np.floor(scores.minutes[rows]),
            _rounded(scores.p[rows]),
            _rounded(scores.monthly[rows]),
            state,
        ],
        axis=1,
    )
    # What isn't known has no probability: rules keep what they heard last.
    known = np.ones((count, kinds), bool)
    unknown = state == HomeState.UNKNOWN
    known[unknown, 2:] = False
    known[~unknown, 0] = False
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
