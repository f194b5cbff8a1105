"""When a worker counts as stuck. Pure: faust has been seen to stop reading without an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """Monotonic seconds. beat_s: the event loop's last turn. kafka_away: no broker
    answers now. moved_s: when partitions came or went last.
    behind: partition -> (records to go, when it last got on), of those that have no excuse."""

    now_s: float
    beat_s: float
    kafka_away: bool
    moved_s: float
    behind: Mapping[int, tuple[int, float]]


CLOCK_MS = 5_000
"""So far may a clock be beside Kafka's (proposal): by it time marks are made."""


def clock_problem(ahead_ms: int) -> str:
    """ahead_ms: Kafka's clock minus ours."""
    if abs(ahead_ms) <= CLOCK_MS:
        return ""
    behind = "behind" if ahead_ms > 0 else "ahead of"
    return f"this machine's clock is {abs(ahead_ms) / 1000:.0f} s {behind} Kafka's: set it"


def stuck(facts: Facts, limit_s: float) -> str:
    """Why the process should end and begin anew; "" = it is well, or can't help it.

    Without Kafka nothing gets on anywhere, and ending the process wouldn't bring it back.
    """
    still_s = facts.now_s - facts.beat_s
    if still_s > limit_s:
        return f"the event loop has stood still for {still_s:.0f} s"
    if facts.kafka_away or facts.now_s - facts.moved_s <= limit_s:
        return ""
    for partition, (records, since_s) in sorted(facts.behind.items()):
        still_s = facts.now_s - since_s
        if records > 0 and still_s > limit_s:
            return f"partition {partition}: {records} records to go, none done for {still_s:.0f} s"
    return ""
