"""Sequences against every chain of readings, tried one by one."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rules.derived.sequence import Progress

Reading = tuple[int, int, frozenset[int]]


def chains(readings: list[Reading], within: tuple[int, ...]) -> list[int]:
    """Places of completing readings: there is some chain of readings since the last one."""
    completed = []
    since = 0
    for end, (_, _, met) in enumerate(readings):
        if len(within) not in met:
            continue
        for picked in combinations(range(since, end), len(within)):
            chain = [*picked, end]
            times = [readings[place][1] for place in chain]
            steps = all(step in readings[place][2] for step, place in enumerate(chain))
            soon = all(0 <= b - a <= w for a, b, w in zip(times, times[1:], within, strict=False))
            if steps and soon:
                completed.append(end)
                since = end + 1
                break
    return completed


@st.composite
def series(draw: st.DrawFn) -> tuple[list[Reading], tuple[int, ...]]:
    steps = draw(st.integers(2, 4))
    within = tuple(draw(st.sampled_from([1, 3, 8])) for _ in range(steps - 1))
    now, readings = 0, []
    for _ in range(draw(st.integers(0, 18))):
        now += draw(st.integers(0, 4))
        met = draw(st.frozensets(st.integers(0, steps - 1), max_size=2))
        readings.append((draw(st.integers(0, 1)), now, met))
    return readings, within


@given(series(), st.lists(st.integers(0, 18), max_size=3))
def test_equals_every_chain_however_it_is_cut(
    made: tuple[list[Reading], tuple[int, ...]], cuts: list[int]
) -> None:
    readings, within = made
    progress = Progress(within)
    progress.make_room(2)
    found = []
    places = [0, *sorted(cuts), len(readings)]
    for start, end in pairwise(places):
        part = readings[start:end]
        met = np.array([[s in r[2] for r in part] for s in range(len(within) + 1)], np.bool_)
        done = progress.follow(
            np.array([r[0] for r in part], np.int32),
            np.array([r[1] for r in part], np.int64),
            met.reshape(len(within) + 1, len(part)),
        )
        found += (start + np.flatnonzero(done)).tolist()
    want = []
    for device in (0, 1):
        own = [place for place, r in enumerate(readings) if r[0] == device]
        want += [own[place] for place in chains([readings[place] for place in own], within)]
    assert found == sorted(want)
