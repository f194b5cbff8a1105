"""`absent(...)`: silence is raised at its own time, and ends with any reading."""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from contracts.quantities import QUANTITY_INDEX
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    T0,
    Device,
    Mark,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
    short,
)

OFFLINE = "id: smoke.offline, on: {family: smoke}, when: absent(24h)"
H = 3600


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def beat(at_s: float, flags: int = 0) -> Row:
    return row(at_s, 22.0, "temperature", 0, flags)


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param([beat(0), "end"], [(24 * H, "raised")], id="silent"),
        pytest.param(
            [beat(0), beat(24 * H), "mark", beat(48 * H - 1), "mark"],
            [(24 * H, "raised"), (24 * H, "cleared")],
            id="exactly",
        ),
        pytest.param(
            [beat(0), beat(30 * H), "mark", beat(31 * H), "end"],
            [(24 * H, "raised"), (30 * H, "cleared"), (55 * H, "raised")],
            id="back-and-silent-again",
        ),
        pytest.param(
            [beat(0), beat(20 * H, Flag.BAD | Flag.HISTORICAL), "mark", beat(40 * H), "mark"],
            [],
            id="any-reading-is-life",
        ),
    ],
)
def test_absent(
    runner: type[Whole], records: list[Row | str], want: list[tuple[float, str]]
) -> None:
    engine = runner(ruleset(OFFLINE), directory_of([Device("smoke")]))
    assert short(engine.run(admitted(records, [0]))) == want


def test_a_device_that_never_spoke_counts_from_the_first_mark(runner: type[Whole]) -> None:
    engine = runner(ruleset(OFFLINE), directory_of([Device("smoke"), Device("smoke", 1)]))
    marks = [Mark((), (T0 + at_s * 1000, -(10**15)), at_s) for at_s in (1, 24 * H, 24 * H + 1)]

    told = engine.run(marks)

    assert [(t.device, t.at - T0) for t in told] == [(0, (24 * H + 1) * 1000)]


def test_a_reset_does_not_bring_the_same_silence_back(runner: type[Whole]) -> None:
    engine = runner(ruleset(OFFLINE), directory_of([Device("smoke")]))
    engine.run(admitted([beat(0), "end"], [0]))
    engine.engine.reset(0, 0)
    assert engine.run([Mark((), (T0 + 10**10, 0), 9)]) == []


def test_life_is_wanted_from_every_quantity_of_the_family(runner: type[Whole]) -> None:
    wanted = runner(ruleset(OFFLINE), directory_of([])).engine.wanted_quantities()
    assert wanted[QUANTITY_INDEX["fire"]]
    assert wanted[QUANTITY_INDEX["battery"]]
    assert not wanted[QUANTITY_INDEX["static_pressure"]]
