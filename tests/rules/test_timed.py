"""Timed rules, case by case: seconds from T0 and what happened then."""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, Device, Whole, admitted, directory_of, row, ruleset, short

HIGH = (
    "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA, for: 60s, "
    "clear: residual_current < 450 mA, clear_for: 120s"
)
WATCHED = f"{HIGH}, missing: unknown after 15m"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def log(*at: tuple[float, float] | str) -> list[Row | str]:
    """(second, mA) and "mark"; a mark follows every reading, as live."""
    found: list[Row | str] = []
    for step in at:
        found += [step] if isinstance(step, str) else [row(*step), "mark"]
    return found


def run(runner: type[Whole], rule: str, records: list[Row | str]) -> list[tuple[float, str]]:
    engine = runner(ruleset(rule), directory_of([Device("efire")]))
    return short(engine.run(admitted(records, [0])))


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param(log((0, 600), (59, 100), "end"), [], id="blip-never-fires"),
        pytest.param(log((0, 600), "end"), [(60, "raised")], id="gap-holds"),
        pytest.param(log((0, 600), (60, 100)), [], id="not-before-the-watermark"),
        pytest.param(
            log((0, 600), (60, 100), "end"), [(60, "raised"), (180, "cleared")], id="exactly-for"
        ),
        pytest.param(
            log((0, 600), (59.999, 100), (60.001, 600), "end"),
            [(120.001, "raised")],
            id="two-readings-a-millisecond-apart",
        ),
        pytest.param(
            log((0, 600), (70, 460), (80, 449), (100, 460), (300, 449), "end"),
            [(60, "raised"), (420, "cleared")],
            id="hysteresis-holds-between",
        ),
        pytest.param(
            log((0, 600), (70, 100), (80, 600), (90, 100), "end"),
            [(60, "raised"), (210, "cleared")],
            id="clear-for-starts-anew",
        ),
        pytest.param(
            log((0, 600), (61, float("nan")), (62, 600), "end"), [(60, "raised")], id="no-value"
        ),
        pytest.param(
            log((0, 600), (70, 100), (200, 600), (270, 600), "end"),
            [(60, "raised"), (190, "cleared"), (260, "raised")],
            id="a-second-episode",
        ),
    ],
)
def test_hold_and_clear(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert run(runner, HIGH, records) == want


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param(
            log((0, 600), "end"), [(60, "raised"), (900, "unknown")], id="lost-once-at-its-time"
        ),
        pytest.param(
            log((0, 600), (2000, 600), "end"),
            [(60, "raised"), (900, "unknown"), (2000, "known"), (2900, "unknown")],
            id="back-and-lost-again",
        ),
        pytest.param(
            log((0, 600), (100, 600), (899, 600), (900, 100), "end"),
            [(60, "raised"), (1020, "cleared")],
            id="enough-data",
        ),
        pytest.param(
            log((0, 600), (70, 100), "end"),
            [(60, "raised"), (190, "cleared")],
            id="cleared-before-it-is-lost",
        ),
        pytest.param(
            log((0, 600), (50, 600), (2000, 100), (2100, 100), (2150, 100), "end"),
            [(60, "raised"), (950, "unknown"), (2000, "known"), (2120, "cleared")],
            id="a-gap-that-looks-like-recovery",
        ),
        pytest.param(
            log((0, 600), (70, 100), (71, float("nan")), (300, 600), "end"),
            [(60, "raised"), (190, "cleared"), (360, "raised"), (1200, "unknown")],
            id="a-recovery-that-ends-in-a-gap",
        ),
        pytest.param(
            [row(0, 600), row(70, 100, flags=Flag.BAD), row(80, 100, flags=Flag.STALE), "end"],
            [(60, "raised"), (900, "unknown")],
            id="bad-data-is-no-data",
        ),
    ],
)
def test_missing(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert run(runner, WATCHED, records) == want


def test_deciding_reading_is_told(runner: type[Whole]) -> None:
    engine = runner(ruleset(HIGH), directory_of([Device("efire")]))
    raised, cleared = engine.run(admitted(log((0, 600), (70, 100), "end"), [0]))

    assert (raised.value, raised.threshold, raised.decided) == (600, 500, raised.onset)
    assert (cleared.value, cleared.threshold, cleared.onset) == (100, 450, raised.onset)
    assert (raised.position, raised.row) == (4, -1), "a deadline is known at its mark"


def test_several_quantities_know_what_was_so_at_the_time(runner: type[Whole]) -> None:
    rule = (
        "id: elevator.trapped, on: {family: elevator}, class: safety, for: 120s, "
        'when: "passenger == 1 and (service_mode == 0 or door_zone == 2) and door_closed == 1"'
    )
    states = {"passenger": 1, "service_mode": 1, "door_zone": 2, "door_closed": 1}
    records: list[Row | str] = [
        row(i, value, name) for i, (name, value) in enumerate(states.items())
    ]
    engine = runner(ruleset(rule), directory_of([Device("elevator")]))

    told = engine.run(admitted([*records, "mark", row(200, 0, "door_closed"), "end"], [0]))

    assert short(told) == [(123, "raised"), (200, "cleared")], "from the last that was needed"
    assert (
        short(
            runner(ruleset(rule), directory_of([Device("elevator")])).run(
                admitted([*records[:3], "end"], [0])
            )
        )
        == []
    ), "unknown is not true"
