"""`attr(name, unit)`: limits that the registry knows, device by device."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contracts.registry import Registry
from contracts.units import UNITS
from rules import RulesInvalid
from rules.expr.attributes import amount
from rules.expr.check import checked
from rules.expr.plan import AttributeNumber, attributes_of, show
from rules.expr.syntax import ExpressionError
from rules.lint import lint
from rules.lint_registry import valueless
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    T0,
    Device,
    Mark,
    S,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)

DEVICES = [
    Device("efire", 0, {"rated": "100 mA", "zone": "a"}),
    Device("efire", 0, {"rated": "0.2 A", "zone": "b"}),
    Device("efire", 0, {"rated": "", "zone": "c"}),
    Device("efire", 0, None),
]
LOW = "id: efire.low, on: {family: efire}, when: 'residual_current > attr(rated, mA) * 0.9'"
SLOW = LOW.replace("low", "slow") + ", for: 60s, clear: 'residual_current < attr(rated, mA) / 2'"


@pytest.mark.parametrize(
    ("text", "written", "want"),
    [
        ("3.6", "V", 3.6),
        (" 3.6 V ", "V", 3.6),
        ("3600mV", "V", 3.6),
        ("3600", "mV", 3.6),
        ("-5", "V", -5.0),
        ("1e1", "V", 10.0),
        ("3.6 A", "V", math.nan),
        ("3,6", "V", math.nan),
        ("", "V", math.nan),
        ("nan", "V", math.nan),
        ("about 3", "V", math.nan),
    ],
)
def test_what_a_registry_says(text: str, written: str, want: float) -> None:
    found = amount(text, AttributeNumber("rated", written, "V"))
    assert found == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "said", "want"),
    [
        ("temperature > attr(t, degC)", "40", 40.0),
        ("temperature > attr(t, K)", "313.15", 40.0),
        ("temperature - cable_temperature > attr(t, K)", "5", 5.0),
        ("temperature > attr(t, degF) + 5 K", "104", 40.0),
        ("attr(t) < fire", "3", 3.0),
        ('humidity > attr(t, "%RH")', "60 %RH", 60.0),
        ("rate(static_pressure, 1h) < attr(t, MPa/h)", "-3.6", -3.6),
    ],
)
def test_units_are_those_of_what_it_is_compared_with(text: str, said: str, want: float) -> None:
    (plan,) = attributes_of(checked(text))
    assert isinstance(plan, AttributeNumber)
    assert amount(said, plan) == pytest.approx(want)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("voltage < attr(rated, A)", "V can't be compared with A"),
        ("voltage < attr(rated, Vv)", "unknown unit 'Vv'"),
        ("voltage < attr(rated)", "V can't be compared with 1"),
        ("voltage < attr()", "attr takes an attribute and its unit"),
        ("voltage < attr(3, V)", "attr wants the name of an attribute"),
        ("attr(rated, V)", "attr is a number"),
        ("voltage < attribute(rated, V)", "unknown function attribute"),
        ("temperature > attr(t, degC) * 0.9", "temperatures and levels can't be multiplied"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        checked(text)
    assert refused.value.problem == problem


def test_an_unknown_unit_comes_with_a_suggestion() -> None:
    with pytest.raises(ExpressionError) as refused:
        checked("static_pressure < attr(rated, Mpa)")
    assert "MPa" in refused.value.mend
    assert "MPa" in UNITS


def test_it_is_shown_as_it_was_written() -> None:
    said = show(checked("voltage < attr(rated, mV)*0.9"))
    assert said == "voltage < (0.001 * (attr(rated, mV) * 0.9))"
    assert show(checked("voltage < attr(rated, mV)")) == "voltage < attr(rated, mV)"


@pytest.mark.parametrize("runner", RUNNERS)
class TestJudging:
    def test_each_device_has_its_own_limit(self, runner: type[Whole]) -> None:
        rows = [row(at, 150, device=device) for at, device in enumerate(range(4))]
        told = runner(ruleset(LOW), directory_of(DEVICES)).run(admitted([*rows, "end"], [0] * 4))
        assert [(t.device, t.threshold) for t in told] == [(0, 90.0)]

    def test_a_value_that_is_missing_neither_raises_nor_clears(self, runner: type[Whole]) -> None:
        either = LOW.replace("0.9", "0.9 or residual_current > 300 mA")
        rows: list[Row | str] = [row(0, 400, device=2), row(1, 1, device=2), row(2, 400, device=3)]
        told = runner(ruleset(either), directory_of(DEVICES)).run(admitted([*rows, "end"], [0] * 4))
        assert [(t.device, t.threshold) for t in told] == [(2, 300.0), (3, 300.0)]

    def test_in_windows_steps_and_groups(self, runner: type[Whole]) -> None:
        rules = ruleset(
            "id: efire.avg, on: {family: efire}, "
            "when: 'avg(residual_current, 20s) > attr(rated, mA)'",
            "id: efire.steps, on: {family: efire}, latched: true, "
            "sequence: [{when: 'residual_current > attr(rated, mA)'}, "
            "{when: arc != 0, within: 1m}]",
            "id: efire.group, on: {family: efire}, group: gateway, "
            "when: 'devices(residual_current > attr(rated, mA)) >= 2'",
        )
        rows: list[Row | str] = [row(at, 120, device=0) for at in (0, 10, 20, 30)]
        rows += [row(25, 250, device=1), row(31, 1, "arc"), "end"]
        told = runner(rules, directory_of(DEVICES)).run(admitted(rows, [0] * 4))
        said = [(rules.cards[t.rule].id, (t.at - T0) / S, t.threshold) for t in told]
        assert said == [
            ("efire.avg", 20, 100.0),
            ("efire.group", 25, 2.0),
            ("efire.steps", 31, 0.0),
        ]


MIDDLE: list[Row | str] = [row(0, 150), row(20, 150), "mark"]


def test_a_changed_registry_judges_a_running_for_by_its_new_number() -> None:
    def after(rated: str, rows: list[Row | str]) -> list[tuple[float, str]]:
        before = Whole(ruleset(SLOW), directory_of([Device("efire", 0, {"rated": "100 mA"})]))
        before.run(admitted(MIDDLE, [0]))
        new = Whole(ruleset(SLOW), directory_of([Device("efire", 0, {"rated": rated})]))
        new.engine.restore(before.engine.snapshot())
        steps = admitted([*MIDDLE, *rows, "end"], [0])[2:]
        return short(new.run(steps))

    assert after("120 mA", [row(30, 150)]) == [(60, "raised")]
    assert after("300 mA", [row(30, 150)]) == []
    assert after("", [row(30, 150)]) == [(60, "raised")]  # Unknown doesn't break it.


def test_a_registry_that_learns_a_number_is_noticed_at_the_next_reading() -> None:
    before = Whole(ruleset(LOW), directory_of([Device("efire", 0, {"rated": ""})]))
    assert before.run(admitted(MIDDLE, [0])) == []
    new = Whole(ruleset(LOW), directory_of([Device("efire", 0, {"rated": "100"})]))
    new.engine.restore(before.engine.snapshot())
    assert short(new.step([row(30, 150)])) == [(30, "raised")]


def test_a_number_that_becomes_an_attribute_is_a_migration() -> None:
    old = Whole(
        ruleset(SLOW.replace("attr(rated, mA)", "100 mA")),
        directory_of([Device("efire", 0, {"rated": "110"})]),
    )
    old.run(admitted(MIDDLE, [0]))
    new = Whole(ruleset(SLOW), old.directory)
    new.engine.restore(old.engine.snapshot())
    assert [one.outcome for one in new.engine.carried] == ["migrated"]
    told = new.step(Mark((), (T0 + 10**9,) * 2, 9, 9))
    assert [(t.at - T0, t.threshold) for t in told] == [(60_000, 99.0)]


def test_a_safety_rule_may_not_hang_on_one() -> None:
    with pytest.raises(RulesInvalid, match="may not hang on an attribute"):
        ruleset(LOW + ", class: safety")


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("absent(1h) and residual_current > attr(rated, mA)", "absent stands alone"),
        ("attr(rated, mA) > 100 mA", "looks at no reading"),
    ],
)
def test_where_it_may_stand(when: str, problem: str) -> None:
    with pytest.raises(RulesInvalid, match=problem):
        ruleset(f'id: efire.x, on: {{family: efire}}, when: "{when}"')


def test_silence_of_devices_that_a_number_selects() -> None:
    when = "absent(1h) and attr(rated, A) > 0.1 A"
    rules = ruleset(f'id: efire.x, on: {{family: efire}}, when: "{when}"')
    rows: list[Row | str] = [row(0, 1, device=device) for device in range(4)]
    steps = admitted([*rows, "mark", "end"], [0] * 4)
    assert [t.device for t in Whole(rules, directory_of(DEVICES)).run(steps)] == [1]


def registry() -> Registry:
    return directory_of(DEVICES).registry


@pytest.mark.parametrize(
    ("when", "want"),
    [
        ("attr(rated, mA)", []),
        ("attr(ratad, mA)", ["no device has the attribute ratad; mend: did you mean rated?"]),
        (
            "attr(zone, mA)",
            ["zone is no number of mA where the registry says 'a', 'b', 'c'; "
             "mend: write a number of mA there, with or without the unit"],
        ),
    ],
)  # fmt: skip
def test_a_registry_is_asked(when: str, want: list[str]) -> None:
    said = lint(
        ruleset(LOW.replace("attr(rated, mA)", when)),
        {"rated": {"100 mA", "0.2 A"}, "zone": {"a", "b", "c"}},
    )
    assert [str(one).split(".when: ")[1] for one in said if ".when: " in str(one)] == want


def test_devices_without_a_value_are_counted() -> None:
    (one,) = valueless(ruleset(LOW), registry())
    assert (
        one.problem == "1 of the 3 devices that it watches have no rated: it says nothing of them"
    )
    assert not list(valueless(ruleset(LOW.replace("efire}", "efire, zone: [a, b]}")), registry()))


@pytest.mark.parametrize(
    ("when", "extra", "rows", "want"),
    [
        ("avg(residual_current, 1m) > 5 mA and max(residual_current, 1m) > 7 mA", "", 8, [7.0]),
        ("residual_current > 5 mA or residual_current < 1 mA", "", 8, [5.0]),
        ("residual_current > 9 mA or residual_current < 8.5 mA", "", 8, [8.5]),
        ("residual_current in [6 mA, 8 mA]", "", 8, [8.0]),
        ("count(residual_current, 1m) > 3", 'clear: "count(residual_current, 1m) < 2"', 8, [3, 2]),
        ("residual_current * 2 > 5 mA", "", 8, [None]),
    ],
)
def test_the_limit_that_an_alert_names(
    when: str, extra: str, rows: float, want: list[float | None]
) -> None:
    said = f'id: efire.x, on: {{family: efire}}, when: "{when}", {extra}'.rstrip(", ")
    log: list[Row | str] = [row(at, rows) for at in (*range(0, 100, 10), 1300)]
    told = Whole(ruleset(said), directory_of(DEVICES)).run(admitted([*log, "end"], [0] * 4))
    assert [t.threshold for t in told] == want


@pytest.mark.parametrize(
    ("when", "want"),
    [
        ("residual_current > 5 mA or cable_temperature > 50 degC", []),
        ("residual_current * 2 > 5 mA",
         ["{limit} stays empty when residual_current decides: no limit is of it alone"]),
        ("max(voltage, 1m) - min(voltage, 1m) > 5 V and voltage > 1 V",
         ["{limit} stays empty when max(voltage, 1m) decides: no limit is of it alone",
          "{limit} stays empty when min(voltage, 1m) decides: no limit is of it alone"]),
    ],
)  # fmt: skip
def test_a_text_with_a_limit_that_is_never_there(when: str, want: list[str]) -> None:
    text = "reason: {zh: '限值 {limit}', en: 'limit {limit}'}"
    found = lint(ruleset(f'id: efire.x, on: {{family: efire}}, when: "{when}", {text}'))
    assert [one.problem for one in found if "{limit}" in one.problem] == want


def test_columns_have_a_number_for_each_row() -> None:
    directory = directory_of(DEVICES)
    rules = ruleset(LOW)
    engine = Whole(rules, directory).engine
    answers = engine._parts.members.answers(0)
    (column,) = answers.values()
    assert np.array_equal(column[:4], [100.0, 200.0, np.nan, np.nan], equal_nan=True)
