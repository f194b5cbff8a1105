"""Random rules over random series with gaps, disorder, bad quality and late rows: the engine
must say what the naive interpreter says, however rows are cut and whatever is forgotten."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from rules import RuleSet
from tests.rules.naive import Naive, Row
from tests.rules.scene import RUNNERS, Device, Mark, Whole, admitted, directory_of, row, ruleset

DEVICES = [
    Device("efire", 0, {"zone": "a", "rated": "5 mA"}),
    Device("efire", 1, {"zone": "b", "rated": "none"}),
    Device("smoke", 0, {}),
    Device("efire", 0, None),
]
GATEWAYS = [device.gateway for device in DEVICES]

WHENS = [
    "residual_current >= 5 mA",
    "not (residual_current < 5 mA)",
    "residual_current in [6 mA, 7 mA]",
    "fire != 0",
    "cable_temperature > 5 degC",
    "residual_current >= 5 mA and cable_temperature > 5 degC",
    "residual_current >= 5 mA or fire != 0",
    "voltage / residual_current > 1 V / 1 mA",
    "(residual_current - 3 mA) * 2 > 4 mA",
    "residual_current >= 5 mA and zone == 'a'",
    "residual_current >= 5 mA or not zone == 'a'",
    "residual_current > attr(rated, mA)",
    "residual_current >= attr(rated, mA) * 0.8 and not cable_temperature > 5 degC",
    "not residual_current < attr(rated, mA) or residual_current >= 7 mA",
    "residual_current < 1 mA or residual_current > 5 mA",
    "absent(40s)",
    "absent(15s) and attr(rated, mA) < 6 mA",
    "absent(15s) and zone == 'a'",
]
CLEARS = [
    "",
    "residual_current < 3 mA",
    "residual_current < 3 mA or cable_temperature < 3 degC",
    "cable_temperature < 3 degC and fire == 0",
    "residual_current < attr(rated, uA) / 2",
]


MISSING = ["", "unknown after 26s", "unknown after 40s"]
RAISES = "raise after 26s"
LEVEL_WHENS = [
    "residual_current >= 4 mA",
    "residual_current >= 5 mA",
    "residual_current >= 7 mA",
    "residual_current >= 5 mA or fire != 0",
    "cable_temperature > 4 degC",
]
LEVEL_CLEARS = ["", "", "residual_current < 3 mA", "residual_current < 5 mA"]


@st.composite
def written_rules(draw: st.DrawFn) -> RuleSet:
    kinds = draw(st.lists(st.sampled_from([0, 0, 1, 2, 3, 3]), min_size=1, max_size=3))
    return ruleset(*(draw(_KINDS[kind](number)) for number, kind in enumerate(kinds)))


@st.composite
def written_rule(draw: st.DrawFn, number: int) -> str:
    """A rule of one machine row."""
    when = draw(st.sampled_from(WHENS))
    selected = draw(st.sampled_from(["", "", ", zone: a", ", zone: [b, c]"]))
    options = {"for": ["", "10s", "25s"], "clear_for": ["", "10s", "20s"]}
    if "absent" not in when:
        options |= {"clear": CLEARS, "missing": MISSING}
    by_device = "zone" in when or "attr" in when
    parts = [f"id: efire.r{number}", f'when: "{when}"', f"on: {{family: efire{selected}}}"]
    drawn = {key: draw(st.sampled_from(values)) for key, values in options.items()}
    if not by_device and "attr" not in drawn.get("clear", ""):
        drawn["class"] = draw(st.sampled_from(["", "safety"]))
    return ", ".join(parts + [f'{key}: "{value}"' for key, value in drawn.items() if value])


@st.composite
def written_levels(draw: st.DrawFn, number: int) -> str:
    levels = []
    for severity in draw(st.sampled_from([(3, 2), (4, 1), (4, 3, 1)])):
        options = {
            "when": LEVEL_WHENS,
            "for": ["", "10s", "25s"],
            "clear": LEVEL_CLEARS,
            "clear_for": ["", "10s", "20s"],
        }
        said = [f"name: l{severity}", f"severity: {severity}"]
        for key, values in options.items():
            value = draw(st.sampled_from(values))
            said += [f'{key}: "{value}"'] if value else []
        levels.append(f"{{{', '.join(said)}}}")
    parts = [f"id: efire.r{number}", "on: {family: efire}", f"levels: [{', '.join(levels)}]"]
    missing, safety = draw(st.sampled_from([*MISSING, RAISES])), draw(st.booleans())
    parts += [f"missing: {missing}"] if missing else []
    return ", ".join(parts + (["class: safety"] if safety else []))


@st.composite
def written_raising_silence(draw: st.DrawFn, number: int) -> str:
    rule = draw(written_rule(number).filter(lambda rule: "absent" not in rule))
    rule = rule.replace("not zone", "zone")
    for missing in MISSING[1:]:
        rule = rule.replace(f', missing: "{missing}"', "")
    return f"{rule}, missing: {RAISES}".replace(" or zone == 'a'", "")


@st.composite
def lasting_keys(draw: st.DrawFn, when: str) -> list[str]:
    """`keep`, `flapping` and `late` with what may stand beside them."""
    momentary = when in ("fire != 0",)
    said = draw(st.sampled_from(["", "for: 10s"]))
    found = [said] if said else []
    keep = draw(st.sampled_from(["", "5s", "20s"]))
    if keep:
        found.append(f"keep: {keep}")
    if not (keep and momentary):
        found += draw(st.sampled_from([[], ["missing: unknown after 40s"]]))
        clear = draw(st.sampled_from(["", "residual_current < 3 mA", "fire == 0"]))
        found += [f'clear: "{clear}"'] if clear else []
    if draw(st.booleans()):
        raises, within, longer = draw(
            st.tuples(
                st.sampled_from([2, 3]),
                st.sampled_from(["30s", "90s"]),
                st.sampled_from(["15s", "25s"]),
            )
        )
        found.append(f"flapping: {{raises: {raises}, within: {within}, for: {longer}}}")
    return [*found, f"late: {draw(st.sampled_from(['annotate', 'fire', 'drop']))}"]


@st.composite
def written_lasting(draw: st.DrawFn, number: int) -> str:
    whens = ["fire != 0", "fire != 0", "residual_current >= 5 mA", WHENS[6]]
    when = draw(st.sampled_from(whens))
    parts = [f"id: efire.r{number}", f'when: "{when}"', "on: {family: efire}"]
    return ", ".join(parts + draw(lasting_keys(when)))


_KINDS = (written_rule, written_levels, written_raising_silence, written_lasting)

FLAGS = [0] * 8 + [
    int(flag)
    for flag in (
        Flag.BAD,
        Flag.STALE,
        Flag.HISTORICAL,
        Flag.CLOCK_UNKNOWN,
        Flag.ALARM | Flag.BAD,
        Flag.TEST,
    )
]


@st.composite
def logs(draw: st.DrawFn) -> list[Row | str]:
    """Rows whose times mostly rise, some far back; marks in between; an end that closes."""
    log: list[Row | str] = []
    now = 0.0
    for _ in range(draw(st.integers(1, 40))):
        if draw(st.integers(0, 4)) == 0:
            log.append("mark")
            continue
        now += draw(st.sampled_from([0, 0.001, 1, 1, 2, 5, 5, 10, 30, 60]))
        back = draw(st.sampled_from([0, 0, 0, 0, 0, 0.5, 1, 10, 40]))
        quantity = draw(
            st.sampled_from(
                ["residual_current"] * 3 + ["cable_temperature"] * 2 + ["fire", "voltage"]
            )
        )
        value = draw(st.sampled_from([0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0, math.nan]))
        device = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
        flags = draw(st.sampled_from(FLAGS))
        log.append(row(now - back, value, quantity, device, flags))
    return [*log, "mark", "end"]


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=written_rules(), log=logs())
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
