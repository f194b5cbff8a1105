"""What schedules, sequences and registers have come to, under changed rules and registries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rules import RuleSet
from tests.rules.derived.test_composed_differential import rule_sets
from tests.rules.naive import Row, Told
from tests.rules.scene import (
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
from tests.rules.test_differential import DEVICES, GATEWAYS, logs
from tests.rules.test_switch import Changing, ChangingForgetful

ON = "on: {family: efire}"
COUNTED = f"id: efire.r, {ON}, when: residual_current >= 500 mA, debounce: 3 of 5"
DAY = f"id: efire.r, {ON}, when: residual_current >= 500 mA, during: {{hours: '04:28-18:00'}}"
CHAIN = (
    f"id: efire.r, {ON}, latched: true, sequence: [{{when: residual_current >= 500 mA}}, "
    "{when: arc != 0, within: 60s}]"
)


def changed(old: str, new: str, before: list[Row | str], *after: Row) -> tuple[Whole, list[Told]]:
    """The old rules see `before`, the new ones what comes after, up to 300 s."""
    first = Whole(ruleset(old), directory_of([Device("efire")]))
    first.run(admitted([*before, "mark"], [0]))
    then = Whole(ruleset(new), directory_of([Device("efire")]))
    then.engine.restore(first.engine.snapshot())
    return then, then.run([Mark(after, (T0 + 300 * S, 0), 9, 9)])


def read(*at: tuple[float, float]) -> list[Row | str]:
    """With one that lets the others be seen."""
    return [*(row(*one) for one in at), row(at[-1][0] + 3, 220, "voltage")]


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "want"),
    [
        pytest.param(COUNTED, COUNTED, [(0, 600), (1, 600)], [(9, 600)], [(9, "raised")],
                     id="same"),
        pytest.param(COUNTED, COUNTED.replace("3 of 5", "4 of 5"), [(0, 600), (1, 600)],
                     [(9, 600), (10, 600)], [(10, "raised")], id="another-number"),
        pytest.param(COUNTED, COUNTED.replace("500", "400"), [(0, 600), (1, 600)],
                     [(9, 450)], [(9, "raised")], id="another-limit"),
        pytest.param(CHAIN, CHAIN.replace("60s", "90s"), [(0, 600)], [(80, 1)],
                     [(80, "raised")], id="more-time-for-a-step"),
        pytest.param(DAY, DAY, [(0, 600)], [], [(80, "raised")], id="the-same-schedule"),
        pytest.param(DAY, DAY.replace("04:28", "04:29"), [(0, 600)], [], [(140, "raised")],
                     id="another-schedule"),
        pytest.param(DAY.replace(", during: {hours: '04:28-18:00'}", ", for: 1h"), DAY, [(0, 600)],
                     [], [], id="a-schedule-where-there-was-none-waits-for-a-reading"),
    ],
)  # fmt: skip
def test_numbers_change(
    old: str,
    new: str,
    before: list[tuple[float, float]],
    after: list[tuple[float, float]],
    want: list[tuple[float, str]],
) -> None:
    name = "arc" if old is CHAIN else "residual_current"
    then, told = changed(old, new, read(*before), *(row(*one, name) for one in after))
    (carried,) = then.engine.carried
    assert short(told) == want
    if "for: 1h" not in old:
        assert carried.outcome == ("kept" if old == new else "migrated")


def counted(name: str, when: str, count: str = "3 of 5") -> str:
    return f"id: efire.{name}, {ON}, when: {when}, debounce: {count}"


def chain(name: str, first: int, then: int) -> str:
    return (
        f"id: efire.{name}, {ON}, latched: true, sequence: [{{when: residual_current > {first} mA}}"
        f", {{when: cable_temperature > {then} degC, within: 10m}}]"
    )


def night(name: str, limit: int, hours: str) -> str:
    return (
        f"id: efire.{name}, {ON}, when: residual_current > {limit} mA, during: {{hours: '{hours}'}}"
    )


def side_by_side(
    old: list[str], new: list[str], before: list[Row | str], *after: Row
) -> list[tuple[float, str, str]]:
    """(seconds, change, rule) by the new rules."""
    first = Whole(ruleset(*old), directory_of([Device("efire")]))
    first.run(admitted([*before, "mark"], [0]))
    then = Whole(ruleset(*new), directory_of([Device("efire")]))
    then.engine.restore(first.engine.snapshot())
    told = then.run([Mark(after, (T0 + 900 * S, 0), 9, 9)])
    ids = [then.rules.cards[one.rule].id.removeprefix("efire.") for one in told]
    return [(*one, rule) for one, rule in zip(short(told), ids, strict=True)]


LOW = counted("low", "voltage < 180 V")
NEAR = counted("near", "residual_current < 1 mA")


def level(limit: int) -> str:
    return (
        f"id: efire.m, {ON}, debounce: 3 of 5, levels: ["
        "{name: warn, severity: 3, when: residual_current > 250 mA}, "
        f"{{name: alarm, severity: 2, when: residual_current > {limit} mA}}]"
    )


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "want"),
    [
        pytest.param([LOW, counted("m", "voltage > 250 V")], [LOW, counted("m", "voltage > 253 V")],
                     [row(0, 170, "voltage"), row(1, 170, "voltage")], [row(20, 265, "voltage")],
                     [], id="low-and-high"),
        pytest.param([level(500)], [level(600)], [row(0, 300), row(1, 300)], [row(20, 650)],
                     [(20, "raised", "m")], id="levels-of-one-rule"),
        pytest.param([NEAR, counted("m", "residual_current > 500 mA")],
                     [NEAR, counted("m", "residual_current > 600 mA")],
                     [row(0, 700), row(1, 700)], [row(20, 700)],
                     [(20, "raised", "m")], id="its-own-goes-on"),
        pytest.param([counted("m", "voltage > 250 V")], [counted("m", "voltage < 253 V")],
                     [row(0, 260, "voltage"), row(1, 260, "voltage")], [row(20, 240, "voltage")],
                     [], id="turned-round"),
        pytest.param([chain("a", 250, 60), chain("m", 500, 90)],
                     [chain("a", 250, 60), chain("m", 500, 92)],
                     [row(0, 300)], [row(20, 95, "cable_temperature")],
                     [(20, "raised", "a")], id="sequences"),
        pytest.param([chain("a", 700, 60), chain("m", 500, 90)],
                     [chain("a", 700, 60), chain("m", 500, 92)],
                     [row(0, 600)], [row(20, 95, "cable_temperature")],
                     [(20, "raised", "m")], id="its-own-step-goes-on"),
        pytest.param([night("a", 999, "04:00-04:30"), night("m", 1, "05:00-06:00")],
                     [night("a", 999, "04:00-04:30"), night("m", 1, "04:28-06:00")],
                     [row(0, 5), row(600, 0, "cable_temperature")], [],
                     [(80, "raised", "m")], id="schedules"),
    ],
)  # fmt: skip
def test_another_rule_of_the_same_quantities_keeps_what_is_its(
    old: list[str],
    new: list[str],
    before: list[Row | str],
    after: list[Row],
    want: list[tuple[float, str, str]],
) -> None:
    # Something later of the device lets the others be seen.
    later = [row(700, 0, "arc")]
    assert side_by_side(old, new, [*before, *later], *after) == want


@st.composite
def changing_rules(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """(rule, the rule after the change, rules of the same quantities beside it)."""

    def one(name: str, kind: int) -> str:
        limit = draw(st.sampled_from([1, 4, 5, 6]))
        if kind == 0:
            way = draw(st.sampled_from([">", "<"]))
            count = draw(st.sampled_from(["2 of 3", "3 of 5"]))
            return counted(name, f"residual_current {way} {limit} mA", count)
        if kind == 1:
            return chain(name, limit, draw(st.integers(0, 4)))
        return night(name, limit, draw(st.sampled_from(["04:27-04:28", "04:28-18:00"])))

    kind = draw(st.integers(0, 2))
    beside = [one(name, kind) for name in draw(st.sampled_from(["a", "z", "az"]))]
    return one("m", kind), one("m", kind), beside


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=changing_rules(), log=logs(), cut=st.integers(0, 12))
def test_what_a_changed_rule_says_does_not_hang_on_those_beside_it(
    rules: tuple[str, str, list[str]], log: list[Row | str], cut: int
) -> None:
    old, new, beside = rules
    asked = {entry.name for entry in ruleset(new).derived} - {e.name for e in ruleset(old).derived}
    assume(not asked & {entry.name for entry in ruleset(*beside).derived})
    steps = admitted(log, GATEWAYS)
    said = []
    for others in ([], beside):
        first = Whole(ruleset(old, *others), directory_of(DEVICES))
        first.run(steps[:cut])
        then = Whole(ruleset(new, *others), directory_of(DEVICES))
        then.engine.restore(first.engine.snapshot())
        found = then.run(steps[cut:])
        said.append(
            [
                (t.at, t.device, t.lane, t.change, t.onset, str(t.value))
                for t in found
                if then.rules.cards[t.rule].id == "efire.m"
            ]
        )
    assert said[0] == said[1]


def test_devices_move_with_the_registry() -> None:
    rules = ruleset(COUNTED, CHAIN.replace("efire.r", "efire.chain"), DAY.replace(".r", ".day"))
    before = Whole(rules, directory_of([Device("efire"), Device("efire")]))
    before.run(admitted([*read((0, 600), (1, 600)), "mark"], [0, 0]))
    after = Whole(rules, directory_of([Device("smoke"), Device("efire"), Device("efire")]))
    after.engine.restore(before.engine.snapshot(), np.array([2, 1], np.int32))

    rows = (row(10, 600, device=2), row(11, 1, "arc", device=2), row(12, 1, "arc", device=1))
    told = after.run([Mark(rows, (T0 + 100 * S, 0), 9, 9)])
    found = [(rules.cards[t.rule].id, t.device, (t.at - T0) / S) for t in told if t.change == 1]
    assert found == [("efire.r", 2, 10), ("efire.chain", 2, 11), ("efire.day", 2, 80)]


@pytest.mark.parametrize("runner", [Changing, ChangingForgetful])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=rule_sets(), log=logs(), at_s=st.floats(0, 200), begin=st.integers(0, 12))
def test_rules_that_stay_what_they_are_say_what_they_would(
    runner: type[Changing], rules: RuleSet, log: list[Row | str], at_s: float, begin: int
) -> None:
    """Devices move one by one to an engine with the same rules, and nobody notices."""
    steps = admitted(log, GATEWAYS)
    changing = runner(rules, rules, at_s, DEVICES, begin)
    reached = [max(s.watermarks) for s in steps[:begin] if isinstance(s, Mark)]
    assume(begin < len(steps) and max(reached, default=0) < changing.at_ms - 1)
    plain = Whole(rules, directory_of(DEVICES))
    for step in steps:
        assert _told(changing.step(step), rules) == _told(plain.step(step), rules)


def _told(told: list[Told], rules: RuleSet) -> list[tuple[object, ...]]:
    """The rows of the old rules stand behind those of the new."""
    return sorted(
        (t.at, t.rule % len(rules.cards), t.device, t.lane, t.change, t.onset, str(t.value))
        for t in told
    )
