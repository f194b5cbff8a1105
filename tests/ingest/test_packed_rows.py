"""Columns of waiting rows come back to the bit, however they were made small."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.packed_rows import pack_column, unpack_column

TYPES = st.sampled_from([np.int16, np.uint16, np.int32, np.int64])


@st.composite
def columns(draw: st.DrawFn) -> NDArray[Any]:
    """Of runs, near one another or all over the range."""
    dtype = draw(TYPES)
    info = np.iinfo(dtype)
    whole = st.integers(int(info.min), int(info.max))
    around = draw(whole)
    near = st.integers(max(int(info.min), around - 300), min(int(info.max), around + 300))
    value = draw(st.sampled_from([whole, near]))
    told = draw(st.lists(st.tuples(value, st.integers(1, 40)), max_size=30))
    return np.array([number for number, times in told for _ in range(times)], dtype)


@given(columns())
def test_integers_come_back(column: NDArray[Any]) -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_column(column)))
    found = unpack_column(sent, column.dtype.type)
    assert found.dtype == column.dtype
    assert found.tolist() == column.tolist()


@given(st.lists(st.floats(width=64) | st.sampled_from([0.0, -0.0, float("nan")])))
def test_values_come_back_to_the_bit(values: list[float]) -> None:
    column = np.array(values, np.float64)
    assert unpack_column(pack_column(column), np.float64).tobytes() == column.tobytes()


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_what_all_rows_of_a_pack_share_takes_next_to_nothing(rows: int) -> None:
    shared = np.repeat(np.arange(rows // 500, dtype=np.int64) + (1 << 40), 500)
    assert len(pack_column(shared)["data"][1]) <= 2 * (rows // 500)
    near = np.arange(rows, dtype=np.int64) + 1_800_000_000_000
    assert len(pack_column(near)["data"][1]) == rows * (2 if rows < 1 << 16 else 4)
