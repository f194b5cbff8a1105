"""Cursor and packs belong together: a restart at any point repeats nothing and loses nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.intake import Bookmark, Intake
from edge.packer import PackLimits
from edge.sources import Drawn
from tests.parts.readings import T0, batch

GATEWAYS = 3


class Still:
    """A clock that stands."""

    def wall_ms(self) -> int:
        return T0

    def mono_ms(self) -> int:
        return 1000

    def wait(self, ms: float) -> bool:  # noqa: ARG002 - as the protocol names it
        return True


def drawn_from(plan: list[tuple[int, int]], start: int) -> list[Drawn]:
    """The source: batches (gateway, rows), resumable at each, values numbered per gateway."""
    numbers = [0] * GATEWAYS
    out = []
    for n, (gateway, rows) in enumerate(plan):
        if n >= start:
            fresh = batch(rows, first=numbers[gateway])
            out.append(Drawn(fresh, str(n + 1).encode(), gateway))
        numbers[gateway] += rows
    return out


def intake(resume: Bookmark) -> Intake:
    limits = PackLimits(rows=7, bytes=1 << 20, age_ms=10**9)
    return Intake(gateways=GATEWAYS, limits=limits, resume=resume, clock=Still(), wake=lambda: None)


@given(
    st.lists(st.tuples(st.integers(0, GATEWAYS - 1), st.integers(0, 17)), max_size=30),
    st.lists(st.integers(0, 12), max_size=6),
)
def test_resumed_at_any_commit_every_row_is_stored_once(
    plan: list[tuple[int, int]], crashes: list[int]
) -> None:
    stored: list[list[float]] = [[] for _ in range(GATEWAYS)]
    bookmark = Bookmark()
    for life in [*crashes, None]:
        box = intake(bookmark)
        for n, drawn in enumerate(drawn_from(plan, int(bookmark.cursor or b"0"))):
            if life is not None and n == life:
                break  # The power is cut: what isn't committed is gone.
            assert box.offer(drawn)
            if n % 3 == 0:
                bookmark = commit(box, stored, bookmark)
        if life is None:
            commit(box, stored, bookmark, flush=True)
    want = [sum(rows for g, rows in plan if g == gateway) for gateway in range(GATEWAYS)]
    assert stored == [list(range(count)) for count in want]


def commit(
    box: Intake, stored: list[list[float]], before: Bookmark, *, flush: bool = False
) -> Bookmark:
    taken = box.take(flush=flush)
    for pack in taken.closed:
        stored[pack.gateway] += pack.batch.value.tolist()
    box.stored(taken.closed)
    return taken.bookmark or before


def test_a_source_without_cursors_is_never_skipped() -> None:
    box = intake(Bookmark(None, (0, 0, 0)))
    box.offer(Drawn(batch(10)))
    taken = box.take()
    assert [len(pack.batch) for pack in taken.closed] == [7]
    assert taken.bookmark is None


def test_after_stop_nothing_is_taken() -> None:
    box = intake(Bookmark())
    box.stop()
    assert not box.offer(Drawn(batch(1)))


def test_empty_means_stored_not_drawn() -> None:
    box = intake(Bookmark())
    assert box.is_empty()
    box.offer(Drawn(batch(3), b"1"))
    assert not box.is_empty()
    taken = box.take(flush=True)
    assert not box.is_empty()
    box.stored(taken.closed)
    assert box.is_empty()


def test_tracklets_are_stored_at_once_with_their_rows() -> None:
    woken: list[int] = []
    limits = PackLimits(rows=7, bytes=1 << 20, age_ms=10**9)
    box = Intake(
        gateways=1, limits=limits, resume=Bookmark(), clock=Still(), wake=lambda: woken.append(1)
    )
    assert box.offer(Drawn(batch(2)))
    assert woken == []
    assert box.offer(Drawn(batch(1, first=2), tracks=b"tracks"))
    assert woken == [1]
    assert [pack.tracks for pack in box.take().closed] == [b"", b"tracks"]
