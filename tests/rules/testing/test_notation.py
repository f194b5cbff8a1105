"""The series notation: promtool's, with units and marks."""

from __future__ import annotations

import math

import pytest

from contracts.batch import Flag
from rules.testing.notation import NotationError, Sample, parse_series


def values(text: str, quantity: str = "static_pressure") -> list[float | None]:
    return [None if one is None else one.value for one in parse_series(text, quantity)]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("0.12", [0.12], id="one"),
        pytest.param("0.12x3", [0.12] * 4, id="as-in-promtool-x3-is-three-more"),
        pytest.param("0.06+0.01x3", [0.06, 0.07, 0.08, 0.09], id="rising-in-decimals"),
        pytest.param("0.10-0.02x2", [0.10, 0.08, 0.06], id="falling"),
        pytest.param("-2+4x3", [-2, 2, 6, 10], id="promtool-example-1"),
        pytest.param("1-2x4", [1, -1, -3, -5, -7], id="promtool-example-2"),
        pytest.param("1x4", [1] * 5, id="promtool-example-3"),
        pytest.param("0 _ 1 _x2 2", [0, None, 1, None, None, 2], id="gaps"),
        pytest.param("1e-2x1", [0.01, 0.01], id="exponent"),
        pytest.param("120 50x1 kPa", [0.12, 0.05, 0.05], id="unit"),
        pytest.param("0.1 stale bad", [0.1, 0.1, 0.1], id="again"),
    ],
)
def test_values(text: str, want: list[float | None]) -> None:
    assert values(text) == want


def test_marks() -> None:
    found = parse_series("0.1!bad 0.2x1!stale!test nan stale", "static_pressure")
    assert [one and one.flags for one in found] == [
        Flag.BAD,
        Flag.STALE | Flag.TEST,
        Flag.STALE | Flag.TEST,
        0,
        Flag.STALE,
    ]
    assert found[0] == Sample(0.1, Flag.BAD)
    assert found[3] is not None
    assert math.isnan(found[3].value)


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        pytest.param("0.1+0.2", "can't read '0.1+0.2'", "0.1+0.2x5", id="no-count"),
        pytest.param("0.1*3", "can't read", "0.12x5", id="times"),
        pytest.param("stale", "there is none before it", "", id="nothing-to-repeat"),
        pytest.param("0.1!old", "unknown mark !old", "stale", id="mark"),
        pytest.param("1x9999999", "more than", "interval", id="too-long"),
        pytest.param("kPa", "no readings", "0.12x5", id="only-a-unit"),
        pytest.param("5x2 mA", "no unit of static_pressure", "", id="wrong-unit"),
        pytest.param("abc", "can't read 'abc'", "0.05x10", id="nonsense"),
    ],
)
def test_mistakes(text: str, problem: str, mend: str) -> None:
    with pytest.raises(NotationError) as refused:
        parse_series(text, "static_pressure")
    assert problem in refused.value.problem
    assert mend in refused.value.mend
