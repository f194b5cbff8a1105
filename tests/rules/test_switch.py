"""Rules that change at an event time: what each reading meets, and what lives on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from contracts.operator import Operator
from rules import RuleSet
from rules.engine import RuleEngine
from rules.switch import Switch
from tests.rules.naive import Naive, Row, Told
from tests.rules.naive_switch import NaiveSwitch
from tests.rules.scene import T0, Device, Mark, S, Step, Whole, admitted, directory_of, row, ruleset
from tests.rules.test_differential import DEVICES, GATEWAYS, logs, written_rule

HIGH = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA, for: 60s"
NOW = "id: efire.now, on: {family: efire}, when: residual_current >= 500 mA"
OFF = "id: efire.off, on: {family: efire}, when: absent(5m)"


class Changing(Whole):
    """Rules change from `old` to `new` before step number `begin`."""

    def __init__(
        self, old: RuleSet, new: RuleSet, at_s: float, devices: Sequence[Device], begin: int = 0
    ) -> None:
        super().__init__(old, directory_of(devices))
        self.new, self.begin = new, begin
        self.at_ms = T0 + round(at_s * S)
        self.switch: Switch | None = None
        self.number = 0

    def step(self, step: Step) -> list[Told]:
        if self.number == self.begin:
            self.switch = Switch(self.engine, self.new, self.directory, self.at_ms)
            self.engine = self.switch  # type: ignore[assignment]  # another operator
        self.number += 1
        found = super().step(step)
        self._settle()
        return found

    def _settle(self) -> None:
        if self.switch is not None and self.switch.done:
            self.engine, self.switch = self.switch.new, None


class ChangingOneByOne(Changing):
    def _rows(self, rows: list[Row]) -> list[Told]:
        return [told for one in rows for told in super(ChangingOneByOne, self)._rows([one])]


class ChangingForgetful(ChangingOneByOne):
    """Keeps nothing but the snapshot: everything is rebuilt after every row and every mark."""

    def _rows(self, rows: list[Row]) -> list[Told]:
        found = []
        for one in rows:
            found += super()._rows([one])
            self._rebuild()
        return found

    def _settle(self) -> None:
        super()._settle()
        self._rebuild()

    def _rebuild(self) -> None:
        before: Operator = self.engine
        blob = before.snapshot()
        if isinstance(before, Switch):
            old = RuleEngine(self.rules, self.directory)
            self.switch = Switch(old, self.new, self.directory, self.at_ms)
            self.engine = self.switch  # type: ignore[assignment]
        else:
            self.engine = RuleEngine(before.ruleset, self.directory)  # type: ignore[attr-defined]
        self.engine.restore(blob)
        assert self.engine.snapshot() == blob


RUNNERS = [Changing, ChangingOneByOne, ChangingForgetful]


def told(
    runner: type[Changing],
    old: str | list[str],
    new: str | list[str],
    at_s: float,
    log: list[Row | str],
    devices: Sequence[Device] = (Device("efire"),),
) -> list[tuple[float, str, str]]:
    """(seconds, change, rule), "old" or "new" before the rule's name."""
    before, after = (ruleset(*([r] if isinstance(r, str) else r)) for r in (old, new))
    changing = runner(before, after, at_s, devices)
    names = [f"new {c.id}" for c in after.cards] + [f"old {c.id}" for c in before.cards]
    changes = ["", "raised", "again", "cleared", "unknown", "known"]
    steps = admitted([*log, "mark", "end"], [device.gateway for device in devices])
    return [((t.at - T0) / S, changes[t.change], names[t.rule]) for t in changing.run(steps)]


