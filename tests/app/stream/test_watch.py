"""What counts as stuck, and what doesn't."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.stream.watch import CLOCK_MS, Facts, clock_problem, stuck

WELL = Facts(
    now_s=1000, beat_s=999, kafka_away=False, moved_s=100,
    behind={0: (0, 100), 1: (5, 995)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        pytest.param(WELL, "", id="well"),
        pytest.param(
            replace(WELL, beat_s=930), "the event loop has stood still for 70 s", id="loop"
        ),
        pytest.param(
            replace(WELL, behind={3: (7, 930)}),
            "partition 3: 7 records to go, none done for 70 s",
            id="lag",
        ),
        pytest.param(replace(WELL, behind={3: (0, 100)}), "", id="nothing-to-do"),
        pytest.param(replace(WELL, behind={3: (7, 950)}), "", id="not-long"),
        pytest.param(replace(WELL, behind={3: (7, 900)}, kafka_away=True), "", id="kafka-away"),
        pytest.param(replace(WELL, behind={3: (7, 900)}, moved_s=960), "", id="just-divided"),
        pytest.param(
            replace(WELL, beat_s=900, kafka_away=True),
            "the event loop has stood still for 100 s",
            id="loop-and-kafka",
        ),
    ],
)
def test_stuck(facts: Facts, said: str) -> None:
    assert stuck(facts, 60) == said


@pytest.mark.parametrize(
    ("ahead_ms", "said"),
    [
        (CLOCK_MS, ""),
        (-CLOCK_MS, ""),
        (300_000, "this machine's clock is 300 s behind Kafka's: set it"),
        (-6_000, "this machine's clock is 6 s ahead of Kafka's: set it"),
    ],
)
def test_a_clock_beside_that_of_kafka_is_told(ahead_ms: int, said: str) -> None:
    assert clock_problem(ahead_ms) == said
