"""Runs of sequences against sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingest.sequences import MAX_LOST, MAX_RUNS, Sequences

SEQ = st.integers(1, 40)
STEP = st.one_of(
    st.tuples(st.just("add"), SEQ, st.just(0)),
    st.tuples(st.just("lose"), SEQ, SEQ),
)


def settled(sequences: Sequences) -> set[int]:
    return {n for a, b, _, _ in sequences.runs for n in range(a, b + 1)} - {0}


@given(st.lists(STEP, max_size=60))
def test_runs_are_the_sets(steps: list[tuple[str, int, int]]) -> None:
    sequences = Sequences.beginning(0)
    received: set[int] = set()
    lost: set[int] = set()
    for what, a, b in steps:
        if what == "add":
            assert sequences.has(a) == (a in received)
            assert sequences.add(a, a) == (a in lost)
            received.add(a)
            lost.discard(a)
        else:
            newly = {n for gap in sequences.lose(a, b) for n in range(gap.first, gap.last + 1)}
            assert newly == set(range(a, b + 1)) - received - lost
            lost |= newly
        both = received | lost
        assert settled(sequences) == both
        assert all(sequences.has(n) == (n in received) for n in range(1, 42))
        assert sequences.upto == next(n for n in range(50) if n + 1 not in both)
        assert sequences.highest == max(both, default=0)
        gaps = {n for gap in sequences.gaps(45) for n in range(gap.first, gap.last + 1)}
        assert gaps == set(range(1, 46)) - both
        runs = sequences.runs
        assert all(x[1] + 1 < y[0] for x, y in pairwise(runs))


def test_gaps_know_their_times() -> None:
    sequences = Sequences.beginning(100)
    sequences.add(3, 130)
    sequences.add(5, 150)
    assert sequences.gaps(7) == [(1, 2, 100, 130), (4, 4, 130, 150), (6, 7, 150, 150)]
    sequences.add(4, 140)
    assert sequences.gaps() == [(1, 2, 100, 130)]
    sequences.add(1, 110)
    assert sequences.gaps() == [(2, 2, 110, 130)]
    assert sequences.lose(1, 9) == [(2, 2, 110, 130), (6, 9, 150, 150)]


def test_inventive_senders_cost_no_memory() -> None:
    sequences = Sequences.beginning(0)
    forgotten, top = 0, 4 * MAX_RUNS
    for seq in range(2, top + 2, 2):
        sequences.add(seq, seq)
        forgotten += sequences.forget()
    assert len(sequences.runs) == MAX_RUNS
    assert forgotten == 2 * MAX_RUNS - (MAX_RUNS - 1)
    # No gap is settled for it, and what was forgotten is new when it comes again.
    assert sequences.upto == 0
    assert not sequences.has(top)
    for seq in range(1, 3 * MAX_LOST, 2):
        sequences.lose(seq, seq)
    assert len(sequences.lost) <= MAX_LOST
    sequences.add(2**40 - 1, 0)
    assert sequences.gaps(2**40 - 1)[-1].last == 2**40 - 2
