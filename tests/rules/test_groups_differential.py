"""Random group rules over random series of two gateways that lag behind each other: the two stages
must say what the naive interpreter says, however rows are cut and whatever is forgotten."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.directory import DeviceDirectory
from contracts.transitions import TransitionBatch
from rules import RuleSet
from tests.rules.naive import Row
from tests.rules.naive_groups import NaiveGroups, Said
from tests.rules.scene import RUNNERS, Device, Mark, Whole, admitted, directory_of, row, ruleset
from tests.rules.test_differential import FLAGS

GRID = "340199001001001"
DEVICES = [
    Device("efire", 0, {"building": "1", "zone": "a"}, GRID),
    Device("efire", 1, {"building": "1", "zone": "b"}, GRID),
    Device("efire", 1, {"building": "1", "zone": "a"}, GRID),
    Device("efire", 0, {"building": "2", "zone": "a"}, GRID),
    Device("efire", 0, {"zone": "a"}, GRID),
    Device("efire", 1, None),
]
GATEWAYS = [device.gateway for device in DEVICES]


def groups_of(device: Device) -> dict[str, str]:
    groups = {"gateway": f"group:gateway:gw-{device.gateway}"}
    if device.attributes is not None:
        groups["grid"] = f"group:grid:{GRID}"
        if "building" in device.attributes:
            groups["building"] = f"group:building:{GRID}/{device.attributes['building']}"
    return groups


ASKED = [
    "fire != 0",
    "residual_current >= 5 mA",
    "residual_current >= 5 mA and cable_temperature > 3 degC",
    "residual_current >= 5 mA or zone == 'a' and fire != 0",
]
COUNTED = [
    "devices({}) >= 2",
    "devices({}) >= 1",
    "any({})",
    "all({})",
    "share({}) > 0.5",
    "devices({}) < 2",
    "devices({}) == 1",
    "devices({}) != 1",
    "not devices({}) <= 1",
    "2 <= devices({})",
]


@st.composite
def conditions(draw: st.DrawFn, *, plain: bool) -> str:
    asked = ASKED[:2] if plain else ASKED
    one = draw(st.sampled_from(COUNTED)).format(draw(st.sampled_from(asked)))
    if draw(st.integers(0, 3)):
        return one
    other = draw(st.sampled_from(COUNTED)).format(draw(st.sampled_from(asked)))
    return f"{one} {draw(st.sampled_from(['and', 'or']))} {other}"


@st.composite
def written_rules(draw: st.DrawFn) -> RuleSet:
    kinds = draw(st.lists(st.sampled_from([written_rule, written_levels]), min_size=1, max_size=2))
    return ruleset(*(draw(kind(number)) for number, kind in enumerate(kinds)))


@st.composite
def written_rule(draw: st.DrawFn, number: int) -> str:
    safety = draw(st.booleans())
    when = draw(conditions(plain=safety))
    parts = [f"id: efire.g{number}", f'when: "{when}"', "on: {family: efire}"]
    parts.append(f"group: {draw(st.sampled_from(['building', 'building', 'grid', 'gateway']))}")
    if draw(st.integers(0, 2)) == 0:
        parts.append(f'clear: "{draw(conditions(plain=safety))}"')
    options = {
        "for": ["", "", "10s", "25s"],
        "clear_for": ["", "", "10s", "20s"],
        "missing": ["", "unknown after 26s", "unknown after 40s"],
        "class": ["safety" if safety else ""],
    }
    drawn = {key: draw(st.sampled_from(values)) for key, values in options.items()}
    if not safety and draw(st.integers(0, 2)) == 0:
        parts.append("flapping: {raises: 2, within: 60s, for: 25s500ms}")
    return ", ".join(parts + [f'{key}: "{value}"' for key, value in drawn.items() if value])


@st.composite
def written_levels(draw: st.DrawFn, number: int) -> str:
    levels = []
    safety = draw(st.booleans())
    for severity in draw(st.sampled_from([(3, 2), (4, 3, 1)])):
        said = [f"name: l{severity}", f"severity: {severity}"]
        said.append(f'when: "{draw(conditions(plain=safety))}"')
        for key, values in {"for": ["", "10s", "25s"], "clear_for": ["", "10s"]}.items():
            value = draw(st.sampled_from(values))
            said += [f"{key}: {value}"] if value else []
        levels.append(f"{{{', '.join(said)}}}")
    parts = [f"id: efire.g{number}", "on: {family: efire}", f"levels: [{', '.join(levels)}]"]
    parts.append(f"group: {draw(st.sampled_from(['building', 'grid', 'gateway']))}")
    parts += draw(st.sampled_from([[], ["missing: unknown after 26s"]]))
    return ", ".join(parts + (["class: safety"] if safety else []))


@st.composite
def logs(draw: st.DrawFn) -> list[Row | str]:
    """Each gateway has a time of its own: one may be a minute behind the other."""
    log: list[Row | str] = []
    now = [0.0, 0.0]
    for _ in range(draw(st.integers(1, 45))):
        if draw(st.integers(0, 4)) == 0:
            log.append("mark")
            continue
        device = draw(st.sampled_from([0, 0, 1, 1, 2, 2, 3, 4, 5]))
        gateway = GATEWAYS[device]
        now[gateway] += draw(st.sampled_from([0, 0, 0.001, 1, 2, 5, 10, 30]))
        back = draw(st.sampled_from([0, 0, 0, 0, 0.5, 1, 10, 40]))
        quantity = draw(
            st.sampled_from(["fire"] * 2 + ["residual_current"] * 3 + ["cable_temperature"])
        )
        value = draw(st.sampled_from([0.0, 0.0, 1.0, 5.0, 6.0, 6.0, math.nan]))
        flags = draw(st.sampled_from([0] * 8 + FLAGS))
        log.append(row(now[gateway] - back, value, quantity, device, flags))
    return [*log, "mark", "end"]


def told(batch: TransitionBatch, directory: DeviceDirectory) -> list[Said]:
    groups = batch.groups
    found = []
    for i in range(len(batch)):
        assert groups is not None
        assert (batch.device[i], batch.quantity[i]) == (-1, -1)
        members = tuple(groups.members[i][groups.members[i] >= 0].tolist())
        assert groups.breached[i] == len(members)
        threshold = float(batch.threshold[i])
        found.append(
            Said(
                int(batch.rule[i]),
                directory.groups.ids[groups.group[i]],
                int(batch.change[i]),
                int(batch.at_ms[i]),
                int(batch.onset_ms[i]),
                float(batch.value[i]),
                None if math.isnan(threshold) else threshold,
                int(batch.decided_ms[i]),
                int(batch.flags[i]),
                int(batch.heard_ms[i]),
                int(batch.position[i]),
                int(groups.size[i]),
                int(groups.lost[i]),
                members,
                int(batch.severity[i]),
                int(batch.level[i]),
                int(batch.waited_ms[i]),
                int(batch.flapping_ms[i]),
            )
        )
    return found


def by_group(said: list[Said]) -> list[Said]:
    """Groups in one order; inside each, the order stays."""
    return sorted(said, key=lambda one: (one.at, one.rule, one.group))


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=written_rules(), log=logs())
def test_engine_equals_naive(runner: type[Whole], rules: RuleSet, log: list[Row | str]) -> None:
    naive = NaiveGroups(
        rules,
        [device.family for device in DEVICES],
        GATEWAYS,
        [device.attributes for device in DEVICES],
        groups=[groups_of(device) for device in DEVICES],
    )
    directory = directory_of(DEVICES)
    engine = runner(rules, directory)
    got: list[Said] = []
    engine.seen = lambda batch: got.extend(told(batch, directory))
    for step in admitted(log, GATEWAYS):
        got.clear()
        engine.step(step)
        want = []
        if isinstance(step, Mark):
            want = naive.mark(list(step.rows), list(step.watermarks), step.position, step.heard)
        assert by_group(got) == by_group(want)
