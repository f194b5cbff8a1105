"""Sensors that say somebody is there while nobody is: they prove nothing and hide nobody.

A simulated home that has been known for a month; from a collapse on nobody moves any more. Alarms
are exact: which, and within which hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.inactivity import rhythm
from detectors.inactivity.alarms import Cause, Episodes
from detectors.inactivity.health import Trust
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HomeState
from detectors.inactivity.state import SENSOR, new_columns
from detectors.training.homes import SimulatedHome
from rules.zones import zone
from tests.detectors.inactivity.lives import (
    DAY,
    HOUR,
    MINUTE,
    Rows,
    Told,
    cut,
    layout_of,
    local,
    operator_of,
    rows,
    run,
    unlike_a_clock,
)

Known = Callable[[], tuple[InactivityOperator, Rows]]
BEDROOM, LIVING, KITCHEN, BATH, DOOR, HUB = range(6)
SECOND = 1000


def joined(*parts: Rows) -> Rows:
    sensor, ts, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ts, kind="stable")
    return sensor[order], ts[order], value[order]


def beats(sensor: int, first_ms: int, last_ms: int, every_ms: int, jitter_ms: int = 0) -> Rows:
    at = np.arange(first_ms, last_ms, every_ms)
    if jitter_ms:
        at = at + np.random.default_rng(sensor).integers(0, jitter_ms, len(at))
    return rows((sensor, int(one), 1.0) for one in at)


def noise(sensor: int, first_ms: int, last_ms: int, every_ms: int) -> Rows:
    """At random, about so often."""
    gaps = np.random.default_rng(sensor).exponential(every_ms, (last_ms - first_ms) // every_ms * 2)
    at = first_ms + np.cumsum(gaps).astype(np.int64)
    return rows((sensor, int(one), 1.0) for one in at[at < last_ms])


def bounces(sensor: int, first_ms: int, last_ms: int) -> Rows:
    """A contact: open for ten seconds of each minute."""
    found = []
    for at in range(first_ms, last_ms, MINUTE):
        found += [(sensor, at, 1.0), (sensor, at + 10 * SECOND, 0.0)]
    return rows(found)


def after_a_fall(
    home: SimulatedHome, known: Known, mad: Sequence[Rows], *, hours: float = 24
) -> tuple[InactivityOperator, Told, int]:
    """Somebody falls at ten in the morning of day 33."""
    operator, rest = known()
    fallen = local(home, 33, 10)
    lived = cut(rest, (rest[1] < fallen) | (rest[0] == HUB))
    told = run(operator, joined(lived, *mad), fallen + round(hours * HOUR), Episodes(1))
    return operator, told, fallen


def delays(told: Told, fallen: int) -> list[tuple[Cause, float]]:
    return [(c.cause, (c.at_ms - fallen) / HOUR) for c in told.changes if c.at_ms > fallen]


@pytest.fixture(scope="module")
def silent(home: SimulatedHome, month: bytes) -> float:
    """Hours until somebody is called when all sensors are well."""
    operator = operator_of(layout_of(home))
    operator.restore(month)
    rest = cut((home.sensor, home.ts_ms, home.value), home.ts_ms >= local(home, 32, 0))
    _, told, fallen = after_a_fall(home, lambda: (operator, rest), ())
    assert [cause for cause, _ in delays(told, fallen)] == [Cause.CALL, Cause.VISIT]
    return delays(told, fallen)[0][1]


@pytest.mark.parametrize(
    ("sensor", "made", "trust"),
    [
        (LIVING, lambda a, b: beats(LIVING, a, b, MINUTE), Trust.CHATTERING),
        (LIVING, lambda a, b: beats(LIVING, a, b, 10 * MINUTE, 40 * SECOND), Trust.CHATTERING),
        (KITCHEN, lambda a, b: beats(KITCHEN, a, b, 2 * SECOND), Trust.CHATTERING),
        (BEDROOM, lambda a, b: noise(BEDROOM, a, b, 5 * MINUTE), Trust.STUCK),
    ],
    ids=["each-minute", "each-ten-minutes", "faster-than-a-hand", "at-random"],
)
def test_one_chattering_sensor_hides_a_collapse_for_hours_at_most(
    sensor: int,
    made: Callable[[int, int], Rows],
    trust: Trust,
    home: SimulatedHome,
    known: Known,
    silent: float,
) -> None:
    fallen = local(home, 33, 10)
    operator, told, _ = after_a_fall(home, known, [made(fallen, fallen + DAY)])
    assert operator.state.sensor["trust"][sensor] == trust
    found = delays(told, fallen)
    if trust is Trust.STUCK:
        # Only time tells it from a person: ten hours, and then it is late enough for a visit.
        assert [cause for cause, _ in found] == [Cause.VISIT]
        assert 10 <= found[0][1] <= 11
    else:
        # What the sensor alone used to see is missing: that makes a silence less surprising.
        assert [cause for cause, _ in found] == [Cause.CALL, Cause.VISIT]
        assert silent - 0.5 <= found[0][1] <= 10.5
    assert (operator.state.sensor["trust"] != Trust.DEAD).all()
    assert told.scores[-1].minutes[0] == pytest.approx(24 * 60, abs=20)


def test_two_chattering_sensors_hide_nobody(home: SimulatedHome, known: Known) -> None:
    fallen = local(home, 33, 10)
    until = fallen + 25 * HOUR
    mad = [
        beats(LIVING, fallen, until, MINUTE),
        beats(KITCHEN, fallen + 7 * SECOND, until, 3 * MINUTE, 5 * SECOND),
    ]
    operator, told, _ = after_a_fall(home, known, mad, hours=25)
    assert operator.state.sensor["trust"][[LIVING, KITCHEN]].tolist() == [Trust.CHATTERING] * 2
    found = delays(told, fallen)
    # They saw four fifths of what happens here: a call comes late, the ceiling to the minute.
    assert [cause for cause, _ in found] == [Cause.CALL, Cause.CEILING]
    assert found[0][1] == pytest.approx(21.5, abs=1)
    assert found[1][1] == pytest.approx(24, abs=0.1)


def test_what_ends_to_chatter_ends_no_alarm_and_is_believed_again(
    home: SimulatedHome, known: Known
) -> None:
    """It began an hour before the fall and ends six hours after it; on the next day somebody comes,
    and it sees them."""
    fallen = local(home, 33, 10)
    help_comes = fallen + DAY
    mad = beats(LIVING, fallen - HOUR, fallen + 6 * HOUR, 30 * SECOND)
    helped = rows((LIVING, help_comes + k * MINUTE, 1.0) for k in unlike_a_clock(0, 60, 4, 1))
    operator, told, _ = after_a_fall(home, known, [mad, helped], hours=25)
    found = delays(told, fallen)
    assert [cause for cause, _ in found] == [Cause.CALL, Cause.VISIT, Cause.NONE]
    assert found[1][1] < 24 <= found[2][1]
    assert operator.state.sensor["trust"][LIVING] == Trust.GOOD


def test_a_chattering_sensor_in_a_lived_in_home_rings_nothing(
    home: SimulatedHome, known: Known
) -> None:
    """For four days one sensor is mad; people go on living, and are believed by what else they do.
    Nothing rings when it is over either: nothing of it was learnt."""
    operator, rest = known()
    begins, ends = local(home, 33, 0), local(home, 37, 0)
    mad = beats(KITCHEN, begins, ends, 45 * SECOND)
    lived = cut(rest, rest[1] < local(home, 40, 0))
    told = run(operator, joined(lived, mad), local(home, 40, 0), Episodes(1))
    assert told.causes(begins) == []
    assert operator.state.sensor["trust"][KITCHEN] == Trust.GOOD


def test_a_front_door_that_chatters_leaves_nobody_away(
    home: SimulatedHome, known: Known, silent: float
) -> None:
    fallen = local(home, 33, 10)
    operator, told, _ = after_a_fall(home, known, [bounces(DOOR, fallen + MINUTE, fallen + DAY)])
    assert operator.state.sensor["trust"][DOOR] == Trust.CHATTERING
    found = delays(told, fallen)
    assert [cause for cause, _ in found] == [Cause.CALL, Cause.VISIT]
    assert found[0][1] == pytest.approx(silent, abs=0.5)
    assert told.scores[-1].state[0] != HomeState.AWAY


def test_chattering_in_bursts_proves_nothing_that_was_before_them(
    home: SimulatedHome, known: Known
) -> None:
    """Two hours of it, four of rest, and again: it is believed anew each time, and found out."""
    fallen = local(home, 33, 10)
    mad = [
        beats(LIVING, fallen + k * 6 * HOUR, fallen + (k * 6 + 2) * HOUR, MINUTE) for k in (0, 1)
    ]
    _, told, _ = after_a_fall(home, known, mad, hours=14)
    found = delays(told, fallen)
    assert found[0][0] is Cause.CALL
    assert found[0][1] <= 10.5
    assert told.scores[-1].minutes[0] == pytest.approx(14 * 60, abs=20)


def test_a_sensor_that_repeats_itself_while_somebody_sits_there_is_believed() -> None:
    """It says so each half minute, two hours each evening: the second time that is its custom."""
    layout = Layout.of(
        {"h": zone("Asia/Shanghai").info},
        [("h", name, Kind.MOTION, Room.LIVING, Role.PERSON) for name in ("sits", "walks")],
    )
    first = 1_704_038_400_000
    found = []
    for day in range(4):
        walk = first + day * DAY + 7 * HOUR
        found += [(1, walk + k * MINUTE, 1.0) for k in unlike_a_clock(0, 840, 9, day)]
        sits = first + day * DAY + 19 * HOUR
        found += [(0, sits + k * 30 * SECOND, 1.0) for k in range(240 - 20 * (day % 2))]
    operator = operator_of(layout)
    trust = operator.state.sensor["trust"]
    run(operator, rows(found), first + 20 * HOUR + 30 * MINUTE, Episodes(1))
    assert trust[0] == Trust.CHATTERING
    for day in (1, 2, 3):
        run(operator, rows([]), first + day * DAY + 20 * HOUR + 55 * MINUTE, Episodes(1))
        assert trust[0] == Trust.GOOD, day


def plain(gains: list[int], begin: int) -> list[int]:
    found = []
    for one in gains:
        begin = max(0, begin + one)
        found.append(begin)
    return found


@given(
    st.lists(
        st.tuples(st.integers(0, 24), st.lists(st.sampled_from([1, -2, -100_000]), min_size=1)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=100, deadline=None)
def test_sums_without_a_loop_are_those_with_one(groups: list[tuple[int, list[int]]]) -> None:
    gain = np.array([one for _, gains in groups for one in gains], np.int64)
    place = np.repeat(np.arange(len(groups)), [len(gains) for _, gains in groups])
    head = np.flatnonzero(np.diff(place, prepend=-1))
    begin = np.array([begin for begin, _ in groups], np.int64)
    found = rhythm._sums(gain, place, head, begin)
    assert found.tolist() == [v for begin, gains in groups for v in plain(gains, begin)]


def test_rows_that_come_late_or_twice_are_no_rhythm() -> None:
    sensor = new_columns(SENSOR, 1)
    good, shown_ms = np.array([True]), np.zeros(1, np.int64)
    ts = np.arange(1, 200) * np.int64(MINUTE)
    who = np.zeros(len(ts), np.int32)
    assert rhythm.note(sensor, who, ts, good=good, shown_ms=shown_ms).tolist() == [0]
    again = new_columns(SENSOR, 1)
    for one in (ts[::-1][:1], ts[:50], np.repeat(ts[-1:], 50)):
        assert rhythm.note(again, who[: len(one)], one, good=good, shown_ms=shown_ms).tolist() == []