@pytest.mark.parametrize("runner", RUNNERS)
class TestExactly:
    def test_a_running_for_is_kept(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [row(0, 600), row(20, 600), "mark", row(40, 600), row(80, 600)]
        assert told(runner, HIGH, [HIGH, NOW], 30, log) == [
            (40, "raised", "new efire.now"),
            (60, "raised", "new efire.high"),
        ]

    def test_a_deadline_before_the_change_is_the_old_rules(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [row(0, 600), row(20, 600), "mark", row(70, 600), row(80, 100)]
        changed = HIGH.replace("60s", "90s")
        assert told(runner, HIGH, changed, 65, log) == [
            (60, "raised", "old efire.high"),
            (80, "cleared", "new efire.high"),
        ]

    def test_a_changed_threshold_in_the_middle_of_for(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [row(0, 600), "mark", row(29.999, 600), row(30, 600), row(70, 600)]
        changed = HIGH.replace("500", "700")
        assert told(runner, HIGH, HIGH.replace("500", "400"), 30, log) == [
            (60, "raised", "new efire.high")
        ]
        # The reading at the very moment meets the new limit.
        assert told(runner, HIGH, changed, 30, log) == []
        assert told(runner, HIGH, changed, 60.001, log) == [
            (60, "raised", "old efire.high"),
            (70, "cleared", "new efire.high"),
        ]

    def test_a_duration_that_is_over_by_the_new_numbers_ends_at_the_change(
        self, runner: type[Changing]
    ) -> None:
        log: list[Row | str] = [row(0, 600), "mark", row(40, 600), "mark"]
        assert told(runner, HIGH, HIGH.replace("60s", "10s"), 35, log) == [
            (35, "raised", "new efire.high")
        ]

    def test_a_silence_that_is_too_long_by_the_new_numbers_begins_at_the_change(
        self, runner: type[Changing]
    ) -> None:
        log: list[Row | str] = [row(0, 1), "mark", row(200, 1, device=1), "mark"]
        devices = [Device("efire"), Device("smoke")]
        shorter = OFF.replace("5m", "1m")
        found = told(runner, OFF, shorter, 100, log, devices)
        assert (100, "raised", "new efire.off") in found

    def test_a_rule_that_asks_something_else_starts_anew(self, runner: type[Changing]) -> None:
        log: list[Row | str] = [row(0, 600), "mark", row(40, 600), row(70, 600), row(99, 600)]
        found = told(runner, HIGH, HIGH + ", class: safety", 35, log)
        assert found == [(100, "raised", "new efire.high")]

    def test_instant_rules_change_with_the_first_reading(self, runner: type[Changing]) -> None:
        """Before any watermark gets there, and each device for itself."""
        log: list[Row | str] = [
            row(1, 600),
            row(10, 600),
            row(9, 600, device=1),
            row(10, 450, device=1),
        ]
        changed = NOW.replace("500", "400")
        devices = [Device("efire"), Device("efire")]
        assert told(runner, NOW, changed, 10, log, devices) == [
            (1, "raised", "old efire.now"),
            (9, "raised", "old efire.now"),
        ]
        tighter = NOW.replace("500", "700")
        assert told(runner, NOW, tighter, 10, log, devices) == [
            (1, "raised", "old efire.now"),
            (10, "cleared", "new efire.now"),
            (9, "raised", "old efire.now"),
            (10, "cleared", "new efire.now"),
        ]

    def test_gateways_pass_one_by_one(self, runner: type[Changing]) -> None:
        devices = [Device("efire", 0), Device("efire", 1)]
        log: list[Row | str] = [
            row(0, 600),
            row(0, 600, device=1),
            "mark",
            # The first gateway is far ahead; the other one still brings what is before the change.
            row(100, 600),
            "mark",
            row(20, 100, device=1),
            "mark",
            row(29, 600, device=1),
            row(100, 600, device=1),
            "mark",
        ]
        longer = HIGH.replace("60s", "70s")
        assert told(runner, HIGH, longer, 30, log, devices) == [
            (70, "raised", "new efire.high"),
            (99, "raised", "new efire.high"),
        ]


def test_the_report_says_what_became_of_each_rule() -> None:
    directory = directory_of([Device("efire", 0, {"zone": "a"}), Device("efire", 0, {"zone": "b"})])
    old = ruleset(HIGH, NOW, OFF)
    selected = HIGH.replace("{family: efire}", "{family: efire, zone: a}")
    switch = Switch(RuleEngine(old, directory), ruleset(selected, NOW), directory, T0 + 30 * S)
    whole = Whole(old, directory)
    whole.engine = switch  # type: ignore[assignment]
    whole.run(admitted([row(0, 600), row(0, 600, device=1), "mark", "end"], [0, 0]))
    assert {one.rule: (one.outcome, one.left) for one in switch.report} == {
        "efire.high": ("migrated", 1),
        "efire.now": ("kept", 0),
        "efire.off": ("reset", 0),
    }


def test_a_reset_finds_the_device_where_it_is() -> None:
    directory = directory_of([Device("efire"), Device("efire", 1)])
    latched = NOW + ", latched: true"
    whole = Changing(ruleset(latched), ruleset(latched.replace("500", "400")), 10, [])
    whole.directory = directory
    whole.engine = RuleEngine(whole.rules, directory)
    rows = [row(1, 600), row(10, 600), row(1, 600, device=1)]
    assert len(whole.run(admitted(list(rows), [0, 1]))) == 2
    assert whole.switch is not None
    for device in (0, 1):
        whole.switch.reset(0, device)
    again = whole.run([[row(11, 600), row(2, 600, device=1)]])
    assert [(t.rule, t.device) for t in again] == [(1, 1), (0, 0)] or [
        (t.rule, t.device) for t in again
    ] == [(0, 0), (1, 1)]


@st.composite
def changes(draw: st.DrawFn) -> tuple[RuleSet, RuleSet]:
    """Two rule sets: rules stay, change, go and come."""
    old = [draw(written_rule(number)) for number in range(draw(st.integers(1, 3)))]
    new = []
    for number, text in enumerate(old):
        fate = draw(st.sampled_from(["stays", "stays", "numbers", "other", "goes"]))
        if fate == "stays":
            new.append(text)
        elif fate == "numbers":
            new.append(text.replace("5 mA", "4 mA").replace("10s", "20s").replace("25s", "8s"))
        elif fate == "other":
            new.append(draw(written_rule(number)))
    if draw(st.booleans()) or not new:
        new.append(draw(written_rule(len(old))))
    return ruleset(*old), ruleset(*new)


@pytest.mark.parametrize("runner", RUNNERS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(change=changes(), log=logs(), at_s=st.floats(0, 200), begin=st.integers(0, 12))
def test_a_change_equals_the_plain_reference(
    runner: type[Changing],
    change: tuple[RuleSet, RuleSet],
    log: list[Row | str],
    at_s: float,
    begin: int,
) -> None:
    old, new = change
    steps = admitted(log, GATEWAYS)
    changing = runner(old, new, at_s, DEVICES, begin)
    reached = [max(s.watermarks) for s in steps[:begin] if isinstance(s, Mark)]
    assume(begin < len(steps) and max(reached, default=0) < changing.at_ms - 1)

    def naive(rules: RuleSet) -> Naive:
        families = [device.family for device in DEVICES]
        return Naive(rules, families, GATEWAYS, [device.attributes for device in DEVICES])

    before = naive(old)
    plain: Naive | NaiveSwitch = before
    for number, step in enumerate(steps):
        if number == begin:
            plain = NaiveSwitch(before, naive(new), changing.at_ms)
            plain.remember(steps[:begin])
        if isinstance(step, Mark):
            want = plain.on_time(list(step.rows), list(step.watermarks), step.position, step.heard)
        else:
            want = plain.on_rows(step)
        assert changing.step(step) == want
