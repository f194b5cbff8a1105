"""What becomes of groups when the rules or the registry change."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.transitions import Change
from rules.engine import RuleEngine
from tests.rules.naive import Row
from tests.rules.scene import T0, Device, S, Whole, admitted, directory_of, row, ruleset
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


def registry_change(
    rule: str, before: list[Device], after: list[Device], *log: Row | str
) -> list[tuple[float, str, float]]:
    """(seconds, change, count) of what is said behind "registry" in the log."""
    at = log.index("registry")
    gateways = [device.gateway for device in before]
    first = Watch(Whole, ruleset(rule), before)
    steps = admitted([*log[:at], *log[at + 1 :]], gateways)
    known = len(admitted(log[:at], gateways))
    first.runner.run(steps[:known])
    then = Watch(Whole, ruleset(rule), after)
    then.runner.engine.restore(first.runner.engine.snapshot())
    blob = then.runner.engine.snapshot()
    then.runner.engine.restore(blob)
    assert then.runner.engine.snapshot() == blob
    then.runner.run(steps[known:])
    return [(one.at, one.change, one.value) for one in then.said]


NOWHERE = Device("smoke", 0, {"floor": "1"}, GRID)
TWO = 'id: smoke.two, on: {family: smoke}, group: building, when: "devices(fire != 0) >= 2"'
ALL = 'id: smoke.all, on: {family: smoke}, group: building, when: "all(fire != 0)"'
SAFETY = ", class: safety"


def other(at_s: float) -> Row:
    """Lets the gateway's time go on."""
    return row(at_s, 1, "tamper", 0)


@pytest.mark.parametrize("extra", ["", SAFETY, ", missing: unknown after 10m"])
@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        pytest.param(TWO, [smoke("1"), NOWHERE], [smoke("1"), smoke("1")], id="gets-a-building"),
        pytest.param(TWO, [smoke("1"), smoke("2")], [smoke("1"), smoke("1")], id="moves"),
        pytest.param(
            ALL,
            [smoke("1"), smoke("1"), smoke("1")],
            [smoke("1"), smoke("1"), NOWHERE],
            id="the-silent-one-leaves",
        ),
    ],
)
def test_a_registry_that_makes_the_count_raises_though_nobody_says_anything_new(
    rule: str, extra: str, before: list[Device], after: list[Device]
) -> None:
    said = registry_change(
        rule + extra, before, after,
        fire(0, 0), fire(1, 1), other(5), "mark", "registry",
        fire(20, 0), fire(21, 1), other(25), "mark", fire(40, 0), fire(41, 1), other(45), "mark",
    )  # fmt: skip
    assert said == [(23, "raised", 2)]


def test_a_device_that_gets_a_building_counts_when_another_joins_it() -> None:
    said = registry_change(
        TWO + SAFETY, [smoke("1"), NOWHERE], [smoke("1"), smoke("1")],
        fire(0, 0, 0), fire(1, 1), other(5), "mark", "registry", other(9), "mark",
        fire(20, 0), other(25), "mark",
    )  # fmt: skip
    assert said == [(20, "raised", 2)]


def test_a_changed_group_is_judged_at_the_time_of_its_slowest_gateway() -> None:
    said = registry_change(
        TWO, [smoke("1"), smoke("2", 1)], [smoke("1"), smoke("1", 1)],
        fire(0, 0), other(9), fire(1, 1), fire(6, 1), "mark", "registry", fire(30, 1), "mark",
    )  # fmt: skip
    assert said == [(7, "raised", 2)]


def test_a_lower_count_raises_by_what_the_devices_have_said() -> None:
    log: list[Row | str] = [
        fire(1, 0), fire(2, 1), "mark", fire(60, 0), fire(60, 1), "mark", fire(70, 0), fire(70, 1),
    ]  # fmt: skip
    changing = Changing(two("", "devices(fire != 0) >= 3"), two(), 50, DEVICES)
    ((at, change, rule),) = said(changing, log)
    assert (change, rule) == ("raised", 0)
    assert 50 <= at <= 70


def test_state_that_knew_only_grouped_devices_is_filled_in_from_their_answers() -> None:
    """As snapshots were before devices without a group were counted."""
    first = Watch(Whole, ruleset(TWO), [smoke("1"), NOWHERE])
    first.runner.run(admitted([fire(0, 0), fire(1, 1), other(5), "mark"], [0, 0]))
    saved = msgspec.msgpack.decode(first.runner.engine.snapshot())
    del saved["groups"]["grounds"]
    device, known = saved["groups"]["known"][0]
    device[1], known[1] = device[1][:4], known[1][:1]
    then = Watch(Whole, ruleset(TWO), [smoke("1"), smoke("1")])
    then.runner.engine.restore(msgspec.msgpack.encode(saved))
    then.runner.run(admitted([other(9), "mark"], [0, 0]))
    assert [(one.change, one.breached) for one in then.said] == [("raised", 2)]


