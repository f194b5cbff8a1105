"""Windows and ages, example by example; random ones are in test_derived_differential."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.batch import Flag
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.rulebook import Term
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    Device,
    Mark,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)


def run(runner: type[Whole], rule: str, rows: list[tuple[float, float]]) -> list[tuple[float, str]]:
    """What a mark after every reading reveals."""
    engine = runner(
        ruleset(f"id: efire.r, on: {{family: efire}}, {rule}"), directory_of([Device("efire")])
    )
    cut: list[Row | str] = []
    for at_s, value in rows:
        cut += [row(at_s, value), "mark"]
    return short(engine.run(admitted([*cut, "end"], [0])))


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("rule", "rows", "want"),
    [
        pytest.param(
            "when: 'count(residual_current, 25s) >= 3'",
            [(0, 1), (10, 1), (20, 1)],
            [(20, "raised")],
            id="count-needs-no-whole-window-and-leaving-never-clears",
        ),
        pytest.param(
            "when: 'count(residual_current, 25s) < 2'",
            [(0, 1), (10, 1), (20, 1), (30, 1)],
            [(45, "raised")],
            id="too-few-is-found-by-time",
        ),
        pytest.param(
            "when: 'avg(residual_current, 20s) > 5 mA', for: 5s",
            [(0, 1), (10, 1), (20, 8), (30, 8), (40, 2), (50, 2)],
            [(35, "raised"), (40, "cleared")],
            id="avg",
        ),
        pytest.param(
            "when: 'age(residual_current) > 10s'",
            [(0, 1), (10, 1), (15, 1), (40, 1)],
            [(10, "raised"), (10, "cleared"), (25, "raised"), (40, "cleared"), (50, "raised")],
            id="age-ends-with-the-next-reading",
        ),
        pytest.param(
            "when: 'age(residual_current) < 10s'",
            [(0, 1), (30, 1)],
            [(0, "raised")],
            id="growing-old-ends-nothing-by-itself",
        ),
        pytest.param(
            "when: 'max(residual_current, 10s) < 5 mA and count(residual_current, 10s) < 1'",
            [(0, 4), (20, 4)],
            [],
            id="what-time-empties-is-known-no-more",
        ),
        pytest.param(
            "when: 'avg(residual_current, 10s) < 5 mA and residual_current > 5 mA'",
            [(0, 1), (10, 1), (15, 1), (20, 30), (30, 30)],
            [],
            id="a-reading-and-its-average-are-seen-together",
        ),
        pytest.param(
            "when: 'rate(residual_current, 20s) >= 30 mA/min'",
            [(0, 0), (10, 2), (20, 8), (30, 12)],
            [(30, "raised")],
            id="rate-from-the-value-in-force",
        ),
        pytest.param(
            "when: 'changes(residual_current, 20s) > 1', "
            "clear: 'changes(residual_current, 20s) < 1'",
            [(0, 1), (5, 2), (10, 1), (20, 1), (31, 1), (40, 1)],
            [(10, "raised"), (31, "cleared")],
            id="changes",
        ),
        pytest.param(
            "when: 'min(residual_current, 20s) > 4 mA', missing: unknown after 15s",
            [(0, 5), (10, 6), (20, 5), (50, 5)],
            [(20, "raised"), (35, "unknown"), (50, "known"), (65, "unknown")],
            id="ticks-are-no-sign-of-data",
        ),
    ],
)
def test_what_rings_when(
    runner: type[Whole], rule: str, rows: list[tuple[float, float]], want: list[tuple[float, str]]
) -> None:
    assert run(runner, rule, rows) == want


def many(rows: int) -> Whole:
    """Readings a millisecond apart, handed over at one mark a thousand."""
    rule = "id: efire.r, on: {family: efire}, when: 'count(residual_current, 1m) > 10001'"
    sums = "id: efire.s, on: {family: efire}, when: 'sum(residual_current, 1m) > 1 mA'"
    engine = Whole(ruleset(rule, sums), directory_of([Device("efire")]))
    for start in range(0, rows, 1_000):
        listed = tuple(row(at / 1000, 0) for at in range(start, min(start + 1_000, rows)))
        assert engine.run([Mark(listed, (listed[-1].ts, 0), start, start)]) == []
    return engine


def test_a_window_has_an_end_and_says_when_readings_left_early() -> None:
    assert many(10_000).engine.counts()["windows.left_early"] == 0
    engine = many(12_500)
    assert engine.engine.counts()["windows.left_early"] == 2_500


@pytest.mark.parametrize(("function", "least"), [("max", 16), ("avg", 24), ("changes", 20)])
def test_what_a_kept_reading_costs(function: str, least: int) -> None:
    """Its columns, and at most half as much for room to grow."""
    rule = f"id: efire.r, on: {{family: efire}}, when: '{function}(residual_current, 100s) > 1'"
    rule = rule.replace("> 1'", "> 1 mA'" if function != "changes" else "> 1'")
    engine = Whole(ruleset(rule), directory_of([Device("efire")] * 50))
    bare = engine.engine.state_bytes()
    for at_s in range(300):
        listed = tuple(row(at_s, 0, device=device) for device in range(50))
        engine.run([Mark(listed, (listed[-1].ts, 0), at_s, at_s)])
    kept = 50 * 101
    grown = engine.engine.state_bytes() - bare
    assert least * kept < grown < least * 1.5 * kept + 52 * 50 * 1.5


def test_values_too_great_are_counted() -> None:
    engine = many(1)
    engine.run([Mark((row(1, 1e9), row(2, 1e300)), (row(2, 0).ts, 0), 1, 1)])
    assert engine.engine.counts()["windows.misfits"] == 2


def test_a_longer_window_keeps_the_history_and_waits_for_the_rest() -> None:
    def rule(window: str) -> str:
        return f"id: efire.r, on: {{family: efire}}, when: 'avg(residual_current, {window}) > 5 mA'"

    devices = directory_of([Device("efire")])
    before = Whole(ruleset(rule("10s")), devices)
    listed = tuple(row(at, 8) for at in range(0, 31, 5))
    assert short(before.run([Mark(listed, (listed[-1].ts, 0), 1, 1)])) == [(10, "raised")]

    after = Whole(ruleset(rule("20s")), devices)
    after.engine.restore(before.engine.snapshot())
    low = tuple(row(at, 0) for at in (35, 40, 45))
    assert short(after.run([Mark(low, (low[-1].ts, 0), 2, 2)])) == []


def test_what_marks_want_and_wait_for() -> None:
    engine = Whole(
        ruleset("id: efire.r, on: {family: efire}, when: 'count(residual_current, 10s) < 2'"),
        directory_of([Device("efire")]),
    )
    wanted = engine.engine.wanted_quantities()
    assert np.flatnonzero(wanted).tolist() == [QUANTITY_INDEX["residual_current"]]
    assert engine.engine.next_ms() is None
    engine.run([Mark((row(0, 1), row(3, 1)), (row(3, 0).ts, 0), 1, 1)])
    assert engine.engine.next_ms() == row(10, 0).ts
    engine.run([Mark((), (row(10, 0).ts, 0), 2, 2)])
    assert engine.engine.next_ms() == row(13, 0).ts
    engine.run([Mark((), (row(13, 0).ts, 0), 3, 3)])
    assert engine.engine.next_ms() is None


def test_history_that_was_let_go_is_not_taken_for_none() -> None:
    """The reading at 3 s has gone by the time that the one at 10 s comes."""
    engine = Whole(
        ruleset("id: efire.r, on: {family: efire}, when: 'max(residual_current, 10s) < 5 mA'"),
        directory_of([Device("efire")]),
    )
    old = int(Flag.HISTORICAL)
    for step, said in enumerate(([(0, 9), (3, 9), (20, 9), (40, 9)], [(-5, 9), (10, 1)]), 1):
        rows = tuple(row(at_s, value, flags=old) for at_s, value in said)
        assert engine.run([Mark(rows, (row(50, 0).ts, 0), step, step)]) == []


def test_devices_that_come_later_have_windows_too() -> None:
    devices = directory_of([Device("efire")])
    engine = Whole(
        ruleset("id: efire.r, on: {family: efire}, when: 'count(residual_current, 10s) >= 2'"),
        devices,
    )
    assert engine.run([Mark((row(0, 1),), (row(0, 1).ts, 0), 1, 1)]) == []
    late = devices.intern_device("dev-late", "efire", 0)
    listed = (row(3, 1, device=late), row(4, 1, device=late))
    assert short(engine.run([Mark(listed, (listed[-1].ts, 0), 2, 2)])) == [(4, "raised")]


def test_an_alert_names_what_was_asked() -> None:
    rules = ruleset("id: efire.r, on: {family: efire}, when: 'count(residual_current, 10s) > 1'")
    assert rules.cards[0].terms == (Term("count(residual_current, 10s)", "1", "residual_current"),)
    engine = Whole(rules, directory_of([Device("efire")]))
    (told,) = engine.run(admitted([row(0, 1), row(1, 1), "end"], [0]))
    assert (told.quantity, told.value, told.threshold) == (len(QUANTITIES), 2, 1)
