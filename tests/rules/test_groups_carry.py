"""What becomes of groups when the rules or the registry change."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.transitions import Change
from rules.engine import RuleEngine
from tests.rules.naive import Row
from tests.rules.scene import T0, Device, S, Whole, admitted, directory_of, ruleset
from tests.rules.test_groups import GATEWAYS, GRID, Watch, fire, smoke, two
from tests.rules.test_switch import RUNNERS, Changing


def said(changing: Whole, log: list[Row | str]) -> list[tuple[float, str, int]]:
    """(seconds, change, rule row)."""
    found: list[tuple[float, str, int]] = []
    changing.seen = lambda batch: found.extend(
        ((at - T0) / S, Change(change).name.lower(), rule)
        for at, change, rule in zip(
            batch.at_ms.tolist(), batch.change.tolist(), batch.rule.tolist(), strict=True
        )
    )
    # Marks until the change is over by the log's own time, and then some.
    changing.run(admitted([*log, *["mark"] * 60, "end", "end"], GATEWAYS))
    return found


DEVICES = [smoke("1"), smoke("1", 1), smoke("1"), smoke("2"), smoke("1")]
OLD = 1
"""Row of the old rule behind the one new rule, while rules change."""


@pytest.mark.parametrize("runner", RUNNERS)
class TestRulesThatChange:
    """From three devices to two, at second 50; gateway 1 gets there later than gateway 0."""

    def changing(self, runner: type[Changing], extra: str = "") -> Changing:
        old = two(extra, "devices(fire != 0) >= 3")
        return runner(old, two(extra), 50, DEVICES)

    def test_counts_go_on(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [
            fire(10, 0),
            fire(20, 1, 0),
            "mark",
            fire(60, 2),
            "mark",
            fire(61, 1, 0),
        ]
        assert said(self.changing(runner), log) == [(60, "raised", 0)]

    def test_a_running_for_ends_at_the_change_at_the_earliest(self, runner: type[Changing]) -> None:
        old, new = two(", for: 60s"), two(", for: 10s")
        log: list[Row | str] = [fire(10, 0), fire(20, 1), "mark", fire(70, 0), fire(71, 1)]
        assert said(runner(old, new, 50, DEVICES), log) == [(50, "raised", 0)]

    def test_what_is_open_stays_open(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [
            fire(1, 0), fire(2, 1), fire(3, 2), fire(30, 0), fire(30, 1), "mark", fire(60, 1),
            fire(70, 0, 0), "mark", fire(80, 1, 0), "mark",
        ]  # fmt: skip
        assert said(self.changing(runner), log) == [(3, "raised", OLD), (80, "cleared", 0)]

    def test_nothing_is_said_of_what_comes_after_while_one_gateway_lags(
        self, runner: type[Changing]
    ) -> None:
        log: list[Row | str] = [
            fire(1, 1, 0), fire(60, 0), fire(61, 2), "mark", fire(100, 0, 0), "mark",
            fire(20, 1, 0), "mark", fire(90, 1),
        ]  # fmt: skip
        assert said(self.changing(runner), log) == [(61, "raised", 0)]


def test_a_changed_question_starts_anew_and_a_changed_number_goes_on() -> None:
    devices = [Device("efire", 0, {"building": "1"}, GRID) for _ in range(3)]
    directory = directory_of(devices)

    def rule(when: str) -> str:
        return f'id: efire.g, on: {{family: efire}}, group: building, when: "{when}"'

    def became(after: str, before: str = "devices(residual_current > 500 mA) >= 2") -> str:
        engine = RuleEngine(ruleset(rule(before)), directory)
        successor = RuleEngine(ruleset(rule(after)), directory)
        successor.restore(engine.snapshot())
        return successor.carried[0].outcome

    assert became("devices(residual_current > 500 mA) >= 2") == "kept"
    assert became("devices(residual_current > 400 mA) >= 3") == "migrated"
    assert became("devices(voltage > 400 V) >= 2") == "reset"
    assert became("devices(residual_current > 500 mA) >= 2 and any(voltage > 1 V)") == "reset"


def test_open_alerts_are_judged_anew_by_the_new_registry() -> None:
    rules = two()
    watch = Watch(Whole, rules, DEVICES)
    watch.runner.run(
        admitted([fire(10, 0), fire(11, 1), fire(19, 0), fire(19, 1), "mark"], GATEWAYS)
    )
    assert [one.change for one in watch.said] == ["raised"]
    blob = watch.runner.engine.snapshot()

    moved = Watch(Whole, rules, [smoke("1"), smoke("2", 1), *DEVICES[2:]])
    moved.runner.engine.restore(blob)
    again = moved.runner.engine.snapshot()
    moved.runner.engine.restore(again)
    moved.runner.run(admitted([fire(20, 2, 0), fire(20, 1), "mark"], GATEWAYS))

    assert [(one.change, one.breached, one.devices) for one in moved.said] == [("cleared", 1, (0,))]


def test_a_device_gone_from_the_registry_leaves_the_count() -> None:
    rules = two()
    watch = Watch(Whole, rules, DEVICES)
    watch.runner.run(admitted([fire(1, 0), fire(2, 1), fire(9, 0), fire(9, 1), "mark"], GATEWAYS))
    assert [one.change for one in watch.said] == ["raised"]
    fewer = Watch(Whole, rules, DEVICES[1:])
    remap = np.array([-1, 0, 1, 2, 3], np.int32)
    fewer.runner.engine.restore(watch.runner.engine.snapshot(), remap)

    fewer.runner.run(admitted([fire(20, 1, 0), fire(20, 0), "mark"], GATEWAYS[1:]))

    assert [(one.change, one.breached, one.devices) for one in fewer.said] == [("cleared", 1, (0,))]


def test_a_reset_lets_a_group_raise_anew() -> None:
    rules = two(", latched: true")
    watch = Watch(Whole, rules, DEVICES)
    watch.runner.run(admitted([fire(1, 0), fire(2, 1), fire(9, 0), fire(9, 1), "mark"], GATEWAYS))
    group = watch.directory.groups.row_of[f"group:building:{GRID}/1"]

    watch.runner.engine.reset(0, group)
    watch.runner.run(admitted([fire(20, 2), fire(30, 0), fire(30, 1), "mark"], GATEWAYS))

    assert [(one.at, one.change, one.breached) for one in watch.said] == [
        (2, "raised", 2),
        (20, "raised", 3),
    ]
