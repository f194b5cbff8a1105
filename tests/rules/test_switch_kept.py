"""A change of rules that leaves a rule as it is changes nothing of it, whatever it asks.

All kinds of state are carried: windows, ages, sequences, debounce, schedules, levels, silences,
what ends by itself, raises of flapping devices, groups. Where a change becomes known may differ (a
group's waits until all have changed over).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules.naive import Row, Told
from tests.rules.scene import T0, Device, Mark, S, Step, Whole, admitted, directory_of, ruleset
from tests.rules.test_differential import logs
from tests.rules.test_switch import RUNNERS, Changing

GRID = "340199001001001"
DEVICES = [
    Device("efire", 0, {"building": "1", "zone": "a"}, GRID),
    Device("efire", 1, {"building": "1", "zone": "b"}, GRID),
    Device("smoke", 0, {"building": "1"}, GRID),
    Device("efire", 0, None),
]
GATEWAYS = [device.gateway for device in DEVICES]
ON = "on: {family: efire}"
BANK = [
    f"id: efire.hold, {ON}, when: residual_current >= 5 mA, for: 10s, clear_for: 10s",
    f"id: efire.lost, {ON}, when: residual_current >= 5 mA, for: 10s, missing: unknown after 26s",
    f"id: efire.two, {ON}, when: residual_current >= 5 mA and cable_temperature > 3 degC, for: 5s",
    f"id: efire.off, {ON}, when: absent(40s)",
    f"id: efire.mean, {ON}, when: 'avg(residual_current, 20s) >= 4 mA'",
    f"id: efire.worst, {ON}, when: 'max(residual_current, 30s) >= 6 mA', for: 10s",
    f"id: efire.old, {ON}, when: age(residual_current) > 15s",
    f"id: efire.rise, {ON}, when: 'delta(residual_current, 20s) > 3 mA'",
    f"id: efire.often, {ON}, when: residual_current >= 5 mA, debounce: 2 of 3",
    f"id: efire.night, {ON}, when: residual_current >= 5 mA, during: {{hours: '04:27-04:28'}}",
    f"id: efire.then, {ON}, sequence: [{{when: residual_current >= 5 mA}}, "
    "{when: cable_temperature > 3 degC, within: 60s}], latched: true",
    f"id: efire.steps, {ON}, levels: [{{name: warn, severity: 3, when: residual_current >= 4 mA, "
    "for: 10s}, {name: alarm, severity: 2, when: residual_current >= 6 mA, for: 5s}]",
    f"id: efire.bit, {ON}, when: fire != 0, keep: 20s",
    f"id: efire.flaps, {ON}, when: residual_current >= 5 mA, "
    "flapping: {raises: 2, within: 90s, for: 15s}",
    f"id: efire.flips, {ON}, when: residual_current >= 5 mA, for: 2s, late: fire, "
    "flapping: {raises: 2, within: 30s, for: 10s}",
    f"id: efire.fresh, {ON}, when: residual_current >= 5 mA or fire != 0, late: drop",
    f"id: efire.both, {ON}, group: building, when: devices(residual_current >= 5 mA) >= 2",
    f"id: efire.most, {ON}, group: gateway, when: share(residual_current >= 4 mA) > 0.4, for: 10s",
]
TORN = [
    # Of both kinds: a level that waits and one that doesn't, a reading and its silence.
    f"id: efire.danger, {ON}, class: safety, levels: [{{name: warn, severity: 3, "
    "when: residual_current >= 4 mA, for: 10s}, "
    "{name: alarm, severity: 2, when: residual_current >= 6 mA}]",
    f"id: efire.gone, {ON}, when: residual_current >= 5 mA, missing: raise after 30s",
]
OTHER = "id: smoke.other, on: {family: smoke}, when: fire != 0, for: 1h"
CHANGED = "id: smoke.other, on: {family: smoke}, when: fire != 0, for: 2h"
BEGIN = Mark((), (T0 - 41 * S, T0 - 41 * S), 0, T0 - 41 * S)
"""All gateways have a time before the change: silence of who never spoke counts from it. It is
before all rows: those behind it would be late."""
END = [Mark((), (T0 + 10**9, T0 + 10**9), 10**6 + n, T0 + 10**9 + n) for n in (1, 2)]


def known(told: list[Told], other: int) -> list[Told]:
    """Of kept rules, apart from where it became known. other: the row of the one that changes."""
    plain = [replace(t, position=0, row=0, heard=0) for t in told if t.rule != other]
    return sorted(plain, key=lambda t: repr(sorted(vars(t).items())))


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(st.sampled_from(BANK), min_size=1, max_size=4, unique=True),
    log=logs(),
    at_s=st.floats(0, 200),
)
def test_a_kept_rule_goes_on(
    runner: type[Changing], asked: list[str], log: list[Row | str], at_s: float
) -> None:
    goes_on(runner, asked, log, at_s)


def goes_on(runner: type[Changing], asked: list[str], log: list[Row | str], at_s: float) -> None:
    steps: list[Step] = [BEGIN, *admitted(log, GATEWAYS), *END]
    old, new = ruleset(*asked, OTHER), ruleset(*asked, CHANGED)
    plain = Whole(old, directory_of(DEVICES)).run(steps)
    changing = runner(old, new, at_s, DEVICES)
    rows = len(new.cards)
    told = [replace(t, rule=t.rule % rows) for t in changing.run(steps)]
    assert changing.switch is None
    assert known(told, rows - 1) == known(plain, rows - 1)


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.sampled_from(TORN), log=logs(), at_s=st.floats(0, 200))
def test_a_rule_of_both_kinds_changes_over_as_a_whole(
    runner: type[Changing], asked: str, log: list[Row | str], at_s: float
) -> None:
    goes_on(runner, [asked], log, at_s)
