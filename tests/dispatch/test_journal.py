"""One copy of dispatch delivers, another follows its marks and takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import journal
from dispatch.journal import BadMark, Mark, Over, Reminded, Switched
from dispatch.receiver import Receiver
from dispatch.receivers import Filter
from dispatch.renotify import Reminder
from dispatch.store import Cursor, Store
from tests.dispatch import scene
from tests.dispatch.conftest import until
from tests.dispatch.scene import T0
from tests.dispatch.test_deliveries import dispatching, lines, waiting


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "follower.db")
    store.set_receivers({"desk": Filter()})
    yield store
    store.close()


def open_deliveries(store: Store) -> list[str]:
    rows = store.queries.all(
        "SELECT e.id FROM deliveries d JOIN events e ON e.seq = d.seq"
        " WHERE d.state IN ('pending', 'blocked') ORDER BY d.seq"
    )
    return [row["id"] for row in rows]


@given(
    st.one_of(
        st.builds(
            Over,
            receiver=st.text(),
            event=st.text(),
            state=st.sampled_from(["done", "exhausted"]),
            at_ms=st.integers(0, 2**53),
            status=st.none() | st.integers(100, 599),
        ),
        st.builds(Switched, receiver=st.text(), disabled=st.text(), at_ms=st.integers(0, 2**53)),
        st.builds(Reminded, event=st.just(scene.fire()), number=st.integers(1), at_ms=st.just(T0)),
    )
)
def test_marks_survive_their_encoding(mark: Mark) -> None:
    assert journal.decode(journal.encode(mark)) == mark


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"type":"other"}', b'{"type":"over"}'])
def test_other_bytes_are_no_mark(data: bytes) -> None:
    with pytest.raises(BadMark):
        journal.decode(data)


@pytest.mark.parametrize("marks_first", [False, True])
def test_a_follower_has_nothing_left_to_deliver(
    store: Store, receiver: Receiver, follower: Store, tmp_path: Path, *, marks_first: bool
) -> None:
    told: deque[Mark] = deque()
    events = [scene.fire(), *scene.flood(5)]
    store.outbox.journal = told.append
    with dispatching(store, receiver.url):
        store.record(events, 1)
        until(lambda: waiting(store) == 0, "all delivered")

    passed = [journal.decode(journal.encode(mark)) for mark in told]
    for note_marks in (marks_first, not marks_first):
        if note_marks:
            follower.note(passed)
        else:
            follower.record(events, 1)
    assert open_deliveries(follower) == []
    with dispatching(follower, receiver.url):
        until(lambda: waiting(follower) == 0, "nothing to do")
    assert sorted(line["id"] for line in lines(tmp_path / "received.jsonl")) == sorted(
        event.id for event in events
    )
    assert receiver.counts["repeats"] == 0


def test_a_follower_goes_on_where_the_marks_end(
    receiver: Receiver, follower: Store, tmp_path: Path
) -> None:
    first, *others = events = scene.flood(4)
    follower.record(events, 1)
    follower.note([Over(receiver="desk", event=first.id, state="done", at_ms=T0, status=200)])
    with dispatching(follower, receiver.url):
        until(lambda: waiting(follower) == 0, "the rest delivered")
    assert {line["id"] for line in lines(tmp_path / "received.jsonl")} == {
        event.id for event in others
    }


def test_the_next_of_an_alert_may_go_when_another_copy_has_delivered_the_one_before(
    follower: Store,
) -> None:
    raised, cleared = scene.raised_and_cleared()
    follower.record([raised, cleared], 1)
    assert [one.id for one in follower.outbox.due("desk", 2**60, limit=9, urgent=False)] == [
        raised.id
    ]
    follower.note([Over(receiver="desk", event=raised.id, state="done", at_ms=T0)])
    assert [one.id for one in follower.outbox.due("desk", 2**60, limit=9, urgent=False)] == [
        cleared.id
    ]


def test_a_later_delivery_that_is_over_lets_nothing_pass_the_first(follower: Store) -> None:
    raised, cleared = scene.raised_and_cleared()
    follower.record([raised, cleared], 1)
    follower.note([Over(receiver="desk", event=cleared.id, state="exhausted", at_ms=T0)])
    assert open_deliveries(follower) == [raised.id]


def test_reminders_are_counted_on_by_the_next_copy(store: Store, follower: Store) -> None:
    told: deque[Mark] = deque()
    store.outbox.journal = told.append
    fire = scene.fire()
    for one in (store, follower):
        one.record([fire], 1, now_ms=T0)
    reminder = Reminder(id=f"{fire.subject}-1-n1", alert=fire.subject, event=fire.id, number=1)
    assert store.remind(reminder, now_ms=T0 + 60_000) is not None
    for _ in range(2):  # A mark may come twice.
        follower.note(list(told))
    (waits,) = follower.waiting(1)
    assert (waits.reminders, waits.told_ms) == (1, T0 + 60_000)
    assert open_deliveries(follower).count(reminder.id) <= 1


def test_a_switched_off_receiver_is_off_everywhere(store: Store, follower: Store) -> None:
    told: deque[Mark] = deque()
    store.outbox.journal = told.append
    store.set_receivers({"desk": Filter()})
    store.outbox.disable("desk", "410 Gone", T0)
    follower.note(list(told))
    assert follower.outbox.state("desk").disabled == "410 Gone"
    assert store.outbox.enable("desk", T0 + 1)
    follower.note(list(told))
    assert follower.outbox.state("desk").disabled == ""


def test_cursors_are_kept_with_what_they_brought(tmp_path: Path) -> None:
    store = Store(tmp_path / "one.db")
    store.record(scene.flood(2), 1, cursors=[Cursor("alerts", 3, 17)])
    store.note([], [Cursor("marks", 0, 5), Cursor("alerts", 4, 2)])
    store.close()
    store = Store(tmp_path / "one.db")
    assert store.cursors("alerts") == {3: 17, 4: 2}
    assert store.cursors("marks") == {0: 5}
    store.close()
