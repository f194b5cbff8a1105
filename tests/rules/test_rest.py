"""Rows that say nothing new rest, and what is told stays the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.quantities import QUANTITY_INDEX
from rules.expr.check import checked
from rules.expr.evaluate import judge
from rules.pieces import Pieces
from tests.rules.naive import Row
from tests.rules.scene import Device, Whole, admitted, batch_of, directory_of, row, ruleset, short
from tests.rules.test_calm import Values, conditions

HOT = "id: efire.hot, on: {family: efire}, when: cable_temperature >= 60 degC"
LOST = f"{HOT}, clear: cable_temperature < 50 degC, missing: unknown after 20s"
BOTH = (
    "id: efire.both, on: {family: efire}, "
    "when: residual_current >= 300 mA and cable_temperature >= 60 degC"
)
TEMPERATURE = QUANTITY_INDEX["temperature"]


@settings(deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), st.lists(st.floats(), min_size=2))
def test_values_of_one_piece_mean_the_same(texts: list[str], values: list[float]) -> None:
    plans = [checked(text) for text in texts]
    pieces = Pieces.of(plans, TEMPERATURE)
    values += [-5, 0, 60, 70, 70.5, np.inf, np.nan]
    number = pieces.of_values(np.array(values)).tolist()
    for plan in plans:
        true, false = judge(plan, Values(*values))
        answers: dict[int, tuple[bool, bool]] = {}
        for piece, answer in zip(
            number, zip(true.tolist(), false.tolist(), strict=True), strict=True
        ):
            assert answers.setdefault(piece, answer) == answer, (texts, values)


def test_what_is_computed_with_has_no_pieces() -> None:
    twice, other = checked("residual_current * 2 > 6 mA"), checked("cable_temperature > 5 degC")
    assert Pieces.of([twice, other], QUANTITY_INDEX["residual_current"]).exact
    assert not Pieces.of([twice, other], QUANTITY_INDEX["cable_temperature"]).exact


def started(text: str, *rows: Row) -> Whole:
    run = Whole(ruleset(text), directory_of([Device("efire")] * 2))
    run.run(admitted([*rows, "mark"], [0, 0]))
    return run


def hot(at_s: float, value: float, flags: int = 0) -> Row:
    return row(at_s, value, "cable_temperature", flags=flags)


def wakes(run: Whole, *rows: Row, timed: bool = False) -> bool:
    """Whether the rows must be looked at."""
    parts = run.engine._parts
    rest = parts.rest_timed if timed else parts.rest_instant
    found = rest.wake(batch_of(rows), parts.active, parts.restless).rows
    return found is None or len(found) > 0


@pytest.mark.parametrize("timed", [False, True])
def test_rows_that_agree_with_an_instance_rest(timed: bool) -> None:
    text = f"{HOT}, for: 100s" if timed else HOT
    run = started(text, hot(0, 70), row(9, 5))
    assert not wakes(run, hot(10, 80), row(11, 5), timed=timed)
    assert wakes(run, hot(12, 20), timed=timed)
    assert wakes(run, hot(12, 80, flags=int(Flag.BAD)), timed=timed)
    assert wakes(run, hot(-5, 80), timed=timed)
    assert wakes(run, hot(12, math.nan), timed=timed)


def test_an_instance_over_several_quantities_wants_every_row() -> None:
    run = started(BOTH, hot(0, 20), row(1, 400))
    assert not wakes(run, hot(2, 30), row(3, 500))
    assert wakes(run, hot(4, 70))
    run = started(BOTH, hot(0, 70), row(1, 400))
    assert wakes(run, hot(2, 71))


def test_a_row_that_was_older_than_its_instance_does_not_stand() -> None:
    text = f"{HOT}, clear: cable_temperature < 50 degC"
    run = Whole(ruleset(text), directory_of([Device("efire")]))
    said: list[Row | str] = [hot(10, 70), "mark", hot(5, 20), hot(12, 20)]
    assert short(run.run(admitted(said, [0]))) == [(10, "raised"), (12, "cleared")]


def test_resting_rows_show_that_there_is_data() -> None:
    run = Whole(ruleset(LOST), directory_of([Device("efire")]))
    said: list[Row | str] = []
    for at in range(0, 60, 10):
        said += [hot(at, 70), row(at, 5), "mark"]
    told = run.run(admitted([*said, row(100, 5), "mark", hot(101, 70)], [0]))
    assert short(told) == [(0, "raised"), (70, "unknown"), (101, "known")]


def test_a_rule_without_pieces_is_asked_about_every_other_value() -> None:
    run = started(BOTH.replace("300 mA", "voltage * 1 mA / 1 V"), hot(0, 70), row(1, 20))
    assert not wakes(run, hot(2, 71), row(3, 20))
    assert wakes(run, row(4, 21))
