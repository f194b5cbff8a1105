"""The reorder buffer against a sorted list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest.reorder as reorder
from contracts.batch import Flag, TaggedBatch
from ingest.ordering import event_order, stable_order
from ingest.reorder import ReorderBuffer
from ingest.watermark import NEVER
from tests.ingest.scene import DAY, T0

Row = tuple[int, int, int, bool]
"""(gateway, ts offset, order, is late); the position follows from the push, the row from both."""

GATEWAYS = 4
EVERYTHING = np.full(GATEWAYS, 1 << 61)

offsets = st.sampled_from((0, 1, 2, 3, 50, 51, 2000, -DAY, 10**9))
rows = st.lists(
    st.tuples(st.integers(0, 3), offsets, st.integers(0, 2), st.booleans()), min_size=1, max_size=12
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), rows),
        st.tuples(st.just("release"), st.lists(offsets, min_size=4, max_size=4)),
        st.tuples(st.just("snapshot")),
    ),
    max_size=12,
)


def pushed(position: int, told: list[Row]) -> tuple[TaggedBatch, np.ndarray]:
    n = len(told)
    ts = np.array([T0 + offset for _, offset, _, _ in told], np.int64)
    batch = TaggedBatch(
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.int16),
        ts,
        ts / 7,
        np.array([int(Flag.LATE) if late else 0 for *_, late in told], np.uint16),
        ts + 5,
        np.full(n, position, np.int64),
        np.arange(n, dtype=np.int32),
        # One order per record, as packs have it.
        np.full(n, told[0][2], np.int64),
    )
    return batch, np.array([gateway for gateway, *_ in told], np.int32)


def names(batch: TaggedBatch) -> list[tuple[int, ...]]:
    columns = (batch.ts_ms, batch.order, batch.position, batch.row)
    assert batch.value.tolist() == (batch.ts_ms / 7).tolist()
    assert (batch.heard_ms - batch.ts_ms).tolist() == [5] * len(batch)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.fixture(params=[4, 1 << 17], ids=["tiny-blocks", "blocks"])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(reorder, "BLOCK_ROWS", request.param)
    return request.param


@pytest.fixture(params=[3, 50_000], ids=["tiny-portions", "portions"])
def portion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(reorder, "PORTION_ROWS", request.param)
    return request.param


Waiting = tuple[int, int, int, int, int, bool]
"""(ts, order, position, row, gateway, is late)"""


class SortedList:
    """What waits as a list, and what a release takes of it."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.progress = [NEVER] * GATEWAYS
        self.came = 0

    def push(self, position: int, told: list[Row]) -> None:
        order = told[0][2]
        for row, (gateway, offset, _, late) in enumerate(told):
            self.waiting.append((T0 + offset, order, position, row, gateway, late))
            self.came += not late

    def release(self, watermark: list[int], portion: int) -> list[tuple[int, ...]]:
        before = self.progress
        limit = [max(pair) for pair in zip(before, watermark, strict=True)]
        due = sorted(w[0] for w in self.waiting if not w[5] and w[0] <= limit[w[4]])
        portion = max(portion, self.came * 5 // 4)
        if len(due) > portion:
            # The greatest time with no more than a portion up to it; the earliest time at least.
            end = max(due[portion] - 1, due[0])
            limit = [
                mark if was == NEVER else max(was, min(mark, end))
                for was, mark in zip(before, watermark, strict=True)
            ]
        taken = [w for w in self.waiting if w[5] or w[0] <= limit[w[4]]]
        self.waiting = [w for w in self.waiting if w not in taken]
        self.progress, self.came = limit, 0
        return sorted(w[:4] for w in taken)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=steps)
@pytest.mark.usefixtures("block_rows")
def test_same_as_a_sorted_list(portion: int, script: list[tuple]) -> None:
    buffer, model = ReorderBuffer(), SortedList()
    frozen = []
    for position, step in enumerate(script):
        frozen.append((buffer.freeze(), buffer.freeze()()))
        if step[0] == "push":
            buffer.push(*pushed(position, step[1]))
            model.push(position, step[1])
        elif step[0] == "snapshot":
            buffer = reborn(buffer)
        else:
            watermark = [T0 + offset for offset in step[1]]
            released = buffer.release(np.array(watermark, np.int64))
            assert names(released) == model.release(watermark, portion)
            assert buffer.progress_ms.tolist() == model.progress
        assert len(buffer) == len(model.waiting)
    # What was frozen is packed as it was then, whatever has become of the rows.
    for later, then in frozen:
        assert later() == then


def on_time(position: int, times: list[int], gateway: int = 0) -> tuple[TaggedBatch, np.ndarray]:
    return pushed(position, [(gateway, offset, 0, False) for offset in times])


def known() -> ReorderBuffer:
    """A buffer whose gateways have had a release before."""
    buffer = ReorderBuffer()
    buffer.release(np.full(GATEWAYS, T0 - 1))
    return buffer


