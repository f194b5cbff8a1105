"""Functions over columns: the same content gives the same bits, whatever stands around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.quantities import QUANTITY_INDEX
from rules.derived.columns import GREATEST, bisected
from rules.derived.functions import Windows
from rules.derived.history import History
from rules.expr.window import FUNCTIONS, Window
from tests.rules import naive_windows

CURRENT = QUANTITY_INDEX["residual_current"]
VALUES = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.1, 0.07, 1e300, -1e300, math.inf])


def asked(function: str) -> Window:
    return Window(function, CURRENT, 60_000, 0.3 if function == "quantile" else None)


def answers(
    function: str, before: list[float], inside: list[float], after: list[float]
) -> tuple[float, float]:
    """Of the window between two others, of another device and of its own; and of it alone."""
    value = np.array([*before, *inside, *after])
    ts_ms = np.arange(len(value)) * 1_000
    first, end = len(before), len(before) + len(inside)
    crowd = History({function})
    device = np.repeat(np.array([3, 5], np.int32), [first, len(value) - first])
    at = crowd.put(crowd.slots(device), ts_ms, value)
    # Positions behind the last reading of a device, where there may be none.
    at = np.append(at, at[-1:] + 1) if len(at) else np.zeros(1, np.intp)
    begin = at[first] if first < len(value) else at[-1]
    low = np.array([at[0], begin, begin + len(inside)])
    high = np.array([at[0] + first, begin + len(inside), begin + len(value) - first])
    oldest, nothing = np.array([at[0], begin, begin]), np.full(3, -1)
    (_, one, _) = Windows(crowd.columns, oldest, low, high, nothing).answer(asked(function))
    alone = History({function})
    slots = alone.slots(np.zeros(len(inside), np.int32))
    alone.put(slots, ts_ms[first:end], np.array(inside, float))
    zero = np.zeros(1, np.intp)
    (other,) = Windows(alone.columns, zero, zero, zero + len(inside), zero - 1).answer(
        asked(function)
    )
    return one, other


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None)
@given(st.lists(VALUES, max_size=20), st.lists(VALUES, max_size=40), st.lists(VALUES, max_size=20))
def test_the_company_changes_no_bit(
    function: str, before: list[float], inside: list[float], after: list[float]
) -> None:
    one, other = answers(function, before, inside, after)
    assert np.float64(one).tobytes() == np.float64(other).tobytes()


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None)
@given(st.lists(VALUES.filter(math.isfinite), max_size=40))
def test_each_is_what_its_name_says(function: str, inside: list[float]) -> None:
    _, got = answers(function, [], inside, [])
    readings = [(at * 1_000, value) for at, value in enumerate(inside)]
    assert got == pytest.approx(
        naive_windows.answer(asked(function), readings, []), rel=1e-12, abs=1.1e-6, nan_ok=True
    )


def test_tenths_add_up_exactly() -> None:
    assert answers("sum", [], [0.1] * 10, [])[1] == 1.0
    assert answers("avg", [], [0.1, 0.1, 0.1], [])[1] == 0.1
    assert answers("delta", [], [0.1, 0.3], [])[1] == 0.2


@pytest.mark.parametrize("value", [GREATEST * 1.01, -GREATEST * 1.01, math.inf])
def test_what_does_not_fit_is_unknown_and_no_wrap(value: float) -> None:
    for function in ("sum", "avg", "delta", "rate", "stddev"):
        assert math.isnan(answers(function, [], [1.0, value], [])[1])
    assert answers("max", [], [1.0, value], [])[1] == max(1.0, value)


def test_the_greatest_that_fits_does_so_ten_thousand_times() -> None:
    assert answers("sum", [1.0], [GREATEST] * 10_000, [1.0])[0] == GREATEST * 10_000


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(-1, 10))
def test_bisection_finds_what_comes_later(times: list[int], wanted: int) -> None:
    ts_ms = np.array([99, *sorted(times), -5])
    got = bisected(ts_ms, np.array([1, 1]), np.array([1 + len(times), 1]), np.array([wanted] * 2))
    assert got.tolist() == [1 + sum(ts <= wanted for ts in times), 1]
