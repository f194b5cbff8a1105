"""The retry ladder, what answers do to it, and the fast lane of level Ⅰ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.retry import (
    LADDER_MS,
    Attempts,
    Next,
    Outcome,
    is_failing,
    pause_ms,
    plan,
    retry_after_ms,
)
from tests.dispatch.scene import MINUTE, T0, S

DOWN = Outcome(None)
HOUR = 60 * MINUTE


def waits(outcome: Outcome, *, urgent: bool, attempts: int) -> list[int]:
    """Seconds between the attempts of a delivery that never succeeds."""
    now_ms, rung, gaps = T0, 0, []
    for _ in range(attempts):
        step = plan(Attempts(rung, T0, urgent), outcome, now_ms, jitter=0.0)
        if step.next is not Next.RETRY:
            break
        gaps.append((step.at_ms - now_ms) // S)
        now_ms, rung = step.at_ms, step.rung
    return gaps


def test_the_ladder_is_that_of_standard_webhooks() -> None:
    hours = [h * 3600 for h in (2, 5, 10, 14, 20, 24)]

    assert waits(DOWN, urgent=False, attempts=99) == [5, 300, 1800, *hours]


def test_level_one_is_fast_first_then_joins_and_never_ends() -> None:
    gaps = waits(DOWN, urgent=True, attempts=100)

    assert gaps[:60] == [3] * 60  # Three minutes.
    assert gaps[60:63] == [300, 1800, 7200]
    assert gaps[-3:] == [86400] * 3


def test_the_end_of_the_ladder_is_said() -> None:
    last = Attempts(len(LADDER_MS) - 1, T0, urgent=False)

    assert plan(last, DOWN, T0, jitter=0.0).next is Next.EXHAUSTED


@pytest.mark.parametrize(
    ("status", "want"),
    [
        (200, Next.DONE),
        (204, Next.DONE),
        (301, Next.RETRY),
        (400, Next.RETRY),
        (410, Next.DISABLE),
        (429, Next.RETRY),
        (500, Next.RETRY),
        (None, Next.RETRY),
    ],
)
@pytest.mark.parametrize("urgent", [False, True])
def test_answers(status: int | None, want: Next, urgent: bool) -> None:
    assert plan(Attempts(0, T0, urgent), Outcome(status), T0, jitter=0.0).next is want


def test_retry_after_is_honoured_within_bounds() -> None:
    def wait(asked_ms: int, *, urgent: bool) -> int:
        return plan(Attempts(0, T0, urgent), Outcome(429, asked_ms), T0, jitter=0.0).at_ms - T0

    assert wait(40 * S, urgent=False) == 40 * S
    assert wait(1 * S, urgent=False) == 5 * S
    assert wait(40 * S, urgent=True) == 40 * S
    assert wait(9 * HOUR, urgent=True) == 5 * MINUTE


def test_a_busy_receiver_is_left_alone_for_longer_and_longer() -> None:
    assert [pause_ms(n, Outcome(503)) for n in (1, 2, 3, 20)] == [5_000, 10_000, 20_000, 300_000]
    assert pause_ms(1, Outcome(429, 60_000)) == 60_000
    assert pause_ms(5, Outcome(400)) == pause_ms(5, Outcome(204)) == pause_ms(5, DOWN) == 0


@pytest.mark.parametrize(
    ("header", "want"),
    [("120", 120_000), (" 7 ", 7_000), ("", None), (None, None), ("soon", None), ("-5", None)],
)
def test_retry_after_header(header: str | None, want: int | None) -> None:
    assert retry_after_ms(header, T0) == want


def test_retry_after_as_a_date() -> None:
    assert retry_after_ms("a date", T0, T0 + 9 * S) == 9 * S
    assert retry_after_ms("a date", T0, T0 - 9 * S) == 0


def test_only_a_failing_fire_is_shouted_about() -> None:
    assert is_failing(Attempts(3, T0, urgent=True), T0 + 10 * S)
    assert not is_failing(Attempts(3, T0, urgent=True), T0 + 9 * S)
    assert not is_failing(Attempts(3, T0, urgent=False), T0 + HOUR)


@given(
    st.integers(0, 9),
    st.booleans(),
    st.sampled_from([None, 300, 400, 429, 500, 504]),
    st.none() | st.integers(0, 10**9),
    st.floats(-1, 1),
    st.integers(0, 10**9),
)
def test_a_retry_is_always_ahead(
    rung: int, urgent: bool, status: int | None, asked: int | None, jitter: float, age_ms: int
) -> None:
    step = plan(Attempts(rung, T0, urgent), Outcome(status, asked), T0 + age_ms, jitter=jitter)

    if step.next is Next.RETRY:
        assert step.at_ms - (T0 + age_ms) >= 2_700
        assert step.rung >= min(rung, 1)
    else:
        assert step.next is Next.EXHAUSTED
        assert not urgent
