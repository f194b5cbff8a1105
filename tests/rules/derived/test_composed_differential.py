"""Random schedules, sequences and debouncing over random series: the engine says what the naive
interpreter says, however rows are cut and whatever is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules import RuleSet
from tests.rules.naive import Row
from tests.rules.naive_composed import NaiveComposed
from tests.rules.scene import RUNNERS, Mark, Whole, admitted, directory_of, ruleset
from tests.rules.test_differential import DEVICES, GATEWAYS, logs

HOURS = [
    "'04:27-04:28'",  # From 20 s to 80 s after T0.
    "'04:00-04:27'",
    "'04:27-04:00'",
    "['04:27-04:28', '04:29-04:33', '22:00-01:00']",
    "'00:00-24:00'",
]
CONDITIONS = [
    "residual_current >= 5 mA",
    "not (residual_current < 5 mA)",
    "fire != 0",
    "cable_temperature > 5 degC",
    "residual_current >= 5 mA and cable_temperature > 3 degC",
    "residual_current >= 5 mA or fire != 0",
    "residual_current >= 5 mA and zone == 'a'",
    "residual_current >= 5 mA or zone == 'a'",
]
STEPS = [condition for condition in CONDITIONS if "zone" not in condition]
CLEARS = [
    "",
    "residual_current < 3 mA",
    "cable_temperature < 3 degC and fire == 0",
    "voltage < 3 V",
]


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    return ruleset(*(draw(written(number)) for number in range(draw(st.integers(1, 3)))))


@st.composite
def written(draw: st.DrawFn, number: int) -> str:
    selected = draw(st.sampled_from(["", "", "", ", zone: a"]))
    parts = [f"id: efire.r{number}", f"on: {{family: efire{selected}}}"]
    options = {
        "clear": CLEARS,
        "clear_for": ["", "10s", "20s"],
        "missing": ["", "unknown after 26s", "unknown after 40s"],
    }
    kind = draw(st.sampled_from(["during", "debounce", "both", "sequence"]))
    if kind == "sequence":
        steps = draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=4))
        within = [draw(st.sampled_from(["1s", "10s", "60s"])) for _ in steps]
        said = [f'{{when: "{steps[0]}"}}']
        said += [f'{{when: "{s}", within: {w}}}' for s, w in zip(steps[1:], within, strict=False)]
        parts += [f"sequence: [{', '.join(said)}]", "latched: true"]
        options["class"] = ["", "safety"]
        safety = draw(st.booleans())
        parts += ["class: safety"] if safety else []
        options["class"] = [""]
        if not safety and draw(st.booleans()):
            kind = "during"
    else:
        parts.append(f'when: "{draw(st.sampled_from(CONDITIONS))}"')
        options["for"] = ["", "10s", "25s"]
    if kind in ("during", "both"):
        parts.append(f"during: {{hours: {draw(st.sampled_from(HOURS))}}}")
    if kind in ("debounce", "both"):
        of = draw(st.integers(2, 5))
        parts.append(f"debounce: {draw(st.integers(1, of))} of {of}")
    drawn = {key: draw(st.sampled_from(values)) for key, values in options.items()}
    return ", ".join(parts + [f'{key}: "{value}"' for key, value in drawn.items() if value])


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=rule_sets(), log=logs())
def test_engine_equals_naive(runner: type[Whole], rules: RuleSet, log: list[Row | str]) -> None:
    naive = NaiveComposed(
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