def watched(buildings: list[str]) -> list[Device]:
    """The last two behind another gateway."""
    places = [{"building": name} if name else {"floor": "1"} for name in buildings]
    return [Device("smoke", int(i > 2), place, GRID) for i, place in enumerate(places)]


@st.composite
def quiet_logs(draw: st.DrawFn) -> list[Row | str]:
    """Everyone speaks first; nothing is late."""
    log: list[Row | str] = []
    for quantity in ("fire", "tamper"):
        log += [row(0, draw(st.integers(0, 1)), quantity, device) for device in range(5)]
    for at in range(1, draw(st.integers(4, 16))):
        device, quantity = draw(st.integers(0, 4)), draw(st.sampled_from(["fire", "tamper"]))
        log.append(row(10 * at, draw(st.integers(0, 1)), quantity, device))
        log += ["mark"] * draw(st.integers(0, 1))
    return [*log, "mark"]


COUNTS = ["devices({}) >= 2", "all({})", "share({}) > 0.5", "devices({}) < 2", "any({})"]
PLACES = st.lists(st.sampled_from(["1", "1", "2", ""]), min_size=5, max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.sampled_from(COUNTS), min_size=2, max_size=3),
    extra=st.sampled_from(["", SAFETY, ", for: 10s", ", clear_for: 10s"]),
    log=quiet_logs(),
    places=st.tuples(PLACES, PLACES, PLACES),
    cuts=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_after_changes_of_the_registry_what_is_open_is_what_it_always_would_have(
    counts: list[str],
    extra: str,
    log: list[Row | str],
    places: tuple[list[str], list[str], list[str]],
    cuts: tuple[int, int],
) -> None:
    """Several rules of the same quantities side by side, two changes under them."""
    asked = ["fire != 0", "fire != 0 and tamper != 0", "tamper != 0"]
    rules = ruleset(
        *(
            f"id: smoke.g{i}, on: {{family: smoke}}, group: building{extra}, "
            f'when: "{count.format(asked[0 if extra == SAFETY else i])}"'
            for i, count in enumerate(counts)
        )
    )
    quiet = [row(at, 20, "temperature", device) for at in (500, 900) for device in (0, 4)]
    tail: list[Row | str] = [*quiet[:2], "mark", *quiet[2:], "mark"]
    steps = admitted([*log, *tail], [0, 0, 0, 1, 1])
    first, second = sorted(min(cut, len(steps) - 4) for cut in cuts)
    parts = steps[:first], steps[first:second], steps[second:]
    blob = None
    for buildings, part in zip(places, parts, strict=True):
        moved = Whole(rules, directory_of(watched(buildings)))
        if blob is not None:
            moved.engine.restore(blob)
        moved.run(part)
        blob = moved.engine.snapshot()
    always = Whole(rules, directory_of(watched(places[-1])))
    always.run(steps)
    assert open_groups(moved) == open_groups(always)


def open_groups(runner: Whole) -> set[tuple[int, str]]:
    groups = runner.directory.groups
    return {
        (rule, groups.ids[group])
        for rule in range(len(runner.rules.cards))
        for group in range(len(groups))
        if runner.engine.is_active(rule, group, 0)
    }


def asks(when: str, extra: str = "") -> str:
    return f'id: smoke.hot, on: {{family: smoke}}, group: building, when: "{when}"{extra}'


def hot(at_s: float, device: int, value: float) -> Row:
    return row(at_s, value, "temperature", device)


def limit_change(old: str, new: str, *log: Row | str) -> list[tuple[float, str, float]]:
    """(seconds, change, count) of what is said behind "rules" in the log."""
    devices = [smoke("1"), smoke("1"), smoke("1")]
    at = log.index("rules")
    steps = admitted([*log[:at], *log[at + 1 :]], [0, 0, 0])
    known = len(admitted(log[:at], [0, 0, 0]))
    first = Watch(Whole, ruleset(old), devices)
    first.runner.run(steps[:known])
    then = Watch(Whole, ruleset(new), devices)
    then.runner.engine.restore(first.runner.engine.snapshot())
    blob = then.runner.engine.snapshot()
    then.runner.engine.restore(blob)
    assert then.runner.engine.snapshot() == blob
    then.runner.run(steps[known:])
    return [(one.at, one.change, one.value) for one in then.said]


MOST = "devices(temperature > {} degC) >= 3"


