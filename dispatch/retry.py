"""When a delivery is tried again. Pure: times and jitter are arguments.

The ladder is that of Standard Webhooks: each rung is the wait after the failure before it. It
is too slow for a fire, so level Ⅰ is tried every few seconds for the first minutes and then
joins the ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000

LADDER_MS = (
    0,
    5 * _SECOND,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""Source: the Standard Webhooks specification, "Retry schedule"."""

URGENT_EVERY_MS = 3 * _SECOND
URGENT_FOR_MS = 3 * _MINUTE
JOIN_RUNG = 2
"""The rung at which an urgent delivery joins the ladder: 5 minutes."""

FAILING_AFTER_MS = 10 * _SECOND
"""An urgent delivery that fails for this long is itself an alarm, raised on the spot."""

JITTER = 0.1
LONGEST_WAIT_MS = 24 * _HOUR
LONGEST_URGENT_WAIT_MS = 5 * _MINUTE
"""A receiver that asks for more patience than this doesn't get it for a fire."""

SLOW_STATUS = frozenset({429, 502, 503, 504})
"""Answers that ask the sender to slow down: 429, 502 and 504 by Standard Webhooks; 503 by us."""

_SLOW_FIRST_MS = 5 * _SECOND
_SLOW_MOST_MS = 5 * _MINUTE


class Next(Enum):
    DONE = "done"
    RETRY = "retry"
    DISABLE = "disable"  # the receiver is gone for good: 410
    EXHAUSTED = "exhausted"  # the ladder has no further rung


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt met. status: of HTTP, None = no answer. retry_after_ms: as asked for.

    error: one short line for people, without secrets.
    """

    status: int | None
    retry_after_ms: int | None = None
    error: str = ""

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Attempts:
    """One delivery so far. rung: of the attempt just made (0 = the first). first_ms: its time."""

    rung: int
    first_ms: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next; `rung` and `at_ms` of the next attempt matter for RETRY only."""

    next: Next
    rung: int = 0
    at_ms: int = 0


def plan(so_far: Attempts, outcome: Outcome, now_ms: int, *, jitter: float) -> Plan:
    """What to do after an attempt. jitter: in [-1, 1], drawn by the caller."""
    if outcome.delivered:
        return Plan(Next.DONE)
    if outcome.status == 410:
        return Plan(Next.DISABLE)
    asked = outcome.retry_after_ms or 0
    if so_far.urgent and now_ms - so_far.first_ms < URGENT_FOR_MS:
        wait = max(_jittered(URGENT_EVERY_MS, jitter), min(asked, LONGEST_URGENT_WAIT_MS))
        return Plan(Next.RETRY, min(so_far.rung + 1, JOIN_RUNG - 1), now_ms + wait)
    rung = so_far.rung + 1
    if rung >= len(LADDER_MS):
        if not so_far.urgent:
            return Plan(Next.EXHAUSTED, so_far.rung)
        rung = len(LADDER_MS) - 1
    most = LONGEST_URGENT_WAIT_MS if so_far.urgent else LONGEST_WAIT_MS
    wait = max(_jittered(LADDER_MS[rung], jitter), min(asked, most))
    return Plan(Next.RETRY, rung, now_ms + wait)


def pause_ms(failures: int, outcome: Outcome) -> int:
    """How long a receiver as a whole is left alone after an answer, urgent deliveries apart.

    failures: failed attempts in a row, this one included.
    """
    if outcome.delivered or outcome.status not in SLOW_STATUS:
        return 0
    slow = min(_SLOW_FIRST_MS << min(failures - 1, 10), _SLOW_MOST_MS)
    return max(slow, min(outcome.retry_after_ms or 0, LONGEST_WAIT_MS))


def is_failing(so_far: Attempts, now_ms: int) -> bool:
    """Whether an undelivered urgent delivery must be shouted about here."""
    return so_far.urgent and now_ms - so_far.first_ms >= FAILING_AFTER_MS


def retry_after_ms(header: str | None, now_ms: int, date_ms: int | None = None) -> int | None:
    """The wait that a Retry-After header asks for; None = it says nothing usable.

    date_ms: the header as a time, when the caller could read it as an HTTP date.
    """
    if header is not None and header.strip().isascii() and header.strip().isdigit():
        return min(int(header.strip()[:9]) * _SECOND, LONGEST_WAIT_MS)
    if date_ms is not None:
        return min(max(0, date_ms - now_ms), LONGEST_WAIT_MS)
    return None


def _jittered(wait_ms: int, jitter: float) -> int:
    return int(wait_ms * (1 + JITTER * jitter))
