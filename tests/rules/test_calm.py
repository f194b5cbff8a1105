"""Calm intervals hold no value that breaches; rows that repeat are still judged after a change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.transitions import Change
from rules.calm import calm_interval
from rules.expr.check import checked
from rules.expr.evaluate import maybe
from rules.expr.plan import Attribute, Truth
from rules.parts import Parts
from tests.rules.scene import (
    Device,
    Whole,
    admitted,
    batch_of,
    directory_of,
    row,
    ruleset,
    short,
)

NUMBERS = ("60", "70", "70.5", "-5", "0")
comparisons = st.builds(
    lambda operator, number: f"temperature {operator} {number} degC",
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from(NUMBERS),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)


class Values:
    def __init__(self, *values: float) -> None:
        self.values = np.array(values)

    def reading(self, quantity: int) -> np.ndarray:
        del quantity
        return self.values

    def attribute(self, plan: Attribute) -> np.ndarray:
        del plan
        return np.zeros(len(self.values), np.uint8)

    def silent(self, for_ms: int) -> np.ndarray:
        raise KeyError(for_ms)


def breached(plans: list[Truth], value: float) -> bool:
    return any(bool(np.all(maybe(plan, Values(value)))) for plan in plans)


@settings(deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), st.floats(-100, 100))
def test_no_value_of_a_calm_interval_breaches(texts: list[str], value: float) -> None:
    plans = [checked(text) for text in texts]
    low, high = calm_interval(plans)
    limits = [float(number) for number in NUMBERS]
    beside = [math.nextafter(n, side) for n in limits for side in (-math.inf, math.inf)]
    for one in (value, low, high, *limits, *beside):
        if low <= one <= high and math.isfinite(one):
            assert not breached(plans, one), (texts, one, low, high)


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        pytest.param(["temperature >= 70 degC"], (-math.inf, math.nextafter(70, 0)), id="above"),
        pytest.param(["temperature > 70 degC"], (-math.inf, 70.0), id="above-or-equal-is-calm"),
        pytest.param(["temperature < 5 degC", "temperature > 70 degC"], (5.0, 70.0), id="between"),
        pytest.param(["fire != 0"], (0.0, 0.0), id="signal"),
        pytest.param(
            ["residual_current * 2 > 600 mA"], (math.inf, -math.inf), id="computed-is-never-calm"
        ),
        pytest.param(
            ["temperature < 5 degC", "temperature >= 5 degC"], (math.inf, -math.inf), id="none"
        ),
    ],
)
def test_calm_intervals(texts: list[str], want: tuple[float, float]) -> None:
    assert calm_interval([checked(text) for text in texts]) == want


BOTH = (
    "id: efire.both, on: {family: efire}, "
    "when: residual_current >= 300 mA and cable_temperature >= 60 degC"
)


def test_a_repeated_value_is_judged_anew_after_a_reset() -> None:
    engine = Whole(ruleset(BOTH), directory_of([Device("efire")]))
    hot = [row(0, 400), row(1, 70, "cable_temperature")]
    assert short(engine.run(admitted(hot, [0]))) == [(1, "raised")]
    engine.engine.reset(0, 0)
    assert short(engine.run(admitted([row(2, 70, "cable_temperature")], [0]))) == [(2, "raised")]


def test_a_repeated_value_is_judged_anew_under_other_rules() -> None:
    directory = directory_of([Device("efire")])
    mild = Whole(ruleset(BOTH.replace("300", "500")), directory)
    hot = [row(0, 400), row(1, 70, "cable_temperature")]
    assert short(mild.run(admitted(hot, [0]))) == []
    strict = Whole(ruleset(BOTH), directory)
    strict.engine.restore(mild.engine.snapshot())
    told = strict.run(admitted([row(2, 400)], [0]))
    assert [(one.change, one.at - told[0].onset) for one in told] == [(Change.RAISED, 0)]


def test_only_devices_that_stir_or_are_active_are_looked_at() -> None:
    directory = directory_of([Device("efire")] * 3)
    rules = ruleset("id: efire.hot, on: {family: efire}, when: cable_temperature >= 60 degC")
    parts = Parts(rules, directory)

    def awake(values: list[float], active: list[int]) -> list[int] | None:
        rows = [row(0, value, "cable_temperature", device=i) for i, value in enumerate(values)]
        marks = np.array(active, np.int32)
        found = parts.rest_instant.wake(batch_of(rows), marks, marks).rows
        return None if found is None else found.tolist()

    assert awake([20, 30, 40], [0, 0, 0]) == []
    assert awake([20, 60, 40], [0, 0, 0]) == [1]
    assert awake([20, 30, 40], [0, 0, 1]) == [2]
    assert awake([math.nan, 30, 40], [0, 0, 0]) == [0]
    assert awake([60, 60, 60], [0, 0, 0]) is None
    assert awake([20, 30, 40], [0, 0, 0]) == []
