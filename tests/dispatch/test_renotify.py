"""Reminders of level Ⅰ and the dead-man heartbeat."""

from __future__ import annotations

from dispatch.renotify import Reminder, Waiting, due, heartbeat_due, is_stalled, next_ms, reminding
from tests.dispatch import scene
from tests.dispatch.scene import MINUTE, T0, S

WAITING = Waiting("abc", "abc-1", 1, T0, 0)


def test_a_reminder_is_due_after_a_minute_and_not_before() -> None:
    assert due([WAITING], T0 + MINUTE - 1) == []
    assert due([WAITING], T0 + MINUTE) == [Reminder("abc-1-n1", "abc", "abc-1", 1)]
    assert next_ms([WAITING]) == T0 + MINUTE
    assert next_ms([]) is None


def test_numbers_go_on_and_an_outage_gives_one_reminder() -> None:
    waiting = Waiting("abc", "abc-4", 4, T0, 7)

    assert [one.id for one in due([waiting], T0 + 99 * MINUTE)] == ["abc-4-n8"]


def test_a_clock_that_goes_back_doesnt_silence_a_fire() -> None:
    day = 24 * 60 * MINUTE
    assert [one.id for one in due([WAITING], T0 - day)] == ["abc-1-n1"]
    # Small steps are no reason to remind twice.
    assert due([WAITING], T0 - MINUTE) == []


def test_a_reminder_says_that_it_is_one() -> None:
    event = scene.fire()
    reminder = due([Waiting(event.subject, event.id, 1, T0, 0)], T0 + MINUTE)[0]

    again = reminding(event, reminder)

    assert again.id == event.id + "-n1"
    assert again.type == "io.gridwarden.smoke.fire.updated"
    assert again.data["change"] == "reminder"
    assert again.data["reminder"] == 1
    assert again.data["notify"]
    assert again.causationid == event.id
    assert event.data["change"] == "raised"


def test_heartbeat_schedule() -> None:
    assert heartbeat_due(None, T0) == 0
    assert heartbeat_due(T0, T0 + 10 * S) == 20 * S
    assert heartbeat_due(T0, T0 + 99 * S) == 0
    assert heartbeat_due(T0, T0 - 1) == 0


def test_a_stopped_pipeline_has_no_heartbeat() -> None:
    assert not is_stalled(5 * S)
    assert is_stalled(61 * S)
