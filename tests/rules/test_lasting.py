"""`keep`, `flapping` and `late`: seconds from T0 and what happened then."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.transitions import Change
from rules import RuleSet
from rules.engine import RuleEngine
from tests.rules.naive import Naive, Row, Told
from tests.rules.scene import (
    RUNNERS,
    T0,
    Device,
    Mark,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)
from tests.rules.test_differential import written_lasting
from tests.rules.test_timed import log

ARC = "id: efire.arc, on: {family: efire}, when: arc != 0, keep: 60s"
HIGH = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA"
FLAPS = "flapping: {raises: 4, within: 10m, for: 5m}"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def run(runner: type[Whole], rule: str, records: list[Row | str]) -> list[Told]:
    return runner(ruleset(rule), directory_of([Device("efire")] * 2)).run(admitted(records, [0, 0]))


def bits(*at: tuple[float, float] | str) -> list[Row | str]:
    """(second, arc), each followed by a mark, and "mark" or "end"."""
    found: list[Row | str] = []
    for step in at:
        found += [step] if isinstance(step, str) else [row(*step, "arc"), "mark"]
    return found


@pytest.mark.parametrize(
    ("rule", "records", "want"),
    [
        pytest.param(
            ARC, bits((0, 1), (30, 1), (40, 0), (200, 0)), [(0, "raised"), (90, "cleared")],
            id="counted-from-the-last-breach",
        ),
        pytest.param(
            ARC, bits((0, 1), "end"), [(0, "raised"), (60, "cleared")], id="by-itself",
        ),
        pytest.param(
            ARC, [row(0, 1, "arc"), row(100, 1, "arc"), "end"],
            [(0, "raised"), (60, "cleared"), (100, "raised"), (160, "cleared")],
            id="a-breach-after-the-end-is-another",
        ),
        pytest.param(
            ARC, [row(0, 1, "arc"), row(59.999, 1, "arc"), row(119.999, 1, "arc"), "end"],
            [(0, "raised"), (119.999, "cleared"), (119.999, "raised"), (179.999, "cleared")],
            id="a-breach-at-the-very-end-comes-after-it",
        ),
        pytest.param(
            f"{ARC}, for: 30s", bits((0, 1), "end"), [(30, "raised"), (90, "cleared")],
            id="counted-from-the-raise-at-the-earliest",
        ),
        pytest.param(
            f"{ARC}, for: 30s", [row(0, 1, "arc"), row(500, 1, "arc"), "end"],
            [(30, "raised"), (90, "cleared"), (530, "raised"), (590, "cleared")],
            id="whole-episodes-between-two-readings",
        ),
        pytest.param(
            f"{HIGH}, keep: 60s",
            log((0, 600), (10, 100), (30, 600), (40, 100), (90, 100), (200, 100), "end"),
            [(0, "raised"), (100, "cleared")],
            id="measured-needs-readings-that-fit",
        ),
        pytest.param(f"{HIGH}, keep: 60s", log((0, 600), "end"), [(0, "raised")], id="lost-data"),
    ],
)  # fmt: skip
def test_keep(
    runner: type[Whole], rule: str, records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert short(run(runner, rule, records)) == want


def test_what_ends_by_itself_names_no_reading(runner: type[Whole]) -> None:
    raised, cleared = run(runner, ARC, bits((0, 1), (30, 1), "end"))
    assert (raised.value, cleared.value) == (1, None)
    assert cleared.decided == T0 + 30_000, "the last breach"


def flapping(until_s: int) -> list[Row | str]:
    """Half a minute high, half a minute low, in turn; a mark behind each reading."""
    return log(*((at_s, 100 if at_s % 60 else 600) for at_s in range(0, until_s, 30)))


@pytest.mark.parametrize("for_s", [0, 10])
def test_a_sensor_that_flaps_for_ten_minutes(runner: type[Whole], for_s: int) -> None:
    rule = f"{HIGH}, {FLAPS}" + (f", for: {for_s}s" if for_s else "")
    after = log((600, 600), (700, 600), (950, 100), (1600, 600), (1700, 100), "end")

    told = run(runner, rule, flapping(600) + after)

    four = [
        [(60 * n + for_s, "raised", 0, 300 * (n == 3)), (60 * n + 30, "cleared", 0, 0)]
        for n in range(4)
    ]
    assert [
        (*one, t.waited // 1000, t.flapping // 1000)
        for one, t in zip(short(told), told, strict=True)
    ] == [
        *(one for pair in four for one in pair),
        (900, "raised", 300, 0),  # No raise for ten minutes before it.
        (950, "cleared", 0, 0),
        (1600 + for_s, "raised", 0, 0),
        (1700, "cleared", 0, 0),
    ]


def test_it_goes_on_while_raises_follow_each_other(runner: type[Whole]) -> None:
    rule = f"{HIGH}, flapping: {{raises: 2, within: 10m, for: 1m}}"
    records = log((0, 600), (30, 100), (60, 600), (90, 100), (100, 600), (170, 100), "end")
    told = [t for t in run(runner, rule, records) if t.change == Change.RAISED]
    assert [((t.at - T0) / 1000, t.waited, t.flapping) for t in told] == [
        (0, 0, 0),
        (60, 0, 60_000),
        (160, 60_000, 60_000),
    ]


def raises_of(told: list[Told]) -> list[tuple[float, int, int]]:
    """Second, how long it waited for, how long the next one must."""
    return [
        ((t.at - T0) / 1000, t.waited // 1000, t.flapping // 1000)
        for t in told
        if t.change == Change.RAISED
    ]


def test_it_goes_on_when_raises_are_no_longer_many(runner: type[Whole]) -> None:
    rule = f"{HIGH}, flapping: {{raises: 3, within: 10m, for: 1m}}"
    highs = (0, 60, 120, 540, 1100, 1200, 2000)
    records = log(
        *(
            step
            for at in highs
            for step in (
                (at, 600),
                (at + 59 * (at > 500), 600),
                (at + (70 if at > 500 else 1), 100),
            )
        ),
        "end",
    )
    assert raises_of(run(runner, rule, records)) == [
        (0, 0, 0), (60, 0, 0), (120, 0, 60), (600, 60, 60), (1160, 60, 60), (1260, 60, 60),
        (2000, 0, 0),
    ]  # fmt: skip


def test_older_history_begins_a_count_of_its_own(runner: type[Whole]) -> None:
    rule = f"{HIGH}, flapping: {{raises: 2, within: 10m, for: 1m}}"
    at = [(100, 600), (101, 100), (102, 600), (103, 100), (0, 600), (1, 100), (2, 600), (3, 100),
          (4, 600), (65, 600), (66, 100)]  # fmt: skip
    old = [row(*one, flags=Flag.HISTORICAL) for one in at]
    told = run(runner, rule, [*old, "mark"])
    assert raises_of(told) == [(100, 0, 0), (102, 0, 60), (0, 0, 0), (2, 0, 60), (64, 60, 60)]


def test_old_readings_that_ring_know_all_others(runner: type[Whole]) -> None:
    rule = (
        "id: efire.both, on: {family: efire}, late: fire, "
        'when: "residual_current > 5 mA and arc != 0"'
    )
    old = Flag.HISTORICAL
    records: list[Row | str] = [row(0, 6, flags=old), row(1, 1, "arc"), row(2, 0, "arc", flags=old)]
    assert short(run(runner, rule, records)) == [(1, "raised"), (2, "cleared")]


def test_the_longer_wait_is_broken_by_a_normal_reading(runner: type[Whole]) -> None:
    rule = f"{HIGH}, flapping: {{raises: 2, within: 10m, for: 1m}}"
    records = log((0, 600), (1, 100), (2, 600), (3, 100), (4, 600), (63, 100), "end")
    assert [at for at, what in short(run(runner, rule, records)) if what == "raised"] == [0, 2]


LIVE: list[Row | str] = [row(1000, 100, device=1), "mark"]
"""Another device of the gateway carries its watermark past the backlog."""


@pytest.mark.parametrize(
    ("rule", "records", "want"),
    [
        pytest.param(
            f"{HIGH}, late: fire", [*LIVE, row(0, 600), row(50, 100)],
            [(0, "raised"), (50, "cleared")], id="fire-instant",
        ),
        pytest.param(
            f"{HIGH}, for: 60s, late: fire", [*LIVE, row(0, 600), row(70, 600), "mark"],
            [(60, "raised")], id="fire-timed",
        ),
        pytest.param(
            f"{HIGH}, late: fire", [row(5, 600, flags=Flag.BAD), row(6, 600, flags=Flag.STALE)],
            [], id="fire-takes-no-bad-readings",
        ),
        pytest.param(
            f"{HIGH}, late: fire", [*LIVE, row(1001, 600), row(5, 100), row(1002, 100)],
            [(1001, "raised"), (1002, "cleared")], id="older-readings-clear-nothing",
        ),
        pytest.param(
            f"{HIGH}, late: drop", [*LIVE, row(0, 600), row(1001, 700), row(5, 100), "mark"],
            [(1001, "raised")], id="drop",
        ),
        pytest.param(
            f"{HIGH}, late: drop",
            [row(0, 600, flags=Flag.HISTORICAL), row(1, 600, flags=Flag.CLOCK_UNKNOWN), "end"],
            [], id="drop-historical-and-without-a-clock",
        ),
    ],
)  # fmt: skip
def test_late(
    runner: type[Whole], rule: str, records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert short(run(runner, rule, records)) == want


@pytest.mark.parametrize("timed", ["", ", for: 10s"])
def test_what_is_dropped_is_counted(runner: type[Whole], timed: str) -> None:
    rules = ruleset(
        f"{HIGH}{timed}, late: drop",
        "id: efire.other, on: {family: efire, zone: b}, when: arc != 0, late: drop",
        "id: efire.both, on: {family: efire}, late: drop, "
        'when: "residual_current > 5 mA and arc != 0"',
    )
    engine = runner(rules, directory_of([Device("efire", 0, {"zone": "a"})] * 2))
    old = Flag.HISTORICAL
    rows = [row(0, 600, flags=old), row(1, 600, flags=old), row(2, 1, "arc", flags=old)]
    engine.run(admitted([*rows, row(3, 600), row(1, 600, device=1), "mark", "end"], [0, 0]))

    assert engine.engine.counts() == {"late_dropped efire.both": 3, "late_dropped efire.high": 2}


@pytest.mark.parametrize("runner_of", RUNNERS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=written_lasting(0).map(ruleset),
    log=st.lists(
        st.one_of(
            st.just("mark"),
            st.tuples(
                st.sampled_from([0, 1, 5, 5, 10, 15, 20]),
                st.sampled_from(["fire", "residual_current"]),
                st.sampled_from([0.0, 6.0]),
                st.sampled_from([0] * 6 + [int(Flag.HISTORICAL), int(Flag.BAD)]),
            ),
        ),
        max_size=40,
    ),
)
def test_lasting_equals_naive(
    runner_of: type[Whole],
    rules: RuleSet,
    log: list[str | tuple[float, str, float, int]],
) -> None:
    records: list[Row | str] = []
    now = 0.0
    for step in log:
        if isinstance(step, str):
            records.append(step)
        else:
            now += step[0]
            records.append(row(now, step[2], step[1], flags=step[3]))
    naive = Naive(rules, ["efire"], [0], [{}])
    engine = runner_of(rules, directory_of([Device("efire", 0, {})]))
    for one in admitted([*records, "mark", "end"], [0]):
        if isinstance(one, Mark):
            want = naive.on_time(list(one.rows), list(one.watermarks), one.position, one.heard)
        else:
            want = naive.on_rows(one)
        assert engine.step(one) == want


def carried(old: str, new: str, records: list[Row | str]) -> tuple[Whole, str]:
    before = Whole(ruleset(old), directory_of([Device("efire")]))
    before.run(admitted(records, [0]))
    after = Whole(ruleset(new), directory_of([Device("efire")]))
    after.engine.restore(before.engine.snapshot())
    (report,) = after.engine.carried
    return after, report.outcome


def test_a_running_keep_goes_by_the_new_number() -> None:
    after, outcome = carried(ARC, ARC.replace("60s", "2m"), bits((0, 1), (30, 1)))
    assert outcome == "migrated"
    assert short(after.run([Mark((), (T0 + 10**9, 0), 9, 9)])) == [(150, "cleared")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(ARC, ARC.replace(", keep: 60s", ""), id="no-keep-any-more"),
        pytest.param(f"{HIGH}", f"{HIGH}, late: drop", id="another-way-with-old-readings"),
    ],
)
def test_another_way_to_end_or_to_hear_starts_anew(old: str, new: str) -> None:
    assert carried(old, new, [])[1] == "reset"


def test_a_device_goes_on_flapping_under_changed_numbers() -> None:
    rule = f"{HIGH}, flapping: {{raises: 2, within: 10m, for: 1m}}"
    records = log((0, 600), (1, 100), (2, 600), (3, 100))
    after, outcome = carried(rule, rule.replace("for: 1m", "for: 2m"), records)
    assert outcome == "migrated"
    told = after.run(admitted(log((10, 600), "end"), [0]))
    assert [(t.at - T0, t.waited) for t in told] == [(130_000, 120_000)]


def test_raises_that_cannot_matter_are_forgotten() -> None:
    engine = RuleEngine(ruleset(f"{HIGH}, {FLAPS}"), directory_of([Device("efire")]))
    runner = Whole(ruleset(f"{HIGH}, {FLAPS}"), directory_of([Device("efire")]))
    runner.run(admitted(log((0, 600), (1, 100), (800, 100)), [0]))
    assert len(runner.engine.snapshot()) == len(engine.snapshot())
