"""Schedules, sequences and debounce, case by case: seconds from T0 and what happened then.

T0 is 04:26:40 in Shanghai, on a Friday.
"""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from contracts.quantities import QUANTITY_INDEX
from rules import compile_rules
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    Device,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)

DAY = "'04:27-18:00'"  # From 20 s after T0, to 48 800 s.
HIGH = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def run(
    runner: type[Whole], rule: str, records: list[Row | str], at_s: float | None = None
) -> list[tuple[float, str]]:
    """at_s: how far time gets, by a reading that no rule asks for."""
    if at_s is not None:
        records = [*records, row(at_s + 2, 220, "voltage"), "mark"]
    steps = admitted(records, [0])
    return short(runner(ruleset(rule), directory_of([Device("efire")])).run(steps))


def log(*at: tuple[float, float]) -> list[Row | str]:
    found: list[Row | str] = []
    for step in at:
        found += [row(*step), "mark"]
    return found


@pytest.mark.parametrize(
    ("keys", "records", "want"),
    [
        pytest.param("for: 10s", log((0, 600)), [(30, "raised"), (48800, "cleared")],
                     id="begins-with-the-schedule"),
        pytest.param("", log((0, 600)), [(20, "raised"), (48800, "cleared")], id="at-once"),
        pytest.param("", log((0, 600), (10, 5)), [], id="normal-again-before-it"),
        pytest.param("", log((20, 600)), [(20, "raised"), (48800, "cleared")],
                     id="the-beginning-is-inside"),
        pytest.param("", log((48800, 600)), [], id="the-end-is-outside"),
        pytest.param("for: 10s", log((48795, 600)), [], id="the-end-breaks-a-pending-for"),
        pytest.param("for: 10s", log((48790, 600)), [(48800, "raised"), (48800, "cleared")],
                     id="due-at-the-very-end"),
        pytest.param("clear_for: 60s", log((30, 600)), [(30, "raised"), (48860, "cleared")],
                     id="clears-after-clear-for"),
        pytest.param("clear: residual_current < 450 mA", log((30, 600)), [(30, "raised")],
                     id="a-clear-of-its-own"),
        pytest.param("missing: unknown after 1h", log((30, 600)),
                     [(30, "raised"), (3630, "unknown"), (48800, "cleared")], id="lost-and-ended"),
        pytest.param("missing: unknown after 1h, clear: residual_current < 450 mA",
                     [*log((-7200, 600)), row(-7190, 600, "arc")],
                     [(20, "raised"), (20, "unknown")], id="a-tick-is-no-data"),
        pytest.param("", [row(0, 600, flags=Flag.BAD), "mark"], [], id="bad-is-not-heard"),
    ],
)  # fmt: skip
def test_during(
    runner: type[Whole], keys: str, records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    rule = f"{HIGH}, during: {{hours: {DAY}}}" + (f", {keys}" if keys else "")
    assert run(runner, rule, records, 60_000) == want


def test_what_the_beginning_raises_hangs_on_the_reading_before_it(runner: type[Whole]) -> None:
    rule = f"{HIGH}, during: {{hours: {DAY}}}, missing: unknown after 30s"
    records: list[Row | str] = [row(0, 600), row(50, 600)]
    assert run(runner, rule, records, 60) == [(20, "raised"), (30, "unknown"), (50, "known")]


def test_every_night_anew_while_nothing_is_read(runner: type[Whole]) -> None:
    rule = f"{HIGH}, during: {{hours: '22:00-06:00', days: [sat, sun]}}"
    hour = 3_600
    night = 17.5 * hour + 200  # 22:00 on the day of T0.
    assert run(runner, rule, log((0, 600)), 5 * 24 * hour) == [
        (night + 24 * hour, "raised"),
        (night + 32 * hour, "cleared"),
        (night + 48 * hour, "raised"),
        (night + 56 * hour, "cleared"),
    ]


def test_an_attribute_alone_breaches_no_device_that_was_never_heard(runner: type[Whole]) -> None:
    rule = HIGH.replace("500 mA", "500 mA or zone == 'a'") + f", during: {{hours: {DAY}}}"
    rule = rule.replace("when: ", 'when: "').replace(", during", '", during')
    engine = runner(ruleset(rule), directory_of([Device("efire", 0, {"zone": "a"})]))
    assert engine.run(admitted(["mark", "end"], [0])) == []


def test_the_end_of_a_schedule_in_history(runner: type[Whole]) -> None:
    """The schedule of 04:26 to 04:27 was over when the late reading came."""
    rule = f"{HIGH}, for: 15s, during: {{hours: '04:26-04:27'}}"
    late = row(10, 600)
    records: list[Row | str] = [
        row(100, 5, "arc"),
        row(100, 5),
        "mark",
        late,
        "mark",
        row(200, 5),
        "mark",
        "end",
    ]
    assert run(runner, rule, records) == [], "it ended at 20 s, before its 15 s"
    longer = rule.replace("15s", "10s")
    assert run(runner, longer, records) == [(20, "late raised"), (20, "late cleared")]


def test_what_is_told_is_the_reading(runner: type[Whole]) -> None:
    rule = f"{HIGH}, debounce: 2 of 3, during: {{hours: {DAY}}}"
    engine = runner(ruleset(rule), directory_of([Device("efire")]))
    records = log((30, 600), (31, 700), (32, 5), (33, 4), (50, 3))
    raised, cleared = engine.run(admitted(records, [0]))
    current = QUANTITY_INDEX["residual_current"]
    assert (raised.value, raised.threshold, raised.quantity) == (700, 500, current)
    assert (cleared.value, cleared.threshold, cleared.quantity) == (4, 500, current)


@pytest.mark.parametrize(
    ("keys", "values", "want"),
    [
        pytest.param("2 of 3", [9, 600, 9, 600, 9, 9], [(3, "raised"), (4, "cleared")],
                     id="2-of-3"),
        pytest.param("3 of 3", [600, 600, 9, 600, 600, 600, 9],
                     [(5, "raised"), (6, "cleared")], id="all"),
        pytest.param("1 of 3", [9, 600, 9, 9, 9], [(1, "raised"), (4, "cleared")], id="any"),
        pytest.param("last 2s", [600, 9, 600, 600, 600, 9, 600, 9, 9, 9],
                     [(4, "raised"), (9, "cleared")], id="last"),
        pytest.param("first 2s", [9, 600, 9, 9, 9, 600, 9, 600, 9, 9, 9],
                     [(1, "raised"), (4, "cleared"), (5, "raised"), (10, "cleared")], id="first"),
        pytest.param("2 of 3, clear: residual_current < 100 mA", [600, 600, 9, 200, 200, 9],
                     [(1, "raised"), (5, "cleared")], id="while-breached-nothing-clears"),
        pytest.param("2 of 2, for: 2s", [600, 600, 600, 600, 600, 9],
                     [(3, "raised"), (5, "cleared")], id="and-for"),
    ],
)  # fmt: skip
def test_debounce(
    runner: type[Whole], keys: str, values: list[float], want: list[tuple[float, str]]
) -> None:
    records = log(*enumerate(values))
    assert run(runner, f"{HIGH}, debounce: {keys}", [*records, "end"]) == want


def test_bad_readings_and_other_quantities_are_not_counted(runner: type[Whole]) -> None:
    records: list[Row | str] = [
        row(0, 600),
        row(1, 9, flags=Flag.BAD),
        row(2, 0, "arc"),
        row(3, 600),
        row(4, float("nan")),
        "end",
    ]
    assert run(runner, f"{HIGH}, debounce: 2 of 2", records) == [(3, "raised")]


def test_time_is_no_reading(runner: type[Whole]) -> None:
    rule = 'id: efire.calm, on: {family: efire}, when: "count(arc, 10s) < 1", debounce: 1 of 2'
    records: list[Row | str] = [row(0, 0, "arc"), row(15, 0, "arc"), "end"]
    assert run(runner, rule, records) == []


SPREAD = (
    "id: efire.spread, on: {family: efire}, clear: cable_temperature < 40 degC, "
    "sequence: [{when: residual_current >= 500 mA}, {when: arc != 0, within: 60s}, "
    "{when: cable_temperature > 70 degC, within: 5m}]"
)


def chain(*at: tuple[float, float, str]) -> list[Row | str]:
    names = {"r": "residual_current", "a": "arc", "c": "cable_temperature", "v": "voltage"}
    return [*(row(at_s, value, names[name]) for at_s, value, name in at), "end"]


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param(chain((0, 600, "r"), (60, 1, "a"), (360, 80, "c"), (400, 30, "c")),
                     [(360, "raised"), (400, "cleared")], id="in-time"),
        pytest.param(chain((0, 600, "r"), (60.001, 1, "a"), (70, 80, "c")), [], id="too-late"),
        pytest.param(chain((0, 1, "a"), (1, 600, "r"), (2, 80, "c")), [], id="wrong-order"),
        pytest.param(chain((0, 1, "a"), (1, 600, "r"), (2, 1, "a"), (3, 80, "c")), [(3, "raised")],
                     id="read-again"),
        pytest.param(chain((0, 600, "r"), (1, 1, "a"), (2, 600, "r"), (3, 80, "c")),
                     [(3, "raised")], id="a-new-beginning-takes-nothing"),
        pytest.param(chain((0, 600, "r"), (50, 600, "r"), (100, 1, "a"), (101, 80, "c")),
                     [(101, "raised")], id="a-new-beginning-counts"),
        pytest.param(chain((0, 600, "r"), (1, 1, "a"), (2, 80, "c"), (3, 30, "c"), (4, 80, "c")),
                     [(2, "raised"), (3, "cleared")], id="all-is-forgotten"),
        pytest.param(chain((0, 600, "r"), (1, 1, "a"), (2, 80, "c"), (3, 600, "r"), (4, 30, "c")),
                     [(2, "raised"), (4, "cleared")], id="breached-once-only"),
    ],
)  # fmt: skip
def test_sequence(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    assert run(runner, SPREAD, records) == want


def test_first_keeps_what_is_momentary(runner: type[Whole]) -> None:
    rule = "id: efire.arc, on: {family: efire}, when: arc != 0, debounce: first 10s"
    records: list[Row | str] = [row(at, value, "arc") for at, value in ((0, 1), (5, 1), (6, 0))]
    assert run(runner, rule, records, 60) == [(0, "raised"), (15, "cleared")]


def test_a_sequence_may_be_kept(runner: type[Whole]) -> None:
    rule = SPREAD.replace("clear: cable_temperature < 40 degC", "keep: 10m")
    records = chain((0, 600, "r"), (1, 1, "a"), (2, 80, "c"), (100, 600, "r"))
    assert run(runner, rule, records) == [(2, "raised"), (602, "cleared")]


def test_complete_is_so_at_one_reading_only(runner: type[Whole]) -> None:
    """Readings of what isn't in the sequence meet no memory of its end."""
    rule = SPREAD.replace("cable_temperature < 40 degC", "voltage < 100 V")
    records = chain((0, 600, "r"), (1, 1, "a"), (2, 80, "c"), (3, 220, "v"), (4, 50, "v"))
    assert run(runner, rule, records) == [(2, "raised"), (4, "cleared")]


def test_a_step_may_look_back(runner: type[Whole]) -> None:
    rule = SPREAD.replace("arc != 0", '"count(arc, 30s) >= 2"')
    records = chain((0, 600, "r"), (10, 1, "a"), (20, 1, "a"), (30, 80, "c"))
    assert run(runner, rule, records) == [(30, "raised")]
    apart = chain((0, 600, "r"), (10, 1, "a"), (50, 1, "a"), (55, 80, "c"))
    assert run(runner, rule, apart) == []


def test_a_bad_alarm_completes_a_safety_rule(runner: type[Whole]) -> None:
    rule = (
        "id: efire.fire_after_arc, on: {family: efire}, class: safety, latched: true, "
        "sequence: [{when: arc != 0}, {when: fire != 0, within: 60s}]"
    )
    engine = runner(ruleset(rule), directory_of([Device("efire")]))
    records: list[Row | str] = [row(0, 1, "arc"), row(5, 1, "fire", flags=Flag.BAD), "end"]
    (raised,) = engine.run(admitted(records, [0]))
    assert (short([raised]), raised.value, raised.flags) == ([(5, "raised")], 1, Flag.BAD)


def test_levels_share_a_schedule(runner: type[Whole]) -> None:
    rule = (
        "id: efire.levels, on: {family: efire}, levels: ["
        "{name: warn, severity: 3, when: residual_current >= 300 mA}, "
        "{name: alarm, severity: 2, when: residual_current >= 500 mA, for: 10s}]"
    )
    ready = f"rules:\n  - {{title: {{zh: 题, en: t}}, during: {{hours: {DAY}}}, {rule}}}\n"
    engine = runner(compile_rules({"a.yml": ready}), directory_of([Device("efire")]))
    records = [*log((0, 600)), row(60_000, 220, "voltage"), "mark"]
    assert short(engine.run(admitted(records, [0]))) == [
        (20, "raised"),
        (30, "level"),
        (48800, "cleared"),
    ]


def test_silence_is_raised_at_all_hours(runner: type[Whole]) -> None:
    rule = f"{HIGH}, during: {{hours: '22:00-06:00'}}, missing: raise after 2h"
    steps = admitted([*log((0, 5)), row(8_000, 220, "voltage", device=1), "mark"], [0, 0])
    engine = runner(ruleset(rule), directory_of([Device("efire"), Device("efire")]))
    told = [one for one in engine.run(steps) if one.device == 0]
    assert short(told) == [(7_200, "raised")], "at 06:26"