def drained(buffer: ReorderBuffer) -> list[list[int]]:
    """The event times of each release until nothing waits."""
    parts = []
    while len(buffer):
        parts.append((buffer.release(EVERYTHING).ts_ms - T0).tolist())
        if len(buffer):
            assert buffer.progress_ms.tolist() == [T0 + parts[-1][-1]] * GATEWAYS
    assert buffer.progress_ms.tolist() == EVERYTHING.tolist()
    return parts


def test_a_release_takes_a_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder, "PORTION_ROWS", 10)
    buffer = known()
    for position in range(10):
        buffer.push(*on_time(position, list(range(position, 100, 10)), position % GATEWAYS))
    buffer.release(np.full(GATEWAYS, T0 - 1))
    assert drained(buffer) == [list(range(at, at + 10)) for at in range(0, 100, 10)]


def test_rows_of_one_time_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder, "PORTION_ROWS", 10)
    buffer = known()
    buffer.push(*on_time(1, [1] * 15 + [5] * 8 + [9] * 4))
    buffer.release(np.full(GATEWAYS, T0 - 1))
    got = [[*map(int, part)] for part in (buffer.release(EVERYTHING).ts_ms - T0 for _ in range(3))]
    assert got == [[1] * 15, [5] * 8, [9] * 4]


def test_what_keeps_coming_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder, "PORTION_ROWS", 10)
    buffer, most = known(), 0
    buffer.push(*on_time(0, list(range(100))))
    buffer.release(np.full(GATEWAYS, T0 - 1))
    for position in range(1, 30):
        buffer.push(*on_time(position, list(range(100 * position, 100 * position + 40))))
        most = max(most, len(buffer.release(EVERYTHING)))
    assert most == 50
    assert len(buffer) == 0


def test_a_new_gateway_is_not_dated_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one's old rows bound the release; what is new begins at its own watermark."""
    monkeypatch.setattr(reorder, "PORTION_ROWS", 10)
    buffer = ReorderBuffer()
    buffer.release(np.array([T0 - DAY]))
    buffer.push(*on_time(1, [*range(-2000, 0, 100)]))
    buffer.release(np.array([T0 - DAY]))
    buffer.release(np.array([T0, T0 + 5]))
    assert (buffer.progress_ms - T0).tolist() == [-1001, 5]


def reborn(buffer: ReorderBuffer) -> ReorderBuffer:
    again = ReorderBuffer()
    same = np.arange(64, dtype=np.int32)
    unknown = np.full(64, -1, np.int32)
    again.load(buffer.freeze()(), same, same.astype(np.int16), [0, 1, 2, 3], unknown)
    return again


def test_rows_of_devices_that_are_gone_are_gone() -> None:
    buffer = ReorderBuffer()
    buffer.push(*pushed(1, [(0, 5, 0, False), (1, 6, 0, False), (1, 7, 0, True)]))
    again = ReorderBuffer()
    remap, known = np.array([-1, 0, 1], np.int32), np.arange(8, dtype=np.int16)
    again.load(buffer.freeze()(), remap, known, [3, 2, 1, 0], np.array([-1, -1], np.int32))
    released = again.release(np.array([T0, T0, T0 + 6, T0], np.int64))
    assert released.device.tolist() == [0, 1]
    assert released.ts_ms.tolist() == [T0 + 6, T0 + 7]


def test_a_few_rows_do_not_hold_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder, "BLOCK_ROWS", 64)
    buffer = ReorderBuffer()
    for position in range(50):
        told = [(0, position, 0, False)] * 63 + [(1, 10**9, 0, False)]
        buffer.push(*pushed(position, told))
        buffer.release(np.array([T0 + position, T0, T0, T0], np.int64))
    assert len(buffer) == 50
    assert len(buffer._blocks) <= 2 + 50 * reorder.SPARSE // 64


@settings(max_examples=200, deadline=None)
@given(
    keys=st.lists(
        st.tuples(
            st.integers(T0, T0 + 2**50) | st.integers(T0, T0 + 3),
            st.integers(0, 2**62),
            st.integers(1, 3) | st.integers(1, 2**40),
            st.integers(0, 99_999),
        ),
        unique_by=lambda key: key[2:],
        max_size=30,
    )
)
def test_event_order(keys: list[tuple[int, int, int, int]]) -> None:
    order_of = {position: order for _, order, position, _ in keys}
    keys = [(ts, order_of[position], position, row) for ts, _, position, row in keys]
    columns = [np.array(column, np.int64) for column in zip(*keys, strict=True)] or [
        np.empty(0)
    ] * 4

    order = event_order(columns[0], columns[1], columns[2], columns[3].astype(np.int32))

    got = keys if order is None else [keys[i] for i in order.tolist()]
    assert got == sorted(keys)


@given(key=st.lists(st.integers(0, 2**40 - 1) | st.integers(0, 3)))
def test_stable_order(key: list[int]) -> None:
    order = stable_order(np.array(key, np.int64), 40).tolist()
    assert order == sorted(range(len(key)), key=key.__getitem__)
