"""The shift register against plain lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.derived.debounce import MOST, Register

readings = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=150)


@pytest.mark.parametrize("of", [1, 2, 5, 63, 64])
@given(rows=readings, cuts=st.lists(st.integers(0, 150), max_size=4))
def test_counts_the_last_readings(of: int, rows: list[tuple[int, bool]], cuts: list[int]) -> None:
    register = Register(of)
    register.make_room(3)
    past: dict[int, list[bool]] = {0: [], 1: [], 2: []}
    places = [0, *sorted(cuts), len(rows)]
    for start, end in pairwise(places):
        part = rows[start:end]
        want = []
        for device, breach in part:
            past[device].append(breach)
            want.append(sum(past[device][-of:]))
        rank = np.array([device for device, _ in part], np.int32)
        found = register.shift(rank, np.array([breach for _, breach in part], np.bool_))
        assert found.tolist() == want
        assert register.breached(np.arange(3, dtype=np.int32)).tolist() == [
            sum(past[device][-of:]) for device in range(3)
        ]


def test_all_places_are_used() -> None:
    register = Register(MOST)
    register.make_room(1)
    rank = np.zeros(MOST, np.int32)
    assert register.shift(rank, np.ones(MOST, np.bool_))[-1] == MOST
    assert register.shift(rank[:1], np.zeros(1, np.bool_))[-1] == MOST - 1
