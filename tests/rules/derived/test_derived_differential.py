"""Random rules with windows and ages over random series: what the naive interpreter says, however
rows are cut and whatever is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from rules import RuleSet
from tests.rules.naive import Naive, Row
from tests.rules.scene import RUNNERS, Mark, Whole, admitted, directory_of, row, ruleset
from tests.rules.test_differential import DEVICES, GATEWAYS, logs

NUMBERS = ["avg", "min", "max", "sum", "stddev", "delta", "last"]
SECONDS = st.sampled_from(["1s", "10s", "15s", "40s", "90s"])


@st.composite
def functions(draw: st.DrawFn) -> str:
    """A comparison of a function of residual current or of alarm bits."""
    operator = draw(st.sampled_from(["<", "<=", ">", ">=", "!="]))
    window = draw(SECONDS)
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return f"count(residual_current, {window}) {operator} {draw(st.integers(0, 4))}"
    if kind == 1:
        return f"changes(residual_current, {window}) {operator} {draw(st.integers(0, 3))}"
    if kind == 2:
        share = draw(st.sampled_from(["0", "0.3", "50%", "0.9", "1"]))
        return f"quantile(residual_current, {share}, {window}) {operator} 4 mA"
    if kind == 3:
        limit = draw(st.sampled_from(["0 mA/s", "0.5 mA/s", "6 mA/min"]))
        return f"rate(residual_current, {window}) {operator} {limit}"
    if kind == 4:
        return f"age(residual_current) {draw(st.sampled_from(['<', '>']))} {window}"
    if kind == 5:
        return f"sum(fire, {window}) {operator} {draw(st.integers(0, 2))}"
    function = draw(st.sampled_from(NUMBERS))
    limit = draw(st.sampled_from(["0 mA", "2 mA", "4.5 mA", "6 mA"]))
    return f"{function}(residual_current, {window}) {operator} {limit}"


@st.composite
def conditions(draw: st.DrawFn) -> str:
    one = draw(functions())
    shape = draw(st.integers(0, 7))
    if shape == 0:
        return f"{one} and residual_current >= 2 mA"
    if shape == 1:
        return f"{one} or cable_temperature > 5 degC"
    if shape == 2:
        return f"{one} and {draw(functions())}"
    if shape == 3:
        return f"not ({one})"
    if shape == 4:
        return f"avg(residual_current, {draw(SECONDS)}) > 1.2 * last(residual_current, 40s)"
    return one


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    return ruleset(*(draw(written(number)) for number in range(draw(st.integers(1, 3)))))


@st.composite
def written(draw: st.DrawFn, number: int) -> str:
    selected = draw(st.sampled_from(["", "", "", ", zone: a"]))
    parts = [
        f"id: efire.r{number}",
        f'when: "{draw(conditions())}"',
        f"on: {{family: efire{selected}}}",
    ]
    options = {
        "for": ["", "", "10s", "25s"],
        "clear_for": ["", "10s", "20s"],
        "missing": ["", "unknown after 26s", "unknown after 40s"],
        "class": ["", "", "safety"],
    }
    drawn = {key: draw(st.sampled_from(values)) for key, values in options.items()}
    if draw(st.booleans()):
        drawn["clear"] = draw(conditions())
    return ", ".join(parts + [f'{key}: "{value}"' for key, value in drawn.items() if value])


@st.composite
def dense_logs(draw: st.DrawFn) -> list[Row | str]:
    """One device, steps that windows are multiples of, backlogs that reach far back."""
    log: list[Row | str] = []
    now = 0.0
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 1, 5, 5, 5, 10]))
        back = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 15, 40, 100]))
        value = draw(st.sampled_from([0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 6.0, 1e300]))
        flags = draw(st.sampled_from([0, 0, 0, 0, 0, 0, int(Flag.BAD), int(Flag.HISTORICAL)]))
        quantity = draw(st.sampled_from(["residual_current"] * 4 + ["fire"]))
        log.append(row(now - back, value, quantity, 0, flags))
        if draw(st.integers(0, 2)) == 0:
            log.append("mark")
    return [*log, "mark", "end"]


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=rule_sets(), log=logs() | dense_logs())
def test_engine_equals_naive(runner: type[Whole], rules: RuleSet, log: list[Row | str]) -> None:
    naive = Naive(
        rules,
        [device.family for device in DEVICES],
        GATEWAYS,
        [device.attributes for device in DEVICES],
    )
    engine = runner(rules, directory_of(DEVICES))
    for step in admitted(log, GATEWAYS):
        if isinstance(step, Mark):
            want = naive.on_time(list(step.rows), list(step.watermarks), step.position, step.heard)
        else:
            want = naive.on_rows(step)
        assert engine.step(step) == want
