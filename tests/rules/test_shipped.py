"""The shipped rules: complete, and each rings for what it is made for."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from contracts.quantities import FAMILIES, QUANTITIES, Kind
from rules import RuleSet, compile_rules
from rules.editor_schema import json_schema
from rules.lint import lint
from rules.testing.document import is_test
from rules.testing.editor_schema import json_schema as schema_of_tests
from tests.rules.naive import Row
from tests.rules.scene import Device, Whole, admitted, directory_of, row

FOLDER = Path(__file__).parents[2] / "deploy" / "rules"
FILES = [path for path in FOLDER.glob("*.yml") if not is_test(path.name)]
HIGHRISE = {"point": "worst", "building_class": "highrise_residential", "hydrant": "indoor"}
MUNICIPAL = {"point": "municipal", "building_class": "highrise_residential", "hydrant": "outdoor"}


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    return compile_rules({path.name: path.read_text() for path in FILES})


def raised(rules: RuleSet, device: Device, records: list[Row | str]) -> set[str]:
    runner = Whole(rules, directory_of([device]))
    told = runner.run(admitted([*records, "mark", "end"], [0]))
    return {rules.cards[t.rule].id for t in told if t.change == 1}


def test_no_findings(shipped: RuleSet) -> None:
    assert lint(shipped) == []


def test_files_fit_the_schema_for_editors() -> None:
    for path in FILES:
        document = yaml.load(path.read_text(), Loader=_Yaml12)  # noqa: S506 - a SafeLoader.
        jsonschema.validate(document, json_schema())


def test_test_files_fit_the_schema_for_editors() -> None:
    for path in FOLDER.glob("*.test.yml"):
        document = yaml.load(path.read_text(), Loader=_Yaml12)  # noqa: S506 - a SafeLoader.
        jsonschema.validate(document, schema_of_tests())


class _Yaml12(yaml.SafeLoader):
    """Like editors do, reads `on` as a word."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:bool", __import__("re").compile("^(?:true|false)$"), list("tf")
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fire_bit_rings_whoever_says_it(shipped: RuleSet, family: str) -> None:
    assert f"{family}.fire" in raised(shipped, Device(family), [row(0, 1, "fire")])


def test_every_safety_signal_has_a_safety_rule(shipped: RuleSet) -> None:
    for index, quantity in enumerate(QUANTITIES):
        if quantity.safety and quantity.kind is Kind.SIGNAL:
            for family in quantity.families or FAMILIES:
                assert any(
                    rule.card.safety and rule.card.family == family and index in rule.quantities
                    for rule in shipped.rules
                ), f"{family} {quantity.name}"


def steady(value: float, quantity: str) -> list[Row | str]:
    return [row(at_s, value, quantity) for at_s in range(0, 181, 10)]


@pytest.mark.parametrize(
    ("device", "records", "want"),
    [
        pytest.param(Device("firewater", 0, HIGHRISE), steady(0.06, "static_pressure"),
                     {"firewater.pressure_low"}, id="high-rise-low"),
        pytest.param(Device("firewater", 0, HIGHRISE), steady(0.08, "static_pressure"),
                     {"firewater.pressure_low"}, id="high-rise-warning"),
        pytest.param(Device("firewater", 0, HIGHRISE), steady(0.30, "static_pressure"), set(),
                     id="a-static-sensor-below-the-dynamic-limit"),
        pytest.param(Device("firewater", 0, HIGHRISE), steady(0.30, "dynamic_pressure"),
                     {"firewater.dynamic_low_highrise"}, id="dynamic-low"),
        pytest.param(Device("firewater", 0, HIGHRISE), steady(1.05, "static_pressure"),
                     {"firewater.pressure_high"}, id="too-high"),
        pytest.param(Device("firewater", 0, MUNICIPAL), steady(0.09, "static_pressure"),
                     {"firewater.pressure_low_municipal"}, id="municipal"),
        pytest.param(Device("efire"), steady(0.49e3, "residual_current"),
                     {"efire.residual_high"}, id="residual-warning"),
        pytest.param(Device("efire"), steady(600, "residual_current"),
                     {"efire.residual_high"}, id="residual-alarm"),
        pytest.param(Device("efire"), steady(71, "cable_temperature"),
                     {"efire.temp_high"}, id="hot-cable"),
        pytest.param(Device("elevator"), [row(0, 4, "fault_code")],
                     {"elevator.stopped_off_zone"}, id="off-zone"),
        pytest.param(Device("elevator"), [row(0, 0, "car_moving"), row(1, 90, "fault_code")],
                     {"elevator.trapped_call", "elevator.alarm_button"}, id="call"),
        pytest.param(Device("elevator"), [row(0, 42, "fault_code")],
                     {"elevator.maintenance"}, id="maintenance"),
        pytest.param(Device("ebike"), [row(0, 17, "stop_reason")], {"ebike.fire_stop"}, id="stop"),
        pytest.param(Device("ebike"), [row(0, 5, "stop_reason")], set(), id="unplugged"),
        pytest.param(Device("ebike"), [row(0, 1, "relay"), *steady(900, "port_power")],
                     {"ebike.overload_power"}, id="too-much-power"),
        pytest.param(Device("gateway"), [row(0, 0, "online")], {"gateway.offline"}, id="gateway"),
        pytest.param(Device("gateway"), steady(-130_000, "clock_skew"), {"gateway.clock_fault"},
                     id="clock"),
        pytest.param(Device("camera"),
                     [row(0, 3, "falling_object.storeys"), row(0, 0.9, "falling_object.score")],
                     {"camera.falling_object"}, id="falling"),
        pytest.param(Device("smoke"), [row(0, 3.5, "battery")], {"smoke.offline"}, id="silent"),
    ],
)  # fmt: skip
def test_rings(shipped: RuleSet, device: Device, records: list[Row | str], want: set[str]) -> None:
    silent = {f"{device.family}.offline"}
    assert raised(shipped, device, records) - (silent - want) == want
