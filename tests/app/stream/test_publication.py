"""What is put in force where, what became of it, and what may be forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from app.stream.publication import (
    LIVE_MS,
    PLAN,
    SOON_MS,
    Answer,
    Told,
    answer,
    live,
    needless,
    plan_rules,
)
from app.stream.records import Published, Pulse

NOW = 1_780_000_000_000
OLD, NEW, OTHER = "0" * 64, "1" * 64, "2" * 64
DAY_MS = 86_400_000


def put(name: str, activate_ms: int | None = None, offset: int = 10) -> Published:
    return Published(hash=name, at_ms=NOW, activate_ms=activate_ms, offset=offset)


def told(partition: int = 0, **more: Any) -> Told:
    given = {"offset": 20, "position": 20, "heard_ms": NOW, "rules": OLD, "needs": (), **more}
    return Told(Pulse(partition=partition, **given), NOW)


@pytest.mark.parametrize(
    ("pulse", "state", "why"),
    [
        ({"rules": NEW}, "taken", ""),
        ({"coming": NEW}, "begun", ""),
        ({"refused": NEW, "why": "too late"}, "refused", "too late"),
        ({"why": f"{NEW[:16]}: damaged"}, "refused", f"{NEW[:16]}: damaged"),
        ({"refused": OTHER, "why": "too late", "offset": 5}, "not yet", ""),
        ({}, "refused", "the topic letters has the reason"),
        ({"stands": "x", "offset": 5}, "not yet", "the partition stands: x"),
        ({"rules": ""}, "not yet", ""),
    ],
)
def test_what_a_partition_made_of_rules(pulse: dict[str, Any], state: Any, why: str) -> None:
    assert answer("rules", put(NEW), told(**pulse)) == Answer(state, why)


def test_a_worker_that_tells_nothing_of_registries_says_neither_yes_nor_no() -> None:
    assert answer("registry", put(NEW), told()).state == "not yet"
    assert answer("registry", put(NEW), told(registry=NEW)).state == "taken"
    assert answer("registry", put(NEW), told(registry=OLD)).state == "refused"
    assert answer("registry", put(NEW), None).state == "not yet"


def test_rules_go_everywhere_at_one_time_and_at_once_where_there_were_none() -> None:
    published = {("rules", 0): put(OLD), ("rules", 1): put(NEW)}
    plan = plan_rules(NEW, published, {}, 3, NOW, 5_000)
    assert plan.todo == {0: NOW + 5_000, 2: None}
    assert (plan.unchanged, plan.earlier) == ((1,), {})


def test_a_publisher_that_was_cut_short_is_carried_on_at_its_time() -> None:
    meant = NOW + 3_000
    published = {
        ("rules", PLAN): put(NEW, meant), ("rules", 0): put(NEW, meant), ("rules", 1): put(OLD),
    }  # fmt: skip
    plan = plan_rules(NEW, published, {}, 2, NOW, 5_000)
    assert (plan.todo, plan.earlier) == ({1: meant}, {})
    # Its time can't be met any more: that there are two is said.
    late_ms = meant - SOON_MS + 1
    plan = plan_rules(NEW, published, {}, 2, late_ms, 5_000)
    assert (plan.todo, plan.earlier) == ({1: late_ms + 5_000}, {0: meant})
    # The plan was for other rules.
    other = plan_rules(OTHER, published, {}, 2, NOW, 5_000)
    assert set(other.todo.values()) == {NOW + 5_000}


def test_what_was_refused_is_put_there_again() -> None:
    published = {("rules", 0): put(NEW, NOW - 9_000), ("rules", 1): put(NEW, NOW - 9_000)}
    heard = {0: told(0, rules=NEW), 1: told(1, refused=NEW, why="too late")}
    plan = plan_rules(NEW, published, heard, 2, NOW, 5_000)
    assert plan.todo == {1: NOW + 5_000}
    assert plan.earlier == {0: NOW - 9_000}


def found(published: dict[tuple[str, int], Published], *heard: Told, age_ms: int) -> list[str]:
    return needless(
        [OLD, NEW, OTHER], lambda _: NOW - age_ms, published,
        {one.pulse.partition: one for one in heard}, partitions=2, now_ms=NOW, kept_ms=7 * DAY_MS,
    )  # fmt: skip


def test_what_nobody_can_want_again_is_needless_and_nothing_else() -> None:
    published = {("rules", PLAN): put(NEW), ("rules", 0): put(NEW), ("rules", 1): put(NEW)}
    zero, one = told(0, rules=NEW, needs=(NEW,)), told(1, rules=NEW, needs=(NEW, OTHER))
    assert found(published, zero, one, age_ms=8 * DAY_MS) == [OLD]
    # The log may still hold records that name it.
    assert found(published, zero, one, age_ms=6 * DAY_MS) == []
    # One doesn't say, or hasn't come so far.
    assert found(published, zero, age_ms=8 * DAY_MS) == []
    silent = replace(one, pulse=msgspec.structs.replace(one.pulse, needs=None))
    assert found(published, zero, silent, age_ms=8 * DAY_MS) == []
    behind = replace(one, pulse=msgspec.structs.replace(one.pulse, rules=OLD, offset=9))
    assert found(published, zero, behind, age_ms=8 * DAY_MS) == []
    unplaced = published | {("rules", 1): put(OTHER, offset=-1)}
    assert found(unplaced, zero, one, age_ms=8 * DAY_MS) == []


def test_who_is_waited_for() -> None:
    heard = {0: told(0), 1: Told(told(1).pulse, NOW - LIVE_MS - 1)}
    assert live(heard, NOW) == {0}
