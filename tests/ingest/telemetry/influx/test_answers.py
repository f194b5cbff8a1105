"""What each answer means, and how long is waited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.telemetry.influx.answers import LONGEST_ASKED_S, LONGEST_WAIT_S, Fate, judge, wait_s


@pytest.mark.parametrize(
    ("status", "want"),
    [
        (204, Fate.STORED),
        (200, Fate.STORED),
        (301, Fate.AWAY),
        (400, Fate.REFUSED),
        (401, Fate.DENIED),
        (403, Fate.DENIED),
        (404, Fate.DENIED),
        (413, Fate.TOO_LARGE),
        (422, Fate.REFUSED),
        (429, Fate.BUSY),
        (500, Fate.AWAY),
        (502, Fate.AWAY),
        (503, Fate.BUSY),
    ],
)
def test_a_status_has_one_meaning(status: int, want: Fate) -> None:
    answer = judge(status, '{"message":\n "why"}', None)

    assert answer.fate is want
    assert answer.stays == (want in (Fate.AWAY, Fate.BUSY, Fate.DENIED))
    if want is not Fate.STORED:
        assert answer.detail == f'{status} {{"message": "why"}}'


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (None, 0.0),
        ("", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("٧", 0.0),
        ("9" * 40, LONGEST_ASKED_S),
    ],
)
def test_retry_after_is_a_number_of_seconds(header: str | None, want: float) -> None:
    assert judge(429, "", header).retry_after_s == want


@given(st.integers(1, 2000), st.floats(0, 600), st.floats(0, 1, exclude_max=True))
def test_waiting_grows_to_a_bound_and_heeds_the_server(
    failures: int, asked: float, jitter: float
) -> None:
    waited = wait_s(failures, asked, jitter)

    assert waited >= asked
    assert waited <= max(LONGEST_WAIT_S, asked * 1.1)
    assert wait_s(failures + 1, 0, jitter) >= wait_s(failures, 0, jitter) > 0


def test_writers_do_not_come_back_together() -> None:
    assert wait_s(5, 0, 0.9) > wait_s(5, 0, 0.1)
    assert wait_s(1, 30, 0.9) > wait_s(1, 30, 0.1)
