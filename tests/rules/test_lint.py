"""What could run but shouldn't."""

from __future__ import annotations

from datetime import date

import pytest

from rules import compile_rules
from rules.lint import lint
from tests.rules.scene import ruleset

FULL = """\
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire, zone: a}
    when: residual_current >= 500 mA
    clear: residual_current < 450 mA
    severity: 2
    standard: proposal
    reason: {zh: 因, en: why}
    runbook: {zh: 做, en: do}
"""


LEVELS = """\
    levels:
      - {name: warn, severity: 3, when: residual_current >= 300 mA}
      - name: alarm
        severity: 2
        when: residual_current >= 500 mA
        clear: residual_current < 450 mA
    latched: true
"""
SINGLE = """\
    when: residual_current >= 500 mA
    clear: residual_current < 450 mA
    severity: 2
"""


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        pytest.param("", "", [], id="none"),
        pytest.param(">= 300", ">= 600", ["levels.warn.when: warn can't be met before alarm"],
                     id="out-of-order"),
        pytest.param("300 mA}", "600 mA, for: 10s}",
                     ["levels.warn.when: warn can't be met before alarm"], id="slower-too"),
        pytest.param("300 mA}\n      - name: alarm",
                     "500 mA}\n      - name: alarm\n        for: 1h", [], id="the-same-for-longer"),
        pytest.param("< 450 mA", "< 5 mA and residual_current > 6 mA",
                     ["levels.alarm.clear: no value can ever fit: it never ends"],
                     id="never-clears"),
        pytest.param("    latched: true\n", "    class: safety\n    missing: raise after 1h\n",
                     ["missing: silence would ring like the danger itself"], id="silence"),
    ],
)  # fmt: skip
def test_levels(old: str, new: str, want: list[str]) -> None:
    assert problems((SINGLE, LEVELS), (old, new)) == [f"efire.high.{one}" for one in want]


def problems(*changes: tuple[str, str]) -> list[str]:
    text = FULL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    found = lint(compile_rules({"a.yml": text}), {"zone": {"a", "b"}})
    assert all(finding.file == "a.yml" and finding.line == 2 for finding in found)
    return [f"{finding.path}: {finding.problem}" for finding in found]


def test_a_good_rule_has_none() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clear: residual_current < 450 mA", "clear: residual_current < 2 mA"),
        ("clear: residual_current < 450 mA", "clear: max(residual_current, 5m) < 450 mA"),
        (
            "    severity: 2",
            "    severity: 2\n    for: 1m\n    clear_for: 1m\n"
            "    flapping: {raises: 4, within: 10m, for: 6m}",
        ),
    ],
)
def test_what_can_happen_is_none(old: str, new: str) -> None:
    assert problems((old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        pytest.param("    standard: proposal\n", "", "standard: no source", id="standard"),
        pytest.param("    runbook: {zh: 做, en: do}\n", "", "runbook is missing", id="runbook"),
        pytest.param("< 450", "< 550", "some values both raise and clear", id="overlap"),
        pytest.param("< 450 mA", "< 450 mA and residual_current > 460 mA",
                     "clear: no value can ever fit", id="never-clears"),
        pytest.param(">= 500 mA", ">= 500 mA and residual_current < 400 mA",
                     "when: no value can ever fit", id="never-raises"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "residual_current >= 5 mA or residual_current < 6 mA",
                     "every value fits", id="always"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "fire != 0", "class: fire means that a life", id="life"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "arc == 1", "of arc anything but 0 is an alarm", id="signal"),
        pytest.param("    severity: 2", "    severity: 2\n    class: safety\n    for: 6m",
                     "a safety rule that waits this long", id="slow-safety"),
        pytest.param("    severity: 2", "    severity: 2\n    during: {days: workday}",
                     "during: there is no calendar", id="no-calendar"),
        pytest.param("    severity: 2", "    severity: 2\n    during: {days: [sat]}\n    for: 1d",
                     "during: no period is longer than for, 1d", id="as-long-as-for"),
        pytest.param("    severity: 2", "    severity: 2\n    during: {hours: '00:00-24:00'}",
                     "during: it is always inside", id="always-inside"),
        pytest.param("    severity: 2",
                     "    severity: 2\n    during: {hours: '12:00-13:00'}\n    for: 1h",
                     "during: no period is longer than for, 1h", id="short-period"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "count(residual_current, 5m) < 0", "no value can ever fit", id="count-below"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "stddev(residual_current, 5m) >= 0 mA", "every value fits", id="spread"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "sum(fire, 5m) > 3", "class: fire means that a life", id="life-window"),
        pytest.param("residual_current >= 500 mA\n    clear: residual_current < 450 mA",
                     "max(residual_current, 5m) < 70 mA and min(residual_current, 5m) > 90 mA",
                     "when: no value can ever fit", id="max-below-min"),
        pytest.param("clear: residual_current < 450 mA",
                     "clear: min(residual_current, 5m) > 600 mA",
                     "clear: some values both raise and clear", id="min-above-limit"),
        pytest.param("residual_current < 450 mA", "residual_current < 450 uA",
                     "clear: its limit of residual_current is 500 times away", id="units"),
        pytest.param("when: residual_current >= 500 mA",
                     "sequence: [{when: arc > 5 and arc < 4}, "
                     "{when: residual_current >= 500 mA, within: 5m}]",
                     "sequence[0].when: no value can ever fit", id="step"),
        pytest.param("    severity: 2",
                     "    severity: 2\n    for: 5m\n    clear_for: 5m\n"
                     "    flapping: {raises: 4, within: 10m, for: 6m}",
                     "flapping: 4 raises take at least 30m, never 10m", id="flapping"),
        pytest.param("zone: a", "zone: c", "no device has zone c", id="value"),
        pytest.param("zone: a", "zome: a", "no device has the attribute zome", id="attribute"),
        pytest.param("efire.high", "smoke.high", "doesn't begin with its family", id="family"),
    ],
)  # fmt: skip
def test_finding(old: str, new: str, want: str) -> None:
    found = problems((old, new))
    assert len(found) == 1
    assert want in found[0]


