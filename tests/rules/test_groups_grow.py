"""Groups are the same whether their devices came one by one or were all there from the start."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rules.engine import RuleEngine
from tests.rules.scene import Device, directory_of, ruleset

RULES = ruleset(
    'id: smoke.two, on: {family: smoke}, group: building, when: "devices(fire != 0) >= 2"',
    'id: smoke.gateway, on: {family: smoke}, group: gateway, when: "devices(fire != 0) >= 2"',
    'id: gas.gateway, on: {family: gas}, group: gateway, when: "devices(leak != 0) >= 2"',
)
GRID = "340199001001001"
DEVICES = [
    Device(family, gateway, {"building": building}, GRID)
    for family, gateway, building in (
        ("smoke", 0, "1"), ("smoke", 1, "1"), ("gas", 1, "2"), ("smoke", -1, "2"), ("gas", -1, "1"),
    )
]  # fmt: skip

known = st.tuples(st.just(""), st.integers(0, 4), st.integers(0, 3))
strangers = st.tuples(
    st.sampled_from(["smoke", "gas", "gateway"]), st.integers(0, 9), st.integers(0, 3)
)


@given(st.lists(st.lists(known | strangers, max_size=4), max_size=6))
def test_as_if_all_had_been_there(steps: list[list[tuple[str, int, int]]]) -> None:
    directory = directory_of(DEVICES)
    growing = RuleEngine(RULES, directory)
    for step in steps:
        for family, number, gateway in step:
            row = directory.intern_gateway(f"later-{gateway}")
            name = f"new-{family}-{number}" if family else directory.ids[number]
            directory.intern_device(name, family or "smoke", row)
        growing._parts.grow()
        growing._parts.groups.grow()
        found = growing._parts.groups.groupings
        wanted = RuleEngine(RULES, directory)._parts.groups.groupings
        assert found.keys() == wanted.keys()
        for number, one in wanted.items():
            same = found[number]
            np.testing.assert_array_equal(same.group, one.group)
            # Groups of kinds that were numbered later have no members here.
            size = np.trim_zeros(same.size, "b"), np.trim_zeros(one.size, "b")
            np.testing.assert_array_equal(*size)
            np.testing.assert_array_equal(same.pairs, one.pairs)