@pytest.mark.parametrize("extra", ["", ", class: safety", ", missing: unknown after 10m"])
@pytest.mark.parametrize(
    ("old", "new", "before", "after", "want"),
    [
        pytest.param(MOST.format(25), MOST.format(50), [30, 30, 10], [(20, 2, 60)], [],
                     id="answers-below-the-new-limit-do-not-count"),
        pytest.param(MOST.format(25), MOST.format(50), [60, 60, 10],
                     [(20, 2, 60), (21, 0, 60), (22, 1, 60)], [(22, "raised", 3)],
                     id="they-count-once-said-again"),
        pytest.param(MOST.format(50), MOST.format(25), [60, 60, 10], [(20, 2, 30)],
                     [(20, "raised", 3)], id="what-is-sure-goes-on"),
        pytest.param(MOST.format(25), MOST.format(50), [60, 60, 60], [(20, 2, 60), (30, 0, 40)],
                     [(30, "cleared", 1)], id="what-is-open-waits-for-an-answer"),
        pytest.param(MOST.format(25), MOST.replace(">", "<", 1).format(1), [30, 30, 10],
                     [(20, 2, 0)], [], id="turned-round"),
        pytest.param(MOST.format(25), "devices(temperature > 25 degC) >= 2", [30, 30, 10], [],
                     [(23, "raised", 2)], id="another-count"),
    ],
)  # fmt: skip
def test_a_changed_limit_counts_what_is_known_of_it(
    old: str,
    new: str,
    extra: str,
    before: list[float],
    after: list[tuple[float, int, float]],
    want: list[tuple[float, str, float]],
) -> None:
    said = limit_change(
        asks(old, extra), asks(new, extra),
        *(hot(0, device, value) for device, value in enumerate(before)), other(5), "mark", "rules",
        *(hot(*one) for one in after), other(25), "mark", other(60), "mark",
    )  # fmt: skip
    assert said == want


def test_a_running_for_of_answers_to_the_old_limit_begins_anew() -> None:
    said = limit_change(
        asks(MOST.format(25), ", for: 60s"), asks(MOST.format(50), ", for: 60s"),
        hot(0, 0, 60), hot(0, 1, 60), hot(0, 2, 30), other(5), "mark", "rules",
        other(90), "mark", hot(100, 0, 60), hot(100, 1, 60), hot(100, 2, 60), other(200), "mark",
    )  # fmt: skip
    assert said == [(160, "raised", 3)]


@settings(max_examples=30, deadline=None)
@given(
    limits=st.tuples(*[st.lists(st.sampled_from([5, 10, 20]), min_size=2, max_size=2)] * 2),
    ways=st.lists(st.sampled_from([">", ">=", "<", "!="]), min_size=2, max_size=2),
    counts=st.lists(st.sampled_from(COUNTS), min_size=2, max_size=2),
    extra=st.sampled_from(["", ", for: 10s", ", clear_for: 10s"]),
    values=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 5, 10, 15, 30])), max_size=9),
    cut=st.integers(1, 9),
)
def test_when_all_have_spoken_under_new_limits_what_is_open_is_what_always_would_have_been(
    limits: tuple[list[int], list[int]],
    ways: list[str],
    counts: list[str],
    extra: str,
    values: list[tuple[int, float]],
    cut: int,
) -> None:
    """Two rules of the same quantity side by side."""
    before, after = (
        ruleset(
            *(
                f"id: smoke.g{i}, on: {{family: smoke}}, group: building{extra}, "
                f'when: "{count.format(f"temperature {way} {limit} degC")}"'
                for i, (count, way, limit) in enumerate(zip(counts, ways, some, strict=True))
            )
        )
        for some in limits
    )
    newest = dict.fromkeys(range(5), 10.0)
    log: list[Row | str] = [hot(0, device, value) for device, value in newest.items()]
    for nth, (device, value) in enumerate(values, 1):
        log += [hot(10 * nth, device, value), "mark"]
        newest[device] = value
    log += [row(150, 1, "tamper", device) for device in (0, 4)] + ["mark"]
    log += [hot(200, device, value) for device, value in newest.items()]
    log += [row(at, 1, "tamper", device) for at in (500, 900) for device in (0, 4)]
    log[-2:-2] = ["mark"]
    steps = admitted([*log, "mark"], [0, 0, 0, 1, 1])
    first = Whole(before, directory_of(watched(["1"] * 5)))
    known = min(cut, len(values)) * 2
    first.run(steps[:known])
    then = Whole(after, directory_of(watched(["1"] * 5)))
    then.engine.restore(first.engine.snapshot())
    then.run(steps[known:])
    always = Whole(after, directory_of(watched(["1"] * 5)))
    always.run(steps)
    assert open_groups(then) == open_groups(always)
