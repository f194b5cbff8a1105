"""Rows of windows are left out only where no rule can want them; what then rings is in
test_derived_differential."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.directory import DeviceDirectory
from rules.derived.quiet import Quiet
from rules.derived.stage import Derive
from rules.ruleset import RuleSet
from rules.watermarks import Watermarks
from tests.rules.scene import Device, batch_of, directory_of, row, ruleset

AVG = "avg(residual_current, 10s)"


def rule(number: int, when: str, more: str = "") -> str:
    return f"id: efire.r{number}, on: {{family: efire}}, when: '{when}'{more}"


@pytest.mark.parametrize(
    ("rules", "quiet"),
    [
        pytest.param([rule(1, f"{AVG} > 5 mA")], True, id="alone"),
        pytest.param(
            [rule(1, f"{AVG} > 5 mA", ", clear: 'max(residual_current, 10s) < 3 mA'")],
            True,
            id="said-together",
        ),
        pytest.param(
            [rule(1, f"{AVG} > 5 mA and max(residual_current, 20s) > 9 mA")],
            False,
            id="windows-that-end-at-different-times",
        ),
        pytest.param(
            [rule(1, f"{AVG} > 5 mA and residual_current > 5 mA")], False, id="beside-a-reading"
        ),
        pytest.param(
            [rule(1, f"{AVG} > 5 mA"), rule(2, f"{AVG} > 1 mA and cable_temperature > 5 degC")],
            False,
            id="another-rule-remembers",
        ),
        pytest.param([rule(1, f"{AVG} > 5 mA", ", late: drop")], False, id="late-ones-are-counted"),
        pytest.param(
            [rule(1, f"{AVG} > 5 mA", ", debounce: 2 of 3")], False, id="part-of-a-condition"
        ),
        pytest.param(
            [rule(1, f"devices({AVG} > 5 mA) >= 2", ", group: grid")], False, id="of-a-group"
        ),
    ],
)
def test_which_quantities_may_be_left_out(rules: list[str], quiet: bool) -> None:
    made = ruleset(*rules)
    one = Quiet(made.rules, made.derived)
    average = [entry.index for entry in made.derived if entry.name.startswith(AVG)]
    together = [e.index for e in made.derived if "residual_current, 10s" in e.name]
    assert average
    assert (one.plans(together if quiet else average) is not None) is quiet
    assert (set(average) <= one.quantities) is quiet


def rows_made(made: RuleSet, directory: DeviceDirectory, *, active: bool, high: float) -> int:
    """How many rows one mark derives, of a device whose window is full."""
    derive = Derive(made.derived, directory, made.rules)
    listed = [row(at_s, high if at_s > 20 else 1) for at_s in range(0, 31, 5)]
    batch = batch_of(listed)
    watermark = np.array([listed[-1].ts, 0])
    marks = np.array([int(active)], np.int32)
    found = derive.made(batch, Watermarks(directory, watermark), marks)
    return 0 if found is None else len(found)


def test_rows_are_made_for_what_stirs() -> None:
    made, directory = ruleset(rule(1, f"{AVG} > 5 mA")), directory_of([Device("efire")])
    assert rows_made(made, directory, active=False, high=1) == 0
    assert rows_made(made, directory, active=True, high=1) > 0
    assert rows_made(made, directory, active=False, high=9) > 0
