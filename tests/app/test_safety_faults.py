"""Every safety rule of the shipped pack under every fault: none of them silences it.

For each rule the same breach is read by eight devices, each behind a gateway of its own. One has
no fault; the others must say the same: raised at the same time, told to people, ended alike.
What the faults change by nature is said beside them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from app.content import read_rule_files
from app.runners.ruletest import Registries, play
from rules import RuleSet, compile_rules
from rules.testing.document import read_tests
from rules.testing.judge import Came

FOLDER = Path(__file__).parents[2] / "deploy" / "rules"

FAMILY_FIRES = ("smoke", "efire", "elevator", "ebike", "elderly", "gas", "firewater", "water",
                "camera", "gateway")  # fmt: skip
CODES = {
    "unintended_movement": 5, "top_overrun": 9, "bottom_overrun": 10, "safety_circuit": 1,
    "stopped_off_zone": 4, "run_time_limit": 6, "position_lost": 7, "restart_prevented": 8,
    "escalator_overspeed": 62, "escalator_reversal": 63, "escalator_missing_step": 64,
    "escalator_stopped": 61, "alarm_button": 90,
}  # fmt: skip
Values = dict[str, tuple[float, float]]
WITNESSES: dict[str, Values] = {
    **{f"{family}.fire": {"fire": (0, 1)} for family in FAMILY_FIRES},
    **{f"elevator.{name}": {"fault_code": (0, code)} for name, code in CODES.items()},
    "smoke.fire_spreads": {"fire": (0, 1)},
    "ebike.smoke": {"smoke": (0, 1)},
    "ebike.fire_stop": {"stop_reason": (0, 18)},
    "elderly.help_button": {"help_button": (0, 1)},
    "elevator.help_button": {"help_button": (0, 1)},
    "elevator.trapped": {"passenger": (2, 1), "service_mode": (1, 0), "door_closed": (1, 1)},
    "elevator.trapped_at_floor": {
        "passenger": (2, 1), "door_zone": (1, 1), "car_moving": (0, 0), "door_closed": (1, 1),
    },
    "elevator.trapped_call": {"fault_code": (0, 90), "car_moving": (0, 0)},
    "elevator.moving_door_open": {"car_moving": (0, 1), "door_closed": (0, 0)},
    "elevator.overspeed": {"speed_ratio": (1, 1.2)},
    "gas.leak": {"leak": (0, 1)},
    "gas.gas_high": {"gas_lel": (5, 25)},
}  # fmt: skip
"""Rule -> its quantities, calm and in danger."""

EXACT = ("drop", "duplicate", "reorder", "reboot", "backlog")
FAULTS = ("none", *EXACT, "skew", "flap")
BREACH_MS, END_MS = 120_000, 550_000
"""The danger lasts from 2 m to 9 m 10 s, read each 10 s."""


def fault_of(kind: str, device: str, gateway: str, values: Values) -> str:
    """A fault from the middle of the danger, or over its beginning."""
    quantity, (calm, danger) = next(iter(values.items()))
    return {
        "drop": f"{{drop: {device} 2m10s..4m}}",
        "duplicate": f"{{duplicate: {gateway}}}",
        "reorder": f"{{reorder: {gateway} within 1500ms}}",
        "reboot": f"{{reboot: {gateway} at 3m}}",
        "backlog": f"{{backlog: {gateway} 1m30s..12m arrives at 13m}}",
        "skew": f"{{skew: {gateway} +1h 1m..12m}}",
        "flap": f"{{flap: {device} {quantity} {calm:g}/{danger:g} 2m10s..4m every 20s}}",
    }[kind]


def devices_of(rule: str, number: int) -> list[str]:
    """Of one rule under one fault; a group needs two."""
    letters = "ab" if rule == "smoke.fire_spreads" else "a"
    return [f"{rule.replace('.', '-')}-{number}{letter}" for letter in letters]


def written() -> str:
    """The test as an operator would write it, for all rules at once: a gateway for each fault."""
    devices, series, faults = [], [], []
    for rule, values in WITNESSES.items():
        family = rule.split(".")[0]
        for number, kind in enumerate(FAULTS):
            names = devices_of(rule, number)
            # A gateway speaks for itself.
            gateway = names[0] if family == "gateway" else f"g{number}"
            building = f"s{number}" if len(names) > 1 else f"{names[0]}"
            for name in names:
                place = f'building: "{building}", grid: "340199001001001"'
                devices.append(f"{name}: {{family: {family}, gateway: {gateway}, {place}}}")
                series += [
                    f"{{device: {name}, {quantity}: {calm:g}x11 {danger:g}x42 {calm:g}x16}}"
                    for quantity, (calm, danger) in values.items()
                ]
            if kind != "none":
                faults.append(fault_of(kind, names[0], gateway, values))
    lines = ["  - name: all of them", "    devices:", *(f"      {one}" for one in devices)]
    lines += ["    series:", *(f"      - {one}" for one in series)]
    lines += ["    faults:", *(f"      - {one}" for one in dict.fromkeys(faults)), "    expect: []"]
    return "\n".join(["tests:", *lines, ""])


@cache
def shipped() -> RuleSet:
    return compile_rules(read_rule_files(FOLDER))


@cache
def came() -> dict[tuple[str, str], list[Came]]:
    """(rule, device or group) -> what was said of it."""
    cases, findings = read_tests("faults.test.yml", written())
    assert [str(one) for one in findings] == []
    registries = Registries()
    found: dict[tuple[str, str], list[Came]] = {}
    for one in play(cases[0], shipped(), registries.of(cases[0])).came:
        found.setdefault((one.rule, one.device), []).append(one)
    return found


def test_there_is_a_witness_for_every_safety_rule() -> None:
    assert set(WITNESSES) == {card.id for card in shipped().cards if card.safety}


@pytest.mark.parametrize("rule", sorted(WITNESSES))
def test_no_fault_silences_it(rule: str) -> None:
    said = {kind: of_fault(rule, number) for number, kind in enumerate(FAULTS)}
    whole = said["none"]
    (first, *_) = whole
    delay_ms = first.at_ms - BREACH_MS
    assert (first.change, first.data["class"], first.data["notify"]) == ("raised", "safety", True)
    assert 0 <= delay_ms <= 300_000
    for kind in EXACT:
        assert [shown(one) for one in said[kind]] == [shown(one) for one in whole], kind
    assert said["backlog"][0].known_ms >= 780_000 > whole[0].known_ms
    # The wall clock is an hour ahead: the monotonic clock mends it, to the second.
    (skewed, *_) = said["skew"]
    assert abs(skewed.at_ms - first.at_ms) <= 1_000
    assert (skewed.change, skewed.data["notify"]) == ("raised", True)
    # Falling back breaks a running `for`; the last rise within two minutes counts.
    (flapping, *_) = said["flap"]
    assert (flapping.change, flapping.data["notify"]) == ("raised", True)
    assert first.at_ms <= flapping.at_ms <= 240_000 + delay_ms + 10_000


def of_fault(rule: str, number: int) -> list[Came]:
    names = devices_of(rule, number)
    about = f"group:building:340199001001001/s{number}" if len(names) > 1 else names[0]
    return came()[rule, about]


def shown(one: Came) -> tuple[str, int, object, object]:
    return one.change, one.at_ms, one.data["severity"], one.data["notify"]
