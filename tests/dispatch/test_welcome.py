"""A store that is filled from a stream: a new receiver isn't flooded with what is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contracts.alerts import AlertEvent
from dispatch import journal
from dispatch.journal import Added, Mark, Over
from dispatch.outbox import FRESH_MS
from dispatch.receivers import Filter
from dispatch.store import Store
from tests.dispatch import scene

DAY_MS = 86_400_000
NOW = scene.T0 + 30 * DAY_MS
OLD = scene.T0 + DAY_MS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "dispatch.db")) as one:
        one.set_receivers({"desk": Filter(), "new": Filter()})
        yield one


def waits(store: Store, receiver: str) -> list[str]:
    """Ids of the events that are to be delivered, now or behind another."""
    rows = store.queries.all(
        "SELECT e.id FROM deliveries d JOIN events e ON e.seq = d.seq WHERE d.receiver = ?"
        " AND d.state IN ('pending', 'blocked') ORDER BY d.seq",
        (receiver,),
    )
    return [row["id"] for row in rows]


def fill(store: Store) -> tuple[list[AlertEvent], AlertEvent]:
    """An alert of a month ago that is over, and one that is open still."""
    over, still = scene.raised_and_cleared(), scene.fire(device=scene.SMOKE + 1)
    events = [*over, still]
    store.record(events, 1, times_ms=[OLD] * len(events))
    return over, still


def test_a_new_receiver_gets_what_is_open_and_what_is_fresh(store: Store) -> None:
    told: list[Mark] = []
    store.outbox.journal = told.append
    over, still = fill(store)
    # The first of a flood is the alert that is over.
    _, fresh, *others = scene.flood(4)
    store.record([fresh], 2, times_ms=[NOW - FRESH_MS + 1])
    # The desk has had them, says a mark.
    store.note([Over(receiver="desk", event=over[0].id, state="done", at_ms=OLD)])
    assert store.welcome(NOW) == len(over)
    assert waits(store, "new") == [still.id, fresh.id]
    assert told == [Added(receiver="new", at_ms=NOW)]
    due = store.outbox.due("new", 1 << 60, limit=9, urgent=False)
    assert {one.id for one in due} == {still.id, fresh.id}
    # Nobody notes since when the desk gets them: nothing of it is left out.
    assert waits(store, "desk") == [*(one.id for one in over[1:]), still.id, fresh.id]
    # What was there in time stays, however long it waits.
    store.record(others, 3, times_ms=[NOW + 5] * 2)
    assert store.welcome(NOW + DAY_MS) == 0
    assert len(waits(store, "new")) == 4
    assert len(told) == 1


def test_a_lost_store_leaves_out_what_was_over_before_the_receiver_came(store: Store) -> None:
    over, still = fill(store)
    later = scene.flood(3)[1:]
    store.record(later, 2, times_ms=[OLD + DAY_MS] * 2)
    store.note([Added(receiver="new", at_ms=OLD + DAY_MS)])
    assert store.welcome(NOW) >= len(over)
    assert waits(store, "new") == [still.id, *(one.id for one in later)]


def test_the_mark_is_read_as_it_was_written() -> None:
    mark = Added(receiver="new", at_ms=5)
    assert journal.decode(journal.encode(mark)) == mark
    assert journal.key(mark) == b"added/new"


def test_a_store_of_an_earlier_version_learns_of_it(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a.db")) as one:
        one._db.execute("ALTER TABLE receivers DROP COLUMN added_ms")
    with closing(Store(tmp_path / "a.db")) as one:
        one.set_receivers({"new": Filter()})
        fill(one)
        assert one.welcome(NOW) > 0
