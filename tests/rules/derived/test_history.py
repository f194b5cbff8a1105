"""Readings that come and go at random: what is kept, and what functions find in it, is what a list
holds; and a mark costs what it brings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.quantities import QUANTITY_INDEX
from rules.derived.columns import BLOCK, MOST, Columns, Index
from rules.derived.functions import Windows
from rules.derived.history import History
from rules.expr.window import FUNCTIONS, Window

CURRENT = QUANTITY_INDEX["residual_current"]
VALUES = [0.0, -0.0, 0.1, 2.5, -3.0, 7.0, 1e300, math.inf]


@dataclass(frozen=True)
class Visit:
    """What one mark brings and lets go. said: (device, how many, how far back the first is).

    stay: of the oldest device that spoke, how many readings stay.
    """

    said: list[tuple[int, int, int]]
    stay: float
    seed: int


visits = st.builds(
    Visit,
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([1, 1, 2, 7, 150]),
            st.sampled_from([0, 0, 0, 0, 5, 400]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([1, 1, 0.9, 0.5, 0.01]),
    st.integers(0, 9_999),
)


@dataclass
class Lists:
    """The same in plain lists, of equal times the newcomer last."""

    kept: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def put(self, device: int, ts_ms: int, value: float) -> None:
        self.kept.setdefault(device, []).append((ts_ms, value))
        self.kept[device].sort(key=lambda one: one[0])


@settings(max_examples=50, deadline=None)
@given(st.lists(visits, max_size=8), st.sets(st.sampled_from(FUNCTIONS)))
def test_a_history_keeps_what_lists_keep(log: list[Visit], functions: set[str]) -> None:
    history, lists, now = History(functions), Lists(), 0
    for visit in log:
        chance = np.random.default_rng(visit.seed)
        now += 1_000
        ts_ms, device, value = [], [], []
        for one, count, back in visit.said:
            times = np.sort(now - back + chance.integers(0, 900, count))
            ts_ms += times.tolist()
            device += [one] * count
            value += chance.choice(VALUES[: chance.integers(1, len(VALUES) + 1)], count).tolist()
        order = np.lexsort((ts_ms, device))
        for i in order.tolist():
            lists.put(device[i], ts_ms[i], value[i])
        slots = history.slots(np.array(device, np.int32))[order]
        again = np.argsort(slots, kind="stable")
        order = order[again]
        at = history.put(slots[again], np.array(ts_ms)[order], np.array(value)[order])
        assert history.columns.ts_ms[at].tolist() == np.array(ts_ms)[order].tolist()
        assert history.columns.value[at].tolist() == np.array(value)[order].tolist()
        _same(history, lists, functions, chance)
        spoke = history.slots(np.array([device[0]], np.int32)).astype(np.intp)
        mine = lists.kept[device[0]]
        gone = len(mine) - max(1, round(len(mine) * visit.stay))
        lists.kept[device[0]] = mine[gone:]
        history.forget(spoke, history.held(spoke).first + gone)
        _same(history, lists, functions, chance)


def _same(history: History, lists: Lists, functions: set[str], chance: np.random.Generator) -> None:
    for device, kept in lists.kept.items():
        held = history.held(history.slots(np.array([device], np.int32)).astype(np.intp))
        first, end = int(held.first[0]), int(held.end[0])
        stands = history.columns
        assert stands.ts_ms[first:end].tolist() == [ts for ts, _ in kept]
        assert stands.value[first:end].tolist() == [value for _, value in kept]
        cuts = np.sort(chance.integers(0, len(kept) + 1, (3, 2)), axis=1)
        low, high = cuts[:, 0], cuts[:, 1]
        for function in sorted(functions):
            got = _ask(function, history, first, first + low, first + high)
            for i, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                alone = History({function})
                part = kept[a:b]
                # What a window counts as a change hangs on the reading before it.
                part = kept[max(a - 1, 0) : b] if function == "changes" else part
                alone.put(
                    alone.slots(np.zeros(len(part), np.int32)),
                    np.array([ts for ts, _ in part], np.int64),
                    np.array([value for _, value in part], np.float64),
                )
                skip = len(part) - (b - a)
                want = _ask(function, alone, 0, np.array([skip]), np.array([len(part)]))
                assert got[i : i + 1].tobytes() == want.tobytes(), function


def _ask(function: str, history: History, first: int, low: Index, high: Index) -> np.ndarray:
    window = Window(function, CURRENT, 60_000, 0.3 if function == "quantile" else None)
    oldest = np.full(len(low), first)
    return Windows(history.columns, oldest, low, high, np.full(len(low), -1)).answer(window)


@pytest.mark.parametrize("kept", [10, 6_000])
@pytest.mark.parametrize("burst", [1, 50])
def test_what_is_kept_is_seldom_touched(
    kept: int, burst: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings that are moved about, for each that comes to twenty devices with full windows."""
    moved = 0
    move = Columns.move

    def counted(self: Columns, first: Index, count: Index, to: Index, size: int = 0) -> None:
        nonlocal moved
        moved += int(count.sum())
        move(self, first, count, to, size)

    monkeypatch.setattr(Columns, "move", counted)
    history = History({"sum", "min"})
    slots = history.slots(np.arange(20, dtype=np.int32))
    brought, now = 0, 0
    while now < 3 * kept + 2_000:
        ts_ms = np.tile(np.arange(now, now + burst), 20)
        history.put(np.repeat(slots, burst), ts_ms, np.ones(20 * burst))
        now += burst
        brought += 20 * burst
        held = history.held(slots.astype(np.intp))
        history.forget(slots.astype(np.intp), np.maximum(held.first, held.end - kept))
    assert moved < 9 * brought


def test_a_long_window_looks_at_blocks_and_ends_only() -> None:
    history = History({"max"})
    slots = history.slots(np.zeros(MOST, np.int32))
    at = history.put(slots, np.arange(MOST), np.arange(MOST, dtype=np.float64))
    history.columns.value[at[3 * BLOCK : -3 * BLOCK]] = np.nan
    low, high = at[:1] + BLOCK // 2, at[-1:] + 1 - BLOCK // 2
    assert _ask("max", history, int(at[0]), low, high).tolist() == [MOST - 1 - BLOCK // 2]
