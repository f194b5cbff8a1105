"""Sorting by digits gives what a plain sort gives, for few rows and many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest import ordering
from ingest.ordering import event_order, runs, stable_order


@pytest.fixture(params=[0, ordering.FEW], ids=["by digits", "few plainly"], autouse=True)
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "FEW", request.param)


def columns(seed: int, rows: int, spread: int) -> tuple[NDArray[np.int64], ...]:
    """ts, order, position and row of rows in no order; a record's rows share its order."""
    dice = np.random.default_rng(seed)
    position = dice.integers(1, 1 + max(1, rows // 3), rows)
    order = dice.integers(0, 1 << 50, rows + 2)[position]
    row = np.zeros(rows, np.int64)
    for record in np.unique(position):
        mine = np.flatnonzero(position == record)
        row[mine] = dice.permutation(len(mine))
    return dice.integers(0, spread, rows) + 1_767_225_600_000, order, position, row


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("spread", [1, 5, 10_000, 10**9, 1 << 42])
def test_rows_come_in_the_stated_order(seed: int, spread: int) -> None:
    rows = [0, 1, 2, 3, 10, 255, 256, 257, 1000][seed % 9]
    ts, order, position, row = columns(seed, rows, spread)
    found = event_order(ts, order, position, row.astype(np.int32))
    at = np.arange(rows) if found is None else found
    assert at.tolist() == np.lexsort((row, position, order, ts)).tolist()


@pytest.mark.parametrize("bits", [1, 15, 16, 17, 33, 62])
@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 3000])
def test_equal_keys_keep_their_order(bits: int, rows: int) -> None:
    dice = np.random.default_rng(bits * rows)
    key = dice.choice(dice.integers(0, 1 << bits, max(1, rows // 3)), rows)
    assert stable_order(key, bits).tolist() == np.argsort(key, kind="stable").tolist()


def test_runs_cover_a_column() -> None:
    @given(st.lists(st.integers(0, 2), min_size=1, max_size=40))
    def check(values: list[int]) -> None:
        column: NDArray[Any] = np.array(values)
        start, size = runs(column)
        found: list[int] = []
        for begin, length in zip(start.tolist(), size.tolist(), strict=True):
            assert begin == len(found)
            assert length > 0
            assert not found or found[-1] != values[begin]
            found += [values[begin]] * length
        assert found == values

    check()
