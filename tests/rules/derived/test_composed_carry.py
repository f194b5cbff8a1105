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
