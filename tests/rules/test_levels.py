"""Levels: one alert whose severity rises and falls. Seconds from T0, change, severity, level."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
)
from tests.rules.test_differential import written_levels
from tests.rules.test_timed import log

WARN = (
    "{name: warn, severity: 3, when: residual_current >= 300 mA, "
    "clear: residual_current < 270 mA%s}"
)
ALARM = (
    "{name: alarm, severity: 2, when: residual_current >= 500 mA, "
    "clear: residual_current < 450 mA%s}"
)


def rule(warn: str = "", alarm: str = "", more: str = "") -> str:
    levels = f"[{WARN % warn}, {ALARM % alarm}]"
    return f"id: efire.high, on: {{family: efire}}, levels: {levels}{more}"


INSTANT = rule()
TIMED = rule(", for: 60s", ", for: 30s", ", missing: unknown after 15m")
PATIENT_WARN = rule(", for: 60s")
NAMES = ("warn", "alarm")


def story(told: list[Told], names: tuple[str, ...] = NAMES) -> list[tuple[float, str, int, str]]:
    return [
        (
            (t.at - T0) / 1000,
            ("late " if t.lane else "") + Change(t.change).name.lower(),
            t.severity,
            names[t.level],
        )
        for t in told
    ]


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def run(runner: type[Whole], written: str, records: list[Row | str]) -> list[Told]:
    return runner(ruleset(written), directory_of([Device("efire")])).run(admitted(records, [0]))


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param(
            log((0, 350), (10, 550), (20, 400), (30, 280), (40, 260)),
            [(0, "raised", 3, "warn"), (10, "level", 2, "alarm"), (20, "level", 3, "warn"),
             (40, "cleared", 3, "warn")],
            id="up-and-down-with-separate-clears",
        ),
        pytest.param(
            log((0, 600), (10, 100)),
            [(0, "raised", 2, "alarm"), (10, "cleared", 2, "alarm")],
            id="both-at-once-is-one-change",
        ),
        pytest.param(
            log((0, 350), (10, 600), (20, 100), (30, 350)),
            [(0, "raised", 3, "warn"), (10, "level", 2, "alarm"), (20, "cleared", 2, "alarm"),
             (30, "raised", 3, "warn")],
            id="a-second-episode",
        ),
    ],
)  # fmt: skip
def test_instant(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str, int, str]]
) -> None:
    told = run(runner, INSTANT, records)
    assert story(told) == want
    assert {t.row for t in told} == {0}, "on the reading itself, not at a mark"


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param(
            log((0, 350), (100, 600), (200, 400), (300, 100), "end"),
            [(60, "raised", 3, "warn"), (130, "level", 2, "alarm"), (200, "level", 3, "warn"),
             (300, "cleared", 3, "warn")],
            id="each-waits-for-its-own-time",
        ),
        pytest.param(
            log((0, 600), (90, 400), (100, 100), "end"),
            [(30, "raised", 2, "alarm"), (90, "level", 3, "warn"), (100, "cleared", 3, "warn")],
            id="the-greater-first",
        ),
        pytest.param(
            log((0, 600), (40, 400), (60, 400), "end"),
            [(30, "raised", 2, "alarm"), (40, "cleared", 2, "alarm"), (60, "raised", 3, "warn"),
             (960, "unknown", 3, "warn")],
            id="the-lesser-has-still-to-wait",
        ),
        pytest.param(
            log((0, 600), (60, 400), (70, 100), "end"),
            [(30, "raised", 2, "alarm"), (60, "level", 3, "warn"), (70, "cleared", 3, "warn")],
            id="one-begins-as-the-other-ends",
        ),
        pytest.param(
            log((0, 350), (30, 600), (60, 100), "end"),
            [(60, "raised", 2, "alarm"), (60, "cleared", 2, "alarm")],
            id="both-begin-and-end-at-one-moment",
        ),
        pytest.param(
            log((0, 600), (50, 600), (2000, 600), (2010, 400), "end"),
            [(30, "raised", 2, "alarm"), (950, "unknown", 2, "alarm"),
             (2000, "known", 2, "alarm"), (2010, "level", 3, "warn"),
             (2910, "unknown", 3, "warn")],
            id="unknown-is-said-once",
        ),
        pytest.param(
            log((0, 350), (1000, 350), (1010, 600), (1040, 600), (1990, 400), "end"),
            [(60, "raised", 3, "warn"), (900, "unknown", 3, "warn"), (1000, "known", 3, "warn"),
             (1040, "level", 2, "alarm"), (1940, "unknown", 2, "alarm"),
             (1990, "known", 2, "alarm"), (1990, "level", 3, "warn"),
             (2890, "unknown", 3, "warn")],
            id="lost-and-found-at-another-level",
        ),
    ],
)  # fmt: skip
def test_timed(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str, int, str]]
) -> None:
    assert story(run(runner, TIMED, records)) == want


def test_an_alert_keeps_its_onset_and_says_what_it_met(runner: type[Whole]) -> None:
    told = run(runner, TIMED, log((0, 350), (100, 600), (200, 400), (300, 100), "end"))

    assert {t.onset for t in told} == {T0}
    assert [(t.value, t.threshold) for t in told] == [
        (350, 300),
        (600, 500),
        (400, 300),  # What it falls to, not what it falls from.
        (100, 270),
    ]


def test_levels_wait_for_each_other(runner: type[Whole]) -> None:
    records: list[Row | str] = [row(0, 600), row(70, 100), "end"]
    told = run(runner, PATIENT_WARN, records)
    assert story(told) == [
        (0, "raised", 2, "alarm"), (70, "cleared", 2, "alarm"),
    ]  # fmt: skip
    assert {t.row for t in told} == {-1}


def test_a_level_of_a_safety_rule_waits_for_none(runner: type[Whole]) -> None:
    records: list[Row | str] = [row(0, 350), "mark", row(100, 600), row(101, 260), "end"]
    told = run(runner, PATIENT_WARN + ", class: safety", records)
    assert [(*one, t.row) for one, t in zip(story(told), told, strict=True)] == [
        (100, "raised", 2, "alarm", 0),
        (101, "cleared", 2, "alarm", 0),
        (60, "raised", 3, "warn", -1),
        (101, "cleared", 3, "warn", -1),
    ]


def test_times_of_one_alert_never_fall_back(runner: type[Whole]) -> None:
    records: list[Row | str] = [row(0, 350), row(65, 350), "mark"]
    records += [row(100, 600), row(101, 400), row(90, 100)]
    told = run(runner, PATIENT_WARN + ", class: safety", [*records, "end"])
    assert story(told) == [
        (60, "raised", 3, "warn"),
        (100, "level", 2, "alarm"),
        (101, "level", 3, "warn"),
        (101, "cleared", 3, "warn"),  # At 90, as the mark says.
        (160, "raised", 3, "warn"),
    ]


def test_the_onset_is_the_earliest_of_those_that_raise_together(runner: type[Whole]) -> None:
    levels = (
        "{name: a, severity: 3, when: residual_current >= 300 mA, for: 30s}, "
        "{name: b, severity: 2, when: cable_temperature >= 70 degC, for: 60s}"
    )
    written = f"id: efire.high, on: {{family: efire}}, levels: [{levels}]"
    records: list[Row | str] = [row(0, 80, "cable_temperature"), row(30, 400), "end"]
    (told,) = run(runner, written, records)
    assert ((told.at - T0), told.onset, told.level, told.value) == (60_000, T0, 1, 80)


@pytest.mark.parametrize("runner_of", RUNNERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=written_levels(0).map(ruleset),
    log=st.lists(
        st.one_of(
            st.just("mark"),
            st.tuples(st.sampled_from([0, 1, 5, 5, 10, 30]), st.sampled_from([2.0, 4.0, 6.0, 8.0])),
        ),
        max_size=25,
    ),
)
def test_levels_equal_naive(
    runner_of: type[Whole], rules: RuleSet, log: list[str | tuple[float, float]]
) -> None:
    """Few values and round times, so that levels meet at the same moment."""
    records: list[Row | str] = []
    now = 0.0
    for step in log:
        if isinstance(step, str):
            records.append(step)
        else:
            now += step[0]
            records.append(row(now, step[1]))
    naive = Naive(rules, ["efire"], [0], [{}])
    engine = runner_of(rules, directory_of([Device("efire", 0, {})]))
    for step_ in admitted([*records, "mark", "end"], [0]):
        if isinstance(step_, Mark):
            want = naive.on_time(
                list(step_.rows), list(step_.watermarks), step_.position, step_.heard
            )
        else:
            want = naive.on_rows(step_)
        assert engine.step(step_) == want


def test_a_reset_ends_all_levels() -> None:
    engine = Whole(ruleset(INSTANT), directory_of([Device("efire")]))
    engine.run(admitted([row(0, 600)], [0]))

    engine.engine.reset(0, 0)
    told = engine.run([[row(1, 350)]])

    assert story(told) == [(1, "raised", 3, "warn")]


def test_another_limit_for_one_level_keeps_the_episode() -> None:
    before = Whole(ruleset(TIMED), directory_of([Device("efire")]))
    before.run(admitted(log((0, 350), (100, 600), (200, 600)), [0]))
    changed = ruleset(TIMED.replace("500", "550").replace("450", "410"))
    after = Whole(changed, directory_of([Device("efire")]))

    after.engine.restore(before.engine.snapshot())

    assert [(c.rule, c.outcome) for c in after.engine.carried] == [("efire.high", "migrated")]
    told = after.run(admitted(log((300, 430), (310, 400), (320, 100), "end"), [0]))
    assert story(told) == [(310, "level", 3, "warn"), (320, "cleared", 3, "warn")]
    assert {t.onset for t in told} == {T0}


def test_a_level_that_is_gone_leaves_the_others() -> None:
    three = rule(", for: 60s", ", for: 30s").replace(
        "]", ", {name: grave, severity: 1, when: residual_current >= 900 mA, for: 10s}]"
    )
    before = Whole(ruleset(three), directory_of([Device("efire")]))
    before.run(admitted(log((0, 350), (100, 950), (200, 950)), [0]))
    after = Whole(ruleset(TIMED), directory_of([Device("efire")]))

    after.engine.restore(before.engine.snapshot())

    (report,) = after.engine.carried
    assert (report.outcome, report.why) == ("migrated", "grave is gone")
    told = after.run(admitted(log((300, 400), (310, 100), "end"), [0]))
    assert story(told) == [(300, "level", 3, "warn"), (310, "cleared", 3, "warn")]


def test_rows_of_a_rule_that_got_levels_start_anew() -> None:
    plain = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA, for: 60s"
    before = Whole(ruleset(plain), directory_of([Device("efire")]))
    before.run(admitted(log((0, 600)), [0]))
    engine = RuleEngine(ruleset(TIMED), directory_of([Device("efire")]))

    engine.restore(before.engine.snapshot())

    (report,) = engine.carried
    assert (report.outcome, report.why) == ("reset", "what it was as a whole is gone")