def said_of(day: str, *years: int) -> list[str]:
    calendar = ", ".join(f"{year}-01-01: {{holiday: x}}" for year in years)
    rule = FULL.replace("    severity: 2", "    severity: 2\n    during: {days: workday}")
    found = lint(
        compile_rules({"a.yml": rule, "b.yml": f"calendar: {{{calendar}}}"}),
        {"zone": {"a"}},
        date.fromisoformat(day),
    )
    return [finding.problem for finding in found]


def test_the_calendar_must_be_of_this_year() -> None:
    assert said_of("2026-11-30", 2026) == []
    assert said_of("2026-12-01", 2026, 2027) == []
    assert said_of("2026-12-01", 2026) == [
        "the calendar names no day of 2027: only weekdays count in it"
    ], "the notice is out by then"
    assert len(said_of("2027-03-01", 2026)) == 1


def test_a_debounced_rule_is_looked_at_by_its_readings() -> None:
    assert problems(("    severity: 2", "    severity: 2\n    debounce: 3 of 5")) == []


def test_a_window_told_early_by_clear_is_the_one_of_when() -> None:
    old = "when: residual_current >= 500 mA\n    clear: residual_current < 450 mA"
    new = (
        "when: delta(residual_current, 60s) < -50 mA\n    clear: delta(residual_current, 60s) > {}"
    )
    assert problems((old, new.format("-40 mA"))) == []
    overlap = problems((old, new.format("-60 mA")))
    assert overlap == ["efire.high.clear: some values both raise and clear"]


def test_a_sequence_ends_by_another_quantity() -> None:
    steps = "sequence: [{when: arc != 0}, {when: residual_current >= 500 mA, within: 5m}]"
    assert problems(("when: residual_current >= 500 mA", steps)) == []
    overlap = problems(("when: residual_current >= 500 mA", steps), ("< 450", "< 550"))
    assert overlap == ["efire.high.clear: some values both raise and clear"]


def test_two_rules_that_say_the_same() -> None:
    def found(second: str) -> list[str]:
        rules = ruleset(
            "id: efire.a, on: {family: efire}, when: residual_current > 300 mA",
            f"id: efire.b, on: {{family: efire}}, {second}",
        )
        said = (str(one) for one in lint(rules))
        return [one for one in said if "rings without" in one or "asks the same" in one]

    assert "efire.b.when: asks the same as efire.a" in found("when: residual_current > 0.3 A")[0]
    assert "efire.b.when: never rings without efire.a" in found("when: residual_current > 1 A")[0]
    assert "efire.a.when: never rings without efire.b" in found("when: residual_current > 1 mA")[0]
    assert found("when: residual_current < 20 mA") == []
    assert found("severity: 1, when: residual_current > 1 A") == []
    assert found("for: 60s, when: residual_current > 100 mA") == []


def test_a_function_is_one_value_in_when_and_clear() -> None:
    """`sum > 2` may be true before its window is covered, `sum < 1` not: two rows, one number."""
    window = ("when: residual_current >= 500 mA", "when: changes(arc, 5m) >= 5")
    assert problems(window, ("residual_current < 450 mA", "changes(arc, 5m) <= 2")) == []
    overlap = problems(window, ("residual_current < 450 mA", "changes(arc, 5m) <= 7"))
    assert overlap == ["efire.high.clear: some values both raise and clear"]
