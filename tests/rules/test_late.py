"""History: a backlog gives retroactive episodes that are marked late and ring nobody."""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, Device, Whole, admitted, directory_of, row, ruleset, short

HIGH = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA, for: 60s"
BARE = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def run(runner: type[Whole], rule: str, records: list[Row | str]) -> list[tuple[float, str]]:
    engine = runner(ruleset(rule), directory_of([Device("efire")] * 2))
    return short(engine.run(admitted(records, [0, 0])))


LIVE: list[Row | str] = [row(1000, 100, device=1), "mark"]
"""Another device of the gateway carries its watermark past the backlog."""


@pytest.mark.parametrize(
    ("rule", "records", "want"),
    [
        pytest.param(
            HIGH,
            [*LIVE, row(0, 600), row(30, 600), row(90, 600), row(100, 100), "mark"],
            [(60, "late raised"), (100, "late cleared")],
            id="backlog-as-it-was",
        ),
        pytest.param(
            HIGH, [*LIVE, row(0, 600), row(59, 600), "mark", "end"], [], id="only-its-own-times"
        ),
        pytest.param(
            HIGH,
            [*LIVE, row(0, 600), "mark", row(1001, 100), "mark", "end"],
            [(60, "late raised"), (1001, "late cleared")],
            id="a-live-reading-confirms-and-ends",
        ),
        pytest.param(
            BARE,
            [*LIVE, row(0, 600), row(1001, 100)],
            [(0, "late raised"), (1001, "late cleared")],
            id="instant",
        ),
        pytest.param(
            BARE,
            [*LIVE, row(0, 600), row(1001, 700), row(1002, 100)],
            [(0, "late raised"), (1001, "raised"), (1002, "cleared"), (1002, "late cleared")],
            id="both-lanes",
        ),
        pytest.param(
            BARE,
            [row(0, 600, flags=Flag.HISTORICAL), row(1, 600, flags=Flag.CLOCK_UNKNOWN)],
            [(0, "late raised")],
            id="historical-and-without-a-clock",
        ),
        pytest.param(
            BARE,
            [*LIVE, row(1001, 600), row(5, 100)],
            [(1001, "raised")],
            id="history-clears-nothing-live",
        ),
    ],
)
def test_late_lane(
    runner: type[Whole], rule: str, records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert run(runner, rule, records) == want


def test_a_late_backlog_raises_a_timed_safety_rule_live(runner: type[Whole]) -> None:
    rule = f"{HIGH}, class: safety"
    engine = runner(ruleset(rule), directory_of([Device("efire"), Device("efire")]))
    records = [*LIVE, row(0, 600), row(70, 600), "mark"]

    (told,) = engine.run(admitted(records, [0, 0]))

    assert short([told]) == [(60, "raised")]
    assert told.flags & Flag.LATE
