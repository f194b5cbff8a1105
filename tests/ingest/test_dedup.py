"""Row duplicates against a model that looks at one row after the other."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.quantities import QUANTITIES
from ingest.dedup import RowDedup, fingerprint
from tests.ingest.scene import T0

DEPTH = 3
Row = tuple[int, int, int, float, int]
NAN = float("nan")
rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(T0, T0 + 5),
        st.sampled_from((0.0, -0.0, 1.0, NAN)),
        st.sampled_from((0, int(Flag.ALARM), int(Flag.LATE))),
    ),
    max_size=40,
)


def found(dedup: RowDedup, told: list[Row]) -> list[bool]:
    device, quantity, ts, value, flags = zip(*told, strict=True)
    same = dedup.duplicates(
        np.array(device, np.int32),
        np.array(quantity, np.int16),
        np.array(ts, np.int64),
        np.array(value, np.float64),
        np.array(flags, np.uint16),
    )
    return [False] * len(told) if same is None else same.tolist()


def expected(told: list[Row]) -> list[bool]:
    rings: dict[tuple[int, int], deque[object]] = {}
    want = []
    for device, quantity, ts, value, flags in told:
        ring = rings.setdefault((device, quantity), deque(maxlen=DEPTH))
        key = (ts, "nan" if value != value else value + 0.0, flags & 0xFF)
        want.append(key in ring)
        if key not in ring:
            ring.append(key)
    return want


def reborn(dedup: RowDedup) -> RowDedup:
    again = RowDedup(DEPTH)
    same = np.arange(8, dtype=np.int32)
    again.load(dedup.state(), same, np.arange(len(QUANTITIES), dtype=np.int16))
    return again


@settings(max_examples=200, deadline=None)
@given(told=rows, cuts=st.sets(st.integers(1, 39)), forgets=st.booleans())
def test_same_as_row_by_row(told: list[Row], cuts: set[int], forgets: bool) -> None:
    dedup, got, begin = RowDedup(DEPTH), [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(told)), len(told)]:
        got += found(dedup, told[begin:end]) if told[begin:end] else []
        dedup = reborn(dedup) if forgets else dedup
        begin = end

    assert got == expected(told)


@pytest.mark.parametrize("n", [63, 64, 65, 300])
def test_many_rows_of_one_series_in_a_batch(n: int) -> None:
    ts = [T0 + (i * 7) % 11 for i in range(n)]
    told = [(0, 0, at, float(i % 3), 0) for i, at in enumerate(ts)]
    told += [(1, 0, T0 + i, 0.0, 0) for i in range(20)]
    assert found(RowDedup(DEPTH), told) == expected(told)


CASES = [
    pytest.param((0, 0, T0, 1.0, 0), True, id="all-the-same"),
    pytest.param((0, 0, T0, 1.0, int(Flag.LATE)), True, id="what-ingest-added-does-not-count"),
    pytest.param((0, 0, T0, 1.0, int(Flag.ALARM)), False, id="other-flags"),
    pytest.param((0, 0, T0, 2.0, 0), False, id="other-value"),
    pytest.param((0, 0, T0 + 1, 1.0, 0), False, id="other-time"),
    pytest.param((0, 1, T0, 1.0, 0), False, id="other-quantity"),
    pytest.param((1, 0, T0, 1.0, 0), False, id="other-device"),
]


@pytest.mark.parametrize(("second", "same"), CASES)
def test_what_is_a_duplicate(second: Row, same: bool) -> None:
    assert found(RowDedup(DEPTH), [(0, 0, T0, 1.0, 0), second]) == [False, same]


def test_nothing_is_remembered_beyond_the_depth() -> None:
    first = (0, 0, T0, 1.0, 0)
    others = [(0, 0, T0 + i, 1.0, 0) for i in range(1, DEPTH)]
    assert found(RowDedup(DEPTH), [first, *others, first])[-1]
    assert not found(RowDedup(DEPTH), [first, *others, (0, 0, T0 + 9, 1.0, 0), first])[-1]


def test_fingerprints_of_rows_that_differ_little_differ() -> None:
    ts = np.repeat(np.arange(T0, T0 + 100), 100)
    value = np.tile(np.arange(100) / 8, 100)
    prints = fingerprint(ts, value, np.zeros(10_000, np.uint16))
    flagged = fingerprint(ts, value, np.ones(10_000, np.uint16))
    assert len(np.unique(np.concatenate([prints, flagged]))) == 20_000


def test_a_smaller_depth_keeps_the_newest() -> None:
    told = [(0, 0, T0 + i, 1.0, 0) for i in range(5)]
    wide = RowDedup(8)
    found(wide, told)
    narrow = RowDedup(2)
    narrow.load(wide.state(), np.arange(8, dtype=np.int32), np.arange(8, dtype=np.int16))
    assert found(narrow, told[2:5]) == [False, True, True] or found(narrow, told[4:]) == [True]


def test_what_was_saved_is_put_back_as_it_was() -> None:
    """Byte for byte, so that the next snapshot of a quiet series is the same; and it goes on."""
    dedup = RowDedup(DEPTH)
    told = [(device, device % 3, T0 + i, 1.0, 0) for i in range(4) for device in (5, 0, 9, 2)]
    found(dedup, told)
    again = RowDedup(DEPTH)
    again.load(dedup.state(), np.arange(10, dtype=np.int32), np.arange(8, dtype=np.int16))
    assert again.state() == dedup.state()
    more = [(5, 2, T0 + 3, 1.0, 0), (7, 1, T0, 1.0, 0), (0, 0, T0, 1.0, 0), (40, 2, T0, 2.0, 0)]
    assert found(again, more) == found(dedup, more) == [True, False, False, False]
