"""Who must be told again, and when the dead-man heartbeat is due. Pure: time is an argument.

A level Ⅰ alert that nobody acknowledges reminds again and again. Reminders are notifications,
not changes: they carry the alert's latest event under an id of their own and are no part of the
log, so a replay has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from contracts.alerts import AlertEvent

REMIND_EVERY_MS = 60_000
"""A proposal, as is the level: fire and entrapment should be taken within a minute."""

REMIND_SEVERITY = 1
HEARTBEAT_EVERY_MS = 30_000

STALLED_MS = 60_000
"""Beyond this lag the pipeline counts as stopped, and its heartbeat stops with it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An open alert that calls a person and isn't acknowledged.

    event: id of its latest event. revision: of that event. told_ms: when it was last notified
    or reminded. reminders: how many reminders this alert has had.
    """

    alert: str
    event: str
    revision: int
    told_ms: int
    reminders: int


@dataclass(frozen=True, slots=True)
class Reminder:
    """One reminder: its id, its number (from 1), and the event that it repeats."""

    id: str
    alert: str
    event: str
    number: int


def due(
    waiting: Iterable[Waiting], now_ms: int, *, every_ms: int = REMIND_EVERY_MS
) -> list[Reminder]:
    """The reminders to send now: one for each alert that has waited long enough.

    After an outage an alert gets one reminder, not all that it missed. One that was told well
    after now is due: the clock went back, and nobody knows how long it has waited.
    """
    return [
        Reminder(
            id=f"{one.alert}-{one.revision}-n{one.reminders + 1}",
            alert=one.alert,
            event=one.event,
            number=one.reminders + 1,
        )
        for one in waiting
        if one.told_ms + every_ms <= now_ms or one.told_ms > now_ms + every_ms
    ]


def next_ms(waiting: Iterable[Waiting], *, every_ms: int = REMIND_EVERY_MS) -> int | None:
    """When `due` has something to say; None = never."""
    return min((one.told_ms + every_ms for one in waiting), default=None)


def reminding(event: AlertEvent, reminder: Reminder) -> AlertEvent:
    """The reminder as an event: the latest state again, under the reminder's id."""
    data = event.data | {"change": "reminder", "notify": True, "reminder": reminder.number}
    kind = event.type.rsplit(".", 1)[0] + ".updated"
    return msgspec.structs.replace(
        event, id=reminder.id, type=kind, causationid=reminder.event, data=data
    )


def heartbeat_due(last_ms: int | None, now_ms: int, *, every_ms: int = HEARTBEAT_EVERY_MS) -> int:
    """Milliseconds until the next heartbeat; 0 = now. A clock that went back doesn't stop it."""
    if last_ms is None or now_ms < last_ms:
        return 0
    return max(0, last_ms + every_ms - now_ms)


def is_stalled(lag_ms: int) -> bool:
    """Whether the pipeline has stopped; a dead-man heartbeat must not speak for a dead man."""
    return lag_ms > STALLED_MS
