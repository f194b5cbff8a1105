"""Groups whose alert rises and falls, and groups that flap; a restart in the middle of each."""

from __future__ import annotations

import pytest

from contracts.transitions import Change, TransitionBatch
from rules import RuleSet, compile_rules
from rules.lint import lint
from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, T0, S, Whole, admitted, directory_of, row, ruleset
from tests.rules.test_groups import GATEWAYS, smoke

DEVICES = [smoke("1"), smoke("1", 1), smoke("1"), smoke("2")]

SPREADS = (
    "id: smoke.fault_spreads, on: {family: smoke}, group: building, levels: ["
    "{name: warn, severity: 3, when: devices(fault != 0) >= 1, for: 10s}, "
    "{name: alarm, severity: 2, when: devices(fault != 0) >= 2, clear: devices(fault != 0) < 2}]"
)
FLAPS = (
    "id: smoke.faults, on: {family: smoke}, group: building, when: any(fault != 0), "
    "severity: 3, flapping: {raises: 3, within: 1m, for: 20s}"
)


def fault(at_s: float, device: int, value: float = 1) -> Row:
    return row(at_s, value, "fault", device)


def said(
    runner: type[Whole], rules: RuleSet, log: list[Row | str]
) -> list[tuple[float, str, int, float, float, tuple[int, ...], int]]:
    """(seconds, change, severity, count, limit, devices, seconds to wait from now on)."""
    found = []

    def note(batch: TransitionBatch) -> None:
        groups = batch.groups
        for i in range(len(batch)):
            assert groups is not None
            members = groups.members[i]
            found.append(
                (
                    (int(batch.at_ms[i]) - T0) / S,
                    Change(batch.change[i]).name.lower(),
                    int(batch.severity[i]),
                    float(batch.value[i]),
                    float(batch.threshold[i]),
                    tuple(members[members >= 0].tolist()),
                    int(batch.flapping_ms[i]) // S,
                )
            )

    engine = runner(rules, directory_of(DEVICES))
    engine.seen = note
    engine.run(admitted([*log, "mark", "end"], GATEWAYS))
    return found


@pytest.mark.parametrize("runner", RUNNERS)
class TestLevels:
    def test_one_alert_rises_and_falls(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [
            fault(0, 0), "mark", fault(20, 1), "mark", fault(30, 0, 0), "mark", fault(40, 1, 0),
        ]  # fmt: skip
        assert said(runner, ruleset(SPREADS), log) == [
            (10, "raised", 3, 1, 1, (0,), 0),
            (20, "level", 2, 2, 2, (0, 1), 0),
            (30, "level", 3, 1, 1, (1,), 0),
            (40, "cleared", 3, 0, 1, (), 0),
        ]

    def test_two_at_once_are_one_alert_at_the_more_severe(self, runner: type[Whole]) -> None:
        log: list[Row | str] = [fault(0, 0), fault(0, 1), "mark", fault(50, 0, 0), fault(50, 1, 0)]
        assert said(runner, ruleset(SPREADS), log) == [
            (0, "raised", 2, 2, 2, (0, 1), 0),
            (50, "cleared", 2, 1, 2, (), 0),
        ]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_group_that_flaps_must_hold_for_longer(runner: type[Whole]) -> None:
    log: list[Row | str] = []
    for at in (0, 10, 20, 30):
        log += [fault(at, 0), fault(at + 5, 0, 0), "mark"]
    log += [fault(50, 1), fault(60, 0), fault(65, 0, 0), "mark"]
    assert said(runner, ruleset(FLAPS), log) == [
        (0, "raised", 0, 1, 1, (0,), 0),
        (5, "cleared", 0, 0, 1, (), 0),
        (10, "raised", 0, 1, 1, (0,), 0),
        (15, "cleared", 0, 0, 1, (), 0),
        (20, "raised", 0, 1, 1, (0,), 20),
        (25, "cleared", 0, 0, 1, (), 0),
        # At 30 it would have to hold up to 50; another device's fault of 50 s holds up to 70.
        (70, "raised", 0, 1, 1, (1,), 20),
    ]


def test_a_changed_level_keeps_the_open_alert_and_its_onset() -> None:
    directory = directory_of(DEVICES)
    old = Whole(ruleset(SPREADS), directory)
    log: list[Row | str] = [
        fault(0, 0),
        fault(20, 1),
        "mark",
        fault(30, 0, 0),
        fault(33, 3),
        "mark",
    ]
    steps = admitted(log, GATEWAYS)
    old.run(steps)
    new = Whole(ruleset(SPREADS.replace("for: 10s", "for: 20s")), directory)
    new.engine.restore(old.engine.snapshot())
    assert [one.outcome for one in new.engine.carried] == ["migrated"]
    told = new.run(admitted([*log, fault(40, 1, 0), "end"], GATEWAYS)[len(steps) :])
    first = next(one for one in told if one.change == Change.CLEARED)
    assert (first.onset, first.at) == (T0, T0 + 40 * S)


def test_levels_of_groups_are_linted() -> None:
    wrong = SPREADS.replace(">= 1, for: 10s", ">= 3")
    found = [str(one) for one in lint(ruleset(wrong)) if "before" in str(one)]
    assert found == [
        "test.yml:2: smoke.fault_spreads.levels.warn.when: warn can't be met before alarm; "
        "mend: put the least severe limit first, or give it a shorter for"
    ]


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("missing: raise after 1h", "a group isn't silent, its devices are"),
        ("debounce: 2 of 3", "debounce follows the readings of one device, a group has none"),
        ("late: fire", "old readings are no evidence for groups"),
    ],
)
def test_what_has_no_meaning_for_a_group_is_refused(extra: str, problem: str) -> None:
    text = f"rules:\n  - {{title: {{zh: 题, en: t}}, {FLAPS}, {extra}}}\n"
    with pytest.raises(Exception, match=problem):
        compile_rules({"test.yml": text})
