"""When packs are closed, and that no row is lost, doubled or moved by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Flag, ReadingBatch
from edge.packer import Closed, Packer, PackLimits, join
from tests.parts.readings import T0, batch

WALL, MONO = T0, 50_000


def packer(**limits: int) -> Packer:
    return Packer(0, PackLimits(**{"rows": 100, "bytes": 1 << 20, "age_ms": 500, **limits}))


def values(packs: list[Closed]) -> list[list[float]]:
    return [pack.batch.value.tolist() for pack in packs]


def test_closes_by_rows_and_keeps_the_rest_open() -> None:
    at = packer(rows=100)
    packs = at.add(batch(250), WALL, MONO)
    assert [len(pack.batch) for pack in packs] == [100, 100]
    assert values(at.flush()) == [list(range(200, 250))]


def test_closes_by_bytes() -> None:
    at = packer(bytes=2000)
    packs = [pack for n in range(20) for pack in at.add(batch(10, first=n * 10), WALL, MONO)]
    assert packs
    assert all(len(pack.batch) < 100 for pack in packs)


def test_closes_by_age_and_not_before() -> None:
    at = packer(age_ms=500)
    at.add(batch(3), WALL, MONO)
    assert at.due(WALL + 499, MONO + 499) == []
    (pack,) = at.due(WALL + 500, MONO + 500)
    assert (pack.wall_ms, pack.mono_ms, pack.alarm) == (WALL + 500, MONO + 500, False)
    assert at.due(WALL + 9999, MONO + 9999) == []


@pytest.mark.parametrize(
    ("quantity", "value", "flags", "urgent"),
    [
        pytest.param("flow", 7.0, 0, False, id="measure"),
        pytest.param("flow", 7.0, Flag.ALARM, True, id="alarm-flag"),
        pytest.param("fire", 1.0, 0, True, id="signal-set"),
        pytest.param("fire", 0.0, 0, False, id="signal-clear"),
        pytest.param("fire", float("nan"), 0, False, id="signal-without-value"),
        pytest.param("fault_code", 90.0, 0, True, id="code"),
    ],
)
def test_an_alarm_closes_at_once(quantity: str, value: float, flags: int, urgent: bool) -> None:
    at = packer()
    at.add(batch(2), WALL, MONO)
    row = ReadingBatch.of([("d-1", "elevator", quantity, T0, value, int(flags))])
    packs = at.add(row, WALL, MONO)
    assert [pack.alarm for pack in packs] == ([True] if urgent else [])
    if urgent:
        assert len(packs[0].batch) == 3


def test_only_the_pack_with_the_alarm_is_an_alarm_pack() -> None:
    many = batch(250)
    many.flags[120] = Flag.ALARM
    at = packer(rows=100)
    packs = at.add(many, WALL, MONO)
    assert [(len(pack.batch), pack.alarm) for pack in packs] == [(100, False), (100, True)]


def test_a_set_clock_closes_first_with_the_old_clocks() -> None:
    at = packer()
    at.add(batch(3), WALL, MONO)
    at.add(batch(3, first=3), WALL + 100, MONO + 100)
    (pack,) = at.add(batch(3, first=6), WALL + 200 - 3_600_000, MONO + 200)
    assert (pack.wall_ms, pack.mono_ms) == (WALL + 100, MONO + 100)
    assert pack.batch.value.tolist() == [0, 1, 2, 3, 4, 5]
    (rest,) = at.flush()
    assert (rest.wall_ms, rest.mono_ms) == (WALL + 200 - 3_600_000, MONO + 200)


def test_a_set_clock_closes_without_new_rows() -> None:
    at = packer()
    at.add(batch(3), WALL, MONO)
    (pack,) = at.due(WALL + 10 + 501, MONO + 10)
    assert (pack.wall_ms, pack.mono_ms) == (WALL, MONO)


ROW = st.tuples(
    st.sampled_from(["d-1", "d-2", "d-3"]),
    st.sampled_from(["firewater", "smoke"]),
    st.sampled_from(["flow", "temperature", "fire"]),
    st.integers(T0, T0 + 10**6),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from([0, int(Flag.ALARM), int(Flag.BAD)]),
)
BATCHES = st.lists(st.lists(ROW, max_size=30).map(ReadingBatch.of), max_size=8)


@given(BATCHES, st.integers(1, 12))
def test_rows_come_out_as_they_went_in(batches: list[ReadingBatch], rows: int) -> None:
    at = packer(rows=rows)
    packs = [pack for one in batches for pack in at.add(one, WALL, MONO)] + at.flush()
    out = [row for pack in packs for row in pack.batch.rows()]
    assert out == [row for one in batches for row in one.rows()]
    assert all(0 < len(pack.batch) <= rows for pack in packs)


def test_join_keeps_one_device_with_two_families_apart() -> None:
    a = ReadingBatch.of([("d", "smoke", "fire", T0, 0.0, 0)])
    b = ReadingBatch.of([("d", "firewater", "flow", T0, 2.0, 0)])
    joined = join([a, b])
    assert joined.rows() == a.rows() + b.rows()
    assert joined.device.dtype == np.int32
    assert joined.quantity.dtype == np.int16


def test_tracklets_close_what_is_open_and_are_a_pack_of_their_own() -> None:
    at = packer()
    at.add(batch(3), WALL, MONO)
    before, tracks = at.add_tracks(batch(1, first=3), b"tracks", WALL + 1, MONO + 1)
    assert values([before, tracks]) == [[0, 1, 2], [3]]
    assert (before.tracks, tracks.tracks, tracks.alarm) == (b"", b"tracks", False)
    assert at.flush() == []
