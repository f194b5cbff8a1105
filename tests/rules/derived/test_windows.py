"""Windows and ages, example by example; random ones are in test_derived_differential."""

from __future__ import annotations

import pytest

from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, Device, Whole, admitted, directory_of, row, ruleset, short


def run(runner: type[Whole], rule: str, rows: list[tuple[float, float]]) -> list[tuple[float, str]]:
    """What a mark after every reading reveals."""
    engine = runner(
        ruleset(f"id: efire.r, on: {{family: efire}}, {rule}"), directory_of([Device("efire")])
    )
    cut: list[Row | str] = []
    for at_s, value in rows:
        cut += [row(at_s, value), "mark"]
    return short(engine.run(admitted([*cut, "end"], [0])))


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("rule", "rows", "want"),
    [
        pytest.param(
            "when: 'count(residual_current, 25s) >= 3'",
            [(0, 1), (10, 1), (20, 1)],
            [(20, "raised")],
            id="count-needs-no-whole-window-and-leaving-never-clears",
        ),
        pytest.param(
            "when: 'count(residual_current, 25s) < 2'",
            [(0, 1), (10, 1), (20, 1), (30, 1)],
            [(45, "raised")],
            id="too-few-is-found-by-time",
        ),
        pytest.param(
            "when: 'avg(residual_current, 20s) > 5 mA', for: 5s",
            [(0, 1), (10, 1), (20, 8), (30, 8), (40, 2), (50, 2)],
            [(35, "raised"), (40, "cleared")],
            id="avg",
        ),
        pytest.param(
            "when: 'age(residual_current) > 10s'",
            [(0, 1), (10, 1), (15, 1), (40, 1)],
            [(10, "raised"), (10, "cleared"), (25, "raised"), (40, "cleared"), (50, "raised")],
            id="age-ends-with-the-next-reading",
        ),
    ],
)
def test_what_rings_when(
    runner: type[Whole], rule: str, rows: list[tuple[float, float]], want: list[tuple[float, str]]
) -> None:
    assert run(runner, rule, rows) == want
