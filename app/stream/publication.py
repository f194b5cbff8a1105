"""What is to be put in force where, what became of it, and what may be forgotten. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from app.stream.records import Published, Pulse

What = Literal["rules", "registry", "settings"]
State = Literal["taken", "begun", "refused", "not yet"]

PLAN = -1
"""Beside the partitions, under `published/rules/-1`: the rules and the time that were meant for
all of them, noted before the first one is told."""
SOON_MS = 1_000
"""A time that is nearer can't be met any more by all (proposal)."""
LIVE_MS = 15_000
"""A partition that told nothing for so long has no worker (proposal)."""


@dataclass(frozen=True, slots=True)
class Told:
    """A pulse, and Kafka's time of it, unix ms."""

    pulse: Pulse
    at_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a partition made of what was published. `begun`: rules that come into force at their
    time. `not yet`: it hasn't come so far, or nobody works on it."""

    state: State
    why: str = ""


def answer(what: What, published: Published, told: Told | None) -> Answer:
    """published: what was put there last."""
    if told is None:
        return Answer("not yet", "no worker has told of this partition")
    pulse = told.pulse
    if getattr(pulse, what) == published.hash:
        return Answer("taken")
    if what == "rules" and pulse.coming == published.hash:
        return Answer("begun")
    damaged = pulse.why.startswith(published.hash[:16])
    if what == "rules" and (pulse.refused == published.hash or (not pulse.refused and damaged)):
        return Answer("refused", pulse.why)
    if pulse.stands:
        return Answer("not yet", f"the partition stands: {pulse.stands}")
    if published.offset < 0 or pulse.offset < published.offset or not getattr(pulse, what):
        return Answer("not yet")
    return Answer("refused", "the topic letters has the reason")


@dataclass(frozen=True, slots=True)
class RulesPlan:
    """todo: partition -> its event time, None = at once. unchanged: who has them already.
    activate_ms: of those that have rules. earlier: partitions that have these rules in force from
    another time on, since a publisher was cut short and its time has passed."""

    todo: Mapping[int, int | None]
    unchanged: tuple[int, ...]
    activate_ms: int
    earlier: Mapping[int, int]


def plan_rules(
    name: str,
    published: Mapping[tuple[str, int], Published],
    told: Mapping[int, Told],
    partitions: int,
    now_ms: int,
    after_ms: int,
) -> RulesPlan:
    """One event time for all; that of a publisher that was cut short, as long as it can be met."""
    planned = published.get(("rules", PLAN))
    activate_ms = now_ms + after_ms
    meant_ms = None if planned is None or planned.hash != name else planned.activate_ms
    if meant_ms is not None and meant_ms >= now_ms + SOON_MS:
        activate_ms = meant_ms
    todo: dict[int, int | None] = {}
    unchanged: list[int] = []
    for partition in range(partitions):
        before = published.get(("rules", partition))
        if before is None:
            todo[partition] = None
        elif before.hash == name and not _refused(before, told.get(partition)):
            unchanged.append(partition)
        else:
            todo[partition] = activate_ms
    earlier = {
        partition: at_ms
        for partition in unchanged
        if any(at is not None for at in todo.values())
        and (at_ms := published["rules", partition].activate_ms) is not None
        and at_ms != activate_ms
    }
    return RulesPlan(todo, tuple(unchanged), activate_ms, earlier)


def _refused(published: Published, told: Told | None) -> bool:
    """Then they are put there again, for another time."""
    return answer("rules", published, told).state == "refused"


def needless(
    hashes: Iterable[str],
    written_ms: Callable[[str], int],
    published: Mapping[tuple[str, int], Published],
    told: Mapping[int, Told],
    *,
    partitions: int,
    now_ms: int,
    kept_ms: int,
) -> list[str]:
    """Contents that nobody can ever want again: none has them in force, no snapshot names them, and
    the log has forgotten the records that did.

    Nothing as long as a partition may still have to decide a record that names one, or doesn't say
    what it needs. kept_ms: how long the log keeps records.
    """
    needed = {one.hash for one in published.values()}
    for partition in range(partitions):
        here = told.get(partition)
        if here is None or here.pulse.needs is None or not _settled(partition, published, here):
            return []
        needed.update(here.pulse.needs)
    return [name for name in hashes if name not in needed and written_ms(name) < now_ms - kept_ms]


def _settled(partition: int, published: Mapping[tuple[str, int], Published], told: Told) -> bool:
    """Whether it has decided the last record of each kind."""
    return all(
        getattr(told.pulse, what) == one.hash or 0 <= one.offset <= told.pulse.offset
        for (what, number), one in published.items()
        if number == partition
    )


def live(told: Mapping[int, Told], now_ms: int) -> Collection[int]:
    """Partitions that somebody works on."""
    return {number for number, one in told.items() if one.at_ms >= now_ms - LIVE_MS}
