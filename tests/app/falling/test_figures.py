"""Intervals and bounds against known values, and what counts as a hit."""

from __future__ import annotations

import pytest

from app.falling.figures import figures, tables, upper_rate, wilson
from app.falling.outcomes import FalseAlarm, Outcome, Throw


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (380, 400, 0.9240, 0.9673), (0, 0, 0, 1)],
)
def test_wilson(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-4)


def test_rule_of_three_and_beyond() -> None:
    assert upper_rate(0, 3.0) == pytest.approx(2.996 / 3, abs=1e-3)
    assert upper_rate(1, 1.0) == pytest.approx(4.744, abs=1e-3)
    assert upper_rate(10, 1.0) == pytest.approx(16.962, abs=1e-2)


def throw(told: int, *, storey: float = 8.0, contrast: float = 50.0) -> Throw:
    return Throw(
        size=5.0, contrast=contrast, storeys=6.0, start_storey=8.0, start_s=1.0, told=told,
        seen=True, score=0.9, told_storey=storey, latency_s=0.5,
    )  # fmt: skip


def outcome(cell: str, throws: tuple[Throw, ...], false: int = 0, storeys: float = 3.0) -> Outcome:
    alarms = (FalseAlarm(start_s=1.0, score=0.7, storeys=storeys, near="birds"),) * false
    return Outcome(
        key="k", cell=cell, seconds=1800.0, distractors=("birds",), throws=throws, false=alarms,
        tracklets=9, busy_frames=0, frames=100,
    )  # fmt: skip


def test_figures_count_events_duplicates_and_hours() -> None:
    outcomes = [
        outcome("clear", (throw(1), throw(1), throw(2, storey=6.9), throw(0)), false=1),
        outcome("faint", (throw(1, contrast=20.0),)),
        outcome("negative", (), false=1),
        outcome("negative", ()),
    ]
    made = figures(outcomes)
    assert made["recall_clear"] == 0.75
    assert made["recall_faint"] == 1.0
    assert made["storey_within_one"] == 0.75
    assert made["negative_hours"] == 1.0
    assert made["false_alarms_per_hour"] == 1.0
    assert made["false_alarms_per_hour_upper"] == pytest.approx(4.744, abs=1e-3)
    assert made["duplicates"] == 1.0
    assert made["false_past_two_storeys"] == 1.0
    short = figures([outcome("negative", (), false=1, storeys=2.0)])
    assert (short["false_alarms"], short["false_past_two_storeys"]) == (1.0, 0.0)
    # The false one beside throws and the duplicate, in an hour with throws.
    assert made["false_beside_throws_per_hour"] == 2.0
    told = tables(outcomes)
    assert told["false_alarms_near"] == [{"near": "birds", "count": 2}]
    (row,) = [row for row in told["by_contrast"] if row["of"] == "15-35"]
    assert (row["events"], row["told"]) == (1, 1)
