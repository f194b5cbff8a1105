"""Groups that count only inside a schedule."""

from __future__ import annotations

import pytest

from contracts.transitions import Change, TransitionBatch
from rules import RuleSet, RulesInvalid
from rules.zones import zone
from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, T0, S, Whole, admitted, directory_of, row, ruleset
from tests.rules.test_groups import GATEWAYS, smoke

DEVICES = [smoke("1"), smoke("1", 1), smoke("1"), smoke("2")]
BEGIN = 100
"""Seconds from T0; the schedule lasts 100 s."""


def clock(at_s: int) -> str:
    return f"{zone('Asia/Shanghai').at(T0 + at_s * S):%H:%M}"


def rules(more: str = "", when: str = "devices(fault != 0) >= 2") -> RuleSet:
    return ruleset(
        f"id: smoke.night, on: {{family: smoke}}, group: building, when: '{when}', "
        f"during: {{hours: '{clock(FIRST)}-{clock(LAST)}'}}{more}"
    )


# Whole minutes by the clock: T0 is 40 s after one.
FIRST, LAST = 20 + 60, 20 + 60 * 5


def fault(at_s: float, device: int, value: float = 1) -> Row:
    return row(at_s, value, "fault", device)


def said(runner: type[Whole], rule: RuleSet, log: list[Row | str]) -> list[tuple[float, str, int]]:
    """(seconds, change, devices that count)."""
    found: list[tuple[float, str, int]] = []

    def note(batch: TransitionBatch) -> None:
        for i in range(len(batch)):
            assert batch.groups is not None
            at_s = (int(batch.at_ms[i]) - T0) / S
            change = Change(batch.change[i]).name.lower()
            found.append((at_s, change, int(batch.groups.breached[i])))

    engine = runner(rule, directory_of(DEVICES))
    engine.seen = note
    engine.run(admitted([*log, "mark"], GATEWAYS))
    return found


def beats(first: int, last: int, *devices: int) -> list[Row | str]:
    """Both gateways go on, with readings that no question asks for."""
    log: list[Row | str] = []
    for at in range(first, last, 10):
        log += [row(at, -50, "rssi", device) for device in devices] + ["mark"]
    return log


@pytest.mark.parametrize("runner", RUNNERS)
class TestDuring:
    def test_it_begins_and_ends_with_the_schedule(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [fault(0, 0), fault(5, 1), "mark", *beats(10, 400, 0, 1)]
        assert said(runner, rules(), log) == [(FIRST, "raised", 2), (LAST, "cleared", 0)]

    def test_for_runs_from_its_beginning(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [fault(0, 0), fault(5, 1), "mark", *beats(10, 400, 0, 1)]
        assert said(runner, rules(", for: 30s"), log) == [
            (FIRST + 30, "raised", 2),
            (LAST, "cleared", 0),
        ]

    def test_inside_it_counts_as_always(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [
            *beats(0, 90, 0, 1), fault(100, 0), fault(110, 1), "mark", *beats(120, 140, 0, 1),
            fault(150, 1, 0), "mark", *beats(160, 180, 0, 1), fault(400, 1), "mark",
        ]  # fmt: skip
        assert said(runner, rules(), log) == [(110, "raised", 2), (150, "cleared", 1)]

    def test_a_clear_of_its_own_may_come_after_the_end(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [fault(0, 0), fault(5, 1), "mark", *beats(10, 400, 0, 1)]
        log += [fault(410, 0, 0), fault(410, 1, 0), "mark", *beats(420, 440, 0, 1)]
        clear = ", clear: 'devices(fault != 0) < 1'"
        assert said(runner, rules(clear), log) == [(FIRST, "raised", 2), (410, "cleared", 0)]

    def test_what_is_lost_when_it_begins_raises_nothing(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [fault(0, 0), fault(5, 1), "mark", *beats(10, 130, 0, 1)]
        log += [fault(140, 0), fault(145, 1), "mark", *beats(150, 170, 0, 1)]
        assert said(runner, rules(", missing: unknown after 60s"), log) == [(145, "raised", 2)]

    def test_what_is_lost_inside_is_unknown_and_over_at_the_end(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [*beats(0, 90, 0, 1), fault(100, 0), fault(105, 1), "mark"]
        log += beats(110, 400, 0, 1)
        assert said(runner, rules(", missing: unknown after 60s"), log) == [
            (105, "raised", 2),
            (160, "unknown", 1),
            (LAST, "known", 0),
            (LAST, "cleared", 0),
        ]


@pytest.mark.parametrize(
    "when", ["devices(online == 1) < 2", "not any(fault != 0)", "share(fault != 0) < 0.5"]
)
def test_what_is_true_of_no_device_has_no_during(when: str) -> None:
    with pytest.raises(RulesInvalid, match="outside of its hours no device counts"):
        rules(when=when)


def test_a_changed_schedule_is_another_hash_and_the_same_question() -> None:
    early, late = (
        rules(),
        ruleset(
            "id: smoke.night, on: {family: smoke}, group: building, "
            "when: 'devices(fault != 0) >= 2', during: {hours: '01:00-02:00'}"
        ),
    )
    assert early.cards[0].hash != late.cards[0].hash
    assert early.rules[0].shape == late.rules[0].shape
