"""Snapshots under the same rules, changed rules and another registry."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from rules.carry import SnapshotInvalid
from rules.engine import RuleEngine
from tests.rules.naive import Row
from tests.rules.scene import (
    T0,
    Device,
    Mark,
    S,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)

HIGH = "id: efire.high, on: {family: efire}, when: residual_current >= 500 mA, for: 60s"
OFF = "id: efire.off, on: {family: efire}, when: absent(1h)"


def carried(old: str, new: str, records: list[Row | str]) -> tuple[Whole, dict[str, str]]:
    before = Whole(ruleset(old), directory_of([Device("efire")]))
    before.run(admitted(records, [0]))
    after = Whole(ruleset(new), directory_of([Device("efire")]))
    after.engine.restore(before.engine.snapshot())
    return after, {c.rule: c.outcome for c in after.engine.carried}


START: list[Row | str] = [row(0, 600), row(20, 600), "mark"]


def end(runner: Whole) -> list[tuple[float, str]]:
    return short(runner.run([Mark((), (1_780_000_000_000 + 10**9, 0), 9, 9)]))


def test_a_restart_in_the_middle_of_for() -> None:
    after, outcome = carried(HIGH, HIGH, START)
    assert outcome == {"efire.high": "kept"}
    assert end(after) == [(60, "raised")]


def test_a_running_duration_survives_a_changed_threshold() -> None:
    changed = HIGH.replace("500", "400").replace("60s", "90s")
    after, outcome = carried(HIGH, changed, START)
    assert outcome == {"efire.high": "migrated"}
    assert end(after) == [(90, "raised")]


@pytest.mark.parametrize(
    ("new", "want"),
    [
        pytest.param(
            HIGH.replace("residual_current >= 500 mA", "cable_temperature >= 70 degC"),
            {"efire.high": "reset"},
            id="another-quantity",
        ),
        pytest.param(f"{HIGH}, class: safety", {"efire.high": "reset"}, id="another-class"),
        pytest.param(HIGH.replace(", for: 60s", ""), {"efire.high": "reset"}, id="instant-now"),
        pytest.param(
            HIGH.replace("efire.high", "efire.higher"),
            {"efire.high": "reset", "efire.higher": "reset"},
            id="renamed",
        ),
    ],
)
def test_another_question_starts_anew(new: str, want: dict[str, str]) -> None:
    after, outcome = carried(HIGH, new, START)
    assert outcome == want
    assert end(after) == []


def test_devices_move_with_the_registry() -> None:
    before = Whole(ruleset(HIGH, OFF), directory_of([Device("efire"), Device("efire", 1)]))
    rows = [row(at_s, 600, device=device) for at_s in (0, 20) for device in (0, 1)]
    before.run(admitted([*rows, "mark"], [0, 1]))
    after = Whole(ruleset(HIGH, OFF), directory_of([Device("smoke"), Device("efire", 1)] * 2))

    after.engine.restore(before.engine.snapshot(), np.array([-1, 3], np.int32))

    told = after.run([Mark((), (1_780_000_000_000 + 10**9,) * 2, 9, 9)])
    high = [t for t in told if t.rule == 0]
    assert [(t.device, t.at - 1_780_000_000_000) for t in high] == [(3, 60_000)]


def test_a_device_that_is_no_longer_selected_leaves() -> None:
    old = ruleset(HIGH)
    new = ruleset(HIGH.replace("{family: efire}", "{family: efire, zone: b}"))
    devices = [Device("efire", 0, {"zone": "a"})]
    before = Whole(old, directory_of(devices))
    before.run(admitted(START, [0]))
    after = Whole(new, directory_of(devices))

    after.engine.restore(before.engine.snapshot())

    (report,) = after.engine.carried
    assert report.outcome == "migrated"
    assert "1 instances left" in report.why
    assert end(after) == []


def test_equal_state_gives_equal_bytes_whatever_came_first() -> None:
    rows = [row(0, 600), row(0, 600, device=1)]
    snapshots = []
    for order in (rows, rows[::-1]):
        runner = Whole(ruleset(HIGH), directory_of([Device("efire")] * 2))
        runner.run([Mark(tuple(order), (1_780_000_000_000, 0), 1, 1)])
        snapshots.append(runner.engine.snapshot())
    assert snapshots[0] == snapshots[1]


@pytest.mark.parametrize("blob", [b"", b"\xc1", b"\x80"])
def test_what_is_no_snapshot_is_refused(blob: bytes) -> None:
    with pytest.raises(SnapshotInvalid):
        RuleEngine(ruleset(HIGH), directory_of([])).restore(blob)


FOR = "id: efire.x, on: {family: efire}, for: 60s, when: "


@pytest.mark.parametrize(
    ("old", "new", "more", "outcome", "want"),
    [
        pytest.param("> 500 mA", "> 900 mA", [], "migrated", [], id="excluded-and-nothing-since"),
        pytest.param("> 500 mA", "> 550 mA", [], "migrated", [(60, "raised", 600)], id="still-in"),
        pytest.param("> 500 mA", "> 900 mA", [row(10, 950)], "migrated", [(70, "raised", None)],
                     id="what-came-since-is-waited-for"),
        pytest.param("> 500 mA", "< 10 mA", [], "reset", [], id="turned-round"),
        pytest.param("> 500 mA", ">= 500 mA", [], "migrated", [(60, "raised", 600)], id="a-shade"),
        pytest.param("> 500 mA", "> attr(rated, mA)", [], "migrated", [], id="by-the-registry"),
    ],
)  # fmt: skip
def test_a_running_for_is_judged_by_the_new_numbers_at_the_change(
    old: str,
    new: str,
    more: list[Row | str],
    outcome: str,
    want: list[tuple[float, str, float | None]],
) -> None:
    devices = [Device("efire", 0, {"rated": "900"})]
    quiet = row(13, 0, "cable_temperature")
    first = Whole(ruleset(f"{FOR}'residual_current {old}'"), directory_of(devices))
    first.run(admitted([row(0, 600), *more, quiet, "mark"], [0]))
    then = Whole(ruleset(f"{FOR}'residual_current {new}'"), directory_of(devices))
    then.engine.restore(first.engine.snapshot())
    told = then.run([Mark((), (T0 + 300 * S, 0), 9, 9)])
    assert [(*one, t.value) for one, t in zip(short(told), told, strict=True)] == want
    assert [one.outcome for one in then.engine.carried] == [outcome]


def test_a_running_for_is_judged_by_a_new_registry() -> None:
    rules = ruleset(f"{FOR}'residual_current > attr(rated, mA)'")
    first = Whole(rules, directory_of([Device("efire", 0, {"rated": "500"})]))
    first.run(admitted([row(0, 600), row(13, 0, "cable_temperature"), "mark"], [0]))
    for rated, want in (("900", []), ("550", [(60, "raised")])):
        then = Whole(rules, directory_of([Device("efire", 0, {"rated": rated})]))
        then.engine.restore(first.engine.snapshot())
        assert short(then.run([Mark((), (T0 + 300 * S, 0), 9, 9)])) == want


def test_shapes_of_before_directions_go_on_as_they_are() -> None:
    rules = ruleset(f"{FOR}residual_current > 500 mA")
    first = Whole(rules, directory_of([Device("efire")]))
    first.run(admitted([row(0, 600), row(13, 0, "cable_temperature"), "mark"], [0]))
    saved = msgspec.msgpack.decode(first.engine.snapshot())
    saved["rules"][0][2] = saved["rules"][0][2].partition(", looks at ")[0]
    then = Whole(rules, directory_of([Device("efire")]))
    then.engine.restore(msgspec.msgpack.encode(saved))
    assert [one.outcome for one in then.engine.carried] == ["kept"]
    assert short(then.run([Mark((), (T0 + 300 * S, 0), 9, 9)])) == [(60, "raised")]
