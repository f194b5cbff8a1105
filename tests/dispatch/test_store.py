"""Recording once, in one transaction, with the projection that people list."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from contracts.alerts import AlertEvent, encode_event
from contracts.transitions import Change
from dispatch.queries import Selection
from dispatch.receivers import Filter
from dispatch.renotify import Reminder, due
from dispatch.store import Store
from dispatch.tables import STORE_VERSION, StoreRefused
from tests.dispatch import scene
from tests.dispatch.scene import BATTERY, FIRE, HYDRANT, MINUTE, PRESSURE, T0, S

ALL = {"desk": Filter()}


def life_of_a_fire() -> list[AlertEvent]:
    life = scene.lifecycle()
    events = life.apply(
        scene.batch(scene.change(Change.RAISED), scene.change(Change.CLEARED, T0 + S))
    )
    for n, action in enumerate(("acknowledge", "reset")):
        cmd = scene.order(action, events[0].subject, command=f"c{n}")
        events += life.command(cmd, T0 + (2 + n) * S)[0]
    return events


def test_repeats_are_counted_and_change_nothing(store: Store) -> None:
    store.set_receivers(ALL)
    events = life_of_a_fire()
    first = store.record(events, 7, now_ms=T0)

    again = store.record(events, 7, now_ms=T0 + MINUTE)

    assert (len(first.new), first.repeats) == (4, 0)
    assert (again.new, again.repeats, again.conflicts) == ((), 4, 0)
    assert store.queries.counters() == {"events_repeated": 4}
    assert store.queries.receivers()[0]["open"] == 4
    assert store.position() == 7


def test_a_repeat_that_says_something_else_is_noticed(store: Store) -> None:
    event = scene.fire()
    store.record([event], 1)

    other = store.record([msgspec.structs.replace(event, gridcode="340111002003002")], 1)

    assert (other.repeats, other.conflicts) == (1, 1)


def test_the_stored_bytes_are_the_events_bytes_but_for_the_time_of_recording(store: Store) -> None:
    event = scene.fire()
    (stored,) = store.record([event], 1, now_ms=T0 + 231).new

    kept = msgspec.json.decode(stored.body, type=AlertEvent)

    assert kept.recordedtime == "2026-03-01T00:00:00.231Z"
    assert encode_event(msgspec.structs.replace(kept, recordedtime="")) == encode_event(event)


def test_projection_follows_the_latest_revision(store: Store) -> None:
    events = life_of_a_fire()
    wanted = [("active", 0), ("latched", 0), ("latched", 1), ("cleared", 1)]

    seen = []
    for event in events:
        store.record([event], 1)
        row = store.queries.alert(events[0].subject)
        assert row is not None
        seen.append((row["state"], row["acknowledged"]))

    assert seen == wanted


def test_an_older_revision_that_comes_late_does_not_turn_back(store: Store) -> None:
    raised, latched, *_ = life_of_a_fire()

    store.record([latched], 1)
    store.record([raised], 2)

    row = store.queries.alert(raised.subject)
    assert row is not None
    assert (row["state"], row["revision"]) == ("latched", 2)


@pytest.mark.parametrize(
    ("selection", "want"),
    [
        pytest.param(Selection(), ["battery_low", "pressure_low", "fire"], id="newest-first"),
        pytest.param(Selection(grid_prefix="340111002003002"), ["pressure_low"], id="grid"),
        pytest.param(
            Selection(grid_prefix="340111"), ["battery_low", "pressure_low", "fire"], id="district"
        ),
        pytest.param(Selection(grid_prefix="34011100200300%"), [], id="no-wildcards"),
        pytest.param(Selection(families=("smoke",)), ["battery_low", "fire"], id="family"),
        pytest.param(Selection(severities=(1, 2)), ["pressure_low", "fire"], id="severity"),
        pytest.param(Selection(states=("cleared",)), ["battery_low"], id="state"),
        pytest.param(Selection(from_ms=T0 + 1, to_ms=T0 + 2 * S), ["pressure_low"], id="time"),
        pytest.param(Selection(limit=1), ["battery_low"], id="limit"),
    ],
)
def test_filters(store: Store, selection: Selection, want: list[str]) -> None:
    rows = [
        scene.change(Change.RAISED, T0, rule=FIRE),
        scene.change(Change.RAISED, T0 + S, rule=PRESSURE, device=HYDRANT),
        scene.change(Change.RAISED, T0 + 2 * S, rule=BATTERY),
        scene.change(Change.CLEARED, T0 + 3 * S, rule=BATTERY),
    ]
    store.record(scene.lifecycle().apply(scene.batch(*rows)), 1)

    assert [row["condition"] for row in store.queries.alerts(selection)] == want


def test_receivers_get_what_they_want(store: Store) -> None:
    store.set_receivers(
        {
            "all": Filter(),
            "urgent": Filter(severity_most=1),
            "here": Filter(grid_prefix=scene.GRID_A),
            "elsewhere": Filter(grid_prefix="999"),
        }
    )

    store.record([scene.fire(), *scene.flood(2), scene.fire(scene.STRANGER)], 1)

    open_of = {row["name"]: row["open"] for row in store.queries.receivers()}
    assert open_of == {"all": 4, "urgent": 2, "here": 4, "elsewhere": 1}


def test_only_unacknowledged_level_one_waits_for_a_reminder(store: Store) -> None:
    life = scene.lifecycle()
    events = life.apply(
        scene.batch(
            scene.change(Change.RAISED),
            scene.change(Change.RAISED, rule=BATTERY),
            scene.change(Change.RAISED, rule=PRESSURE, device=HYDRANT),
        )
    )
    store.record(events, 1, now_ms=T0)

    (waiting,) = store.waiting(1)
    assert (waiting.alert, waiting.told_ms) == (events[0].subject, T0)

    taken, _ = life.command(scene.order("acknowledge", events[0].subject), T0 + S)
    store.record(taken, 2, now_ms=T0 + S)
    assert store.waiting(1) == []


def test_reminders_count_up_and_do_not_pile_up(store: Store) -> None:
    store.set_receivers(ALL)
    store.record([scene.fire()], 1, now_ms=T0)

    kept = []
    for minute in (1, 2):
        (reminder,) = due(store.waiting(1), T0 + minute * MINUTE)
        stored = store.remind(reminder, now_ms=T0 + minute * MINUTE)
        assert stored is not None
        kept.append(stored.id)

    assert [name[-3:] for name in kept] == ["-n1", "-n2"]
    assert due(store.waiting(1), T0 + 2 * MINUTE) == []
    # The receiver has not got the alert itself yet: a reminder behind it says nothing.
    assert store.queries.receivers()[0]["open"] == 1


def test_a_reminder_that_was_overtaken_is_dropped(store: Store) -> None:
    events = life_of_a_fire()
    store.record(events[:1], 1, now_ms=T0)
    (reminder,) = due(store.waiting(1), T0 + MINUTE)
    store.record(events[1:3], 2, now_ms=T0 + MINUTE)

    assert store.remind(reminder) is None
    assert store.remind(Reminder("x-1-n1", "x", "x-1", 1)) is None


def test_one_recording_is_one_transaction(store: Store) -> None:
    fire, battery = scene.fire(), scene.flood(1)[0]
    broken = msgspec.structs.replace(battery, data={**battery.data, "severity": None})

    with pytest.raises(TypeError):
        store.record([fire, broken], 1)

    assert store.queries.last_seq() == 0
    store.record([fire], 1)
    assert store.queries.last_seq() == 1


def test_a_store_of_a_newer_version_is_refused_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.db"
    Store(path).close()
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    raw.close()

    with pytest.raises(StoreRefused, match="newer gridwarden") as refused:
        Store(path)

    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.db"
    path.write_bytes(b"not a database at all" * 100)

    with pytest.raises(StoreRefused, match="name another data folder"):
        Store(path)
