"""Instant rules: at once, in log order."""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from tests.rules.naive import Row
from tests.rules.scene import RUNNERS, Device, Whole, admitted, directory_of, row, ruleset, short

FIRE = "id: smoke.fire, on: {family: smoke}, when: fire != 0, class: safety, latched: true"
TAMPER = "id: smoke.tamper, on: {family: smoke}, when: tamper != 0"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> type[Whole]:
    chosen: type[Whole] = request.param
    return chosen


def run(runner: type[Whole], rule: str, *records: Row | str) -> list[tuple[float, str]]:
    engine = runner(ruleset(rule), directory_of([Device("smoke")] * 2))
    return short(engine.run(admitted(records, [0, 0])))


def fire(at_s: float, value: float = 1, flags: int = 0) -> Row:
    return row(at_s, value, "fire", 0, flags)


def tamper(at_s: float, value: float = 1, flags: int = 0) -> Row:
    return row(at_s, value, "tamper", 0, flags)


def test_a_bit_raises_and_clears_at_once(runner: type[Whole]) -> None:
    want = [(1, "raised"), (3, "cleared"), (4, "raised")]
    assert run(runner, FIRE, fire(0, 0), fire(1), fire(2), fire(3, 0), fire(4)) == want


def test_readings_a_millisecond_apart(runner: type[Whole]) -> None:
    found = run(runner, FIRE, fire(1), fire(1.001, 0), fire(1.002), fire(1.002, 0), fire(1.001))
    assert found == [(1, "raised"), (1.001, "cleared"), (1.002, "raised"), (1.002, "cleared"),
                     (1.001, "raised")]  # fmt: skip


def test_a_momentary_signal_stays_until_reset(runner: type[Whole]) -> None:
    engine = runner(ruleset(FIRE), directory_of([Device("smoke")]))
    assert short(engine.run(admitted([fire(0), fire(1), "mark", "end"], [0]))) == [(0, "raised")]

    engine.engine.reset(0, 0)

    assert short(engine.run(admitted([fire(9)], [0]))) == [(9, "raised")]


@pytest.mark.parametrize(
    "flags",
    [
        Flag.LATE,
        Flag.HISTORICAL,
        Flag.UNVERIFIED,
        Flag.CLOCK_UNKNOWN,
        Flag.UNREGISTERED,
        Flag.TEST,
        Flag.BAD | Flag.ALARM,
        Flag.STALE,
        ~Flag.ALARM,
    ],
    ids=str,
)
def test_a_safety_signal_always_raises_live(runner: type[Whole], flags: Flag) -> None:
    bits = int(flags) & 0xFFFF
    engine = runner(ruleset(FIRE), directory_of([Device("smoke")]))

    (told,) = engine.run(admitted([fire(0, 1, bits)], [0]))

    assert short([told]) == [(0, "raised")]
    assert told.flags == bits, "annotated"


@pytest.mark.parametrize("at_s", [-1_780_000_000, 2_300_000_000], ids=["1970", "2099"])
def test_a_fire_of_another_age_raises(runner: type[Whole], at_s: float) -> None:
    assert run(runner, FIRE, row(0, 0, "fire"), "mark", fire(at_s)) == [(at_s, "raised")]


def test_a_bad_reading_never_clears(runner: type[Whole]) -> None:
    assert run(runner, FIRE, fire(0), fire(1, 0, Flag.BAD), fire(2, 0, Flag.STALE)) == [
        (0, "raised")
    ]


def test_an_older_reading_may_raise_but_never_clear(runner: type[Whole]) -> None:
    assert run(runner, FIRE, fire(5, 0), fire(3), fire(2, 0)) == [(3, "raised")]
    assert run(runner, TAMPER, tamper(5, 0), tamper(4), tamper(3, 0), tamper(6, 0)) == [
        (4, "raised"),
        (6, "cleared"),
    ]


def test_ordinary_rules_need_good_data(runner: type[Whole]) -> None:
    assert run(runner, TAMPER, tamper(0, 1, Flag.BAD | Flag.ALARM), tamper(1, float("nan"))) == []


def test_clear_for_is_decided_by_time_or_by_what_contradicts(runner: type[Whole]) -> None:
    rule = f"{TAMPER}, clear_for: 10s"
    assert run(runner, rule, tamper(0), tamper(1, 0), tamper(8)) == [(0, "raised")]
    assert run(runner, rule, tamper(0), tamper(1, 0), tamper(12)) == [
        (0, "raised"),
        (11, "cleared"),
        (12, "raised"),
    ]
    assert run(runner, rule, tamper(0), tamper(1, 0), "end") == [(0, "raised"), (11, "cleared")]


def test_several_quantities_take_the_newest_of_each(runner: type[Whole]) -> None:
    rule = (
        "id: elevator.call, on: {family: elevator}, class: safety, "
        "when: fault_code == 90 and car_moving == 0"
    )
    engine = runner(ruleset(rule), directory_of([Device("elevator")]))
    records = [
        row(5, 0, "car_moving"),
        row(3, 1, "car_moving"),  # Older than what is known.
        row(6, 90, "fault_code"),
    ]
    assert short(engine.run(admitted(records, [0]))) == [(6, "raised")]
