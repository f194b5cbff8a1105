"""Ranges that were given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.pack import Evicted
from edge.tombstones import Span, answer, merge, without

B = 9


def row(first: int, last: int, readings: int = 5, at: int = 100) -> Evicted:
    return Evicted(B, first, last, at, at + 10, readings)


def seqs(rows: list[Evicted]) -> list[int]:
    return [seq for r in rows for seq in range(r.first, r.last + 1)]


def test_neighbours_become_one() -> None:
    assert merge([row(4, 6, at=300), row(1, 3, at=100)]) == [Evicted(B, 1, 6, 100, 310, 10)]


def test_a_gap_and_another_boot_stay_apart() -> None:
    other = Evicted(B + 1, 4, 4, 0, 0, 1)
    assert merge([row(1, 2), row(4, 4), other]) == [row(1, 2), row(4, 4), other]


def test_a_tombstone_in_between_covers_no_time() -> None:
    assert merge([row(1, 1), Evicted(B, 2, 2, 0, 0, 0)]) == [Evicted(B, 1, 2, 100, 110, 5)]
    assert merge([Evicted(B, 1, 1, 0, 0, 0), row(2, 2)]) == [Evicted(B, 1, 2, 100, 110, 5)]


def test_the_same_loss_told_twice_counts_once() -> None:
    assert merge([row(1, 9), row(3, 4)]) == [row(1, 9)]


RANGES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda t: row(t[0], t[0] + t[1])),
    max_size=12,
)


@given(RANGES)
def test_merge_names_the_same_sequences_once(rows: list[Evicted]) -> None:
    assert seqs(merge(rows)) == sorted(set(seqs(rows)))


@given(RANGES, st.sets(st.integers(1, 50)))
def test_without_leaves_what_is_not_held(rows: list[Evicted], held: set[int]) -> None:
    spans = [Span(r.first, r.last) for r in merge(rows)]
    left = [
        seq for span in without(spans, sorted(held)) for seq in range(span.first, span.last + 1)
    ]
    assert left == sorted(set(seqs(rows)) - held)


@given(st.tuples(st.integers(1, 40), st.integers(0, 9)), RANGES)
def test_an_answer_covers_the_whole_question(ask: tuple[int, int], known: list[Evicted]) -> None:
    span = Span(ask[0], ask[0] + ask[1])
    told = answer(B, [span], merge(known))
    assert set(seqs(told)) >= set(range(span.first, span.last + 1))
    assert set(seqs(told)) <= set(range(span.first, span.last + 1)) | set(seqs(known))
