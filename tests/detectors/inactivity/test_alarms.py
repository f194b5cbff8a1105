"""A home that is known for a month, and what happens to it. All of it is simulated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.inactivity.alarms import Cause, Episodes
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HomeState
from detectors.inactivity.prior import Prior
from detectors.training.homes import OUT, SimulatedHome, simulate_home
from tests.detectors.inactivity.lives import (
    DAY,
    HOUR,
    KIT,
    MINUTE,
    REGULAR,
    Rows,
    cut,
    layout_of,
    local,
    operator_of,
    rows,
    rows_of,
    run,
)

Known = Callable[[], tuple[InactivityOperator, Rows]]
DOOR, HUB = 4, 5


def at_home(home: SimulatedHome, day: int, hour: float) -> int:
    """The first time from then on at which somebody has been at home and awake for an hour, and
    a movement has just been seen."""
    start = round(hour * 60) + day * 1440
    moves = (home.ts_ms[(home.sensor < DOOR) & (home.value > 0)] - local(home, 0, 0)) // MINUTE
    for minute in moves[moves >= start].tolist():
        around = home.life.room[minute - 60 : minute + 1]
        if not (around == OUT).any() and not home.life.in_bed[minute]:
            return local(home, 0, 0) + int(minute + 1) * MINUTE
    raise AssertionError("nobody is at home")


def without_people(rows: Rows, since_ms: int, until_ms: int = 2**60) -> Rows:
    """Nobody is active in between; heartbeats go on."""
    gone = (rows[1] >= since_ms) & (rows[1] < until_ms) & (rows[0] != HUB)
    return cut(rows, ~gone)


@pytest.mark.parametrize(("hour", "within_h"), [(8.5, 4), (11, 4), (16, 4), (19, 12)])
def test_a_collapse_by_day_is_called_within_hours_and_visited_later(
    hour: float, within_h: int, home: SimulatedHome, known: Known
) -> None:
    operator, rest = known()
    fallen = at_home(home, 33, hour)
    told = run(operator, without_people(rest, fallen), fallen + DAY, Episodes(1))
    changes = [c for c in told.changes if c.at_ms > fallen]
    assert [c.cause for c in changes] == [Cause.CALL, Cause.VISIT]
    assert changes[0].at_ms - fallen <= within_h * HOUR
    assert changes[1].at_ms > changes[0].at_ms


def test_nothing_rings_while_the_sensors_say_that_they_are_cut_off(
    home: SimulatedHome, known: Known
) -> None:
    operator, rest = known()
    begin, end = local(home, 34, 9), local(home, 36, 14)
    told = run(
        operator, cut(rest, (rest[1] < begin) | (rest[1] >= end)), end + 20 * MINUTE, Episodes(1)
    )
    assert told.causes(begin) == [Cause.CONTACT_UNKNOWN]
    asked = next(c.at_ms for c in told.changes if c.at_ms > begin and c.cause)
    assert 24 * HOUR <= asked - begin <= 25 * HOUR
    inside = [state for at, state in told.states() if begin + 2 * HOUR < at < end]
    assert inside in ([], [HomeState.UNKNOWN])
    assert told.states()[-1][1] is not HomeState.UNKNOWN


@pytest.mark.parametrize("days", [0.4, 1.5, 3, 12])
def test_an_absence_is_at_most_one_contact_call(
    days: float, home: SimulatedHome, known: Known
) -> None:
    operator, rest = known()
    left = at_home(home, 33, 9)
    back = left + round(days * DAY)
    gone = without_people(rest, left, back)
    door = rows(
        [
            (DOOR, left + 1 * MINUTE, 1.0), (DOOR, left + 2 * MINUTE, 0.0),
            (DOOR, back - 2 * MINUTE, 1.0), (DOOR, back - MINUTE, 0.0),
        ]
    )  # fmt: skip
    joined = tuple(np.concatenate([a, b]) for a, b in zip(gone, door, strict=True))
    told = run(operator, joined, back, Episodes(1))  # type: ignore[arg-type]
    assert told.causes(left) == ([Cause.CONTACT_AWAY] if days > 1 else [])
    assert HomeState.AWAY in [state for at, state in told.states() if at > left]


def test_nobody_goes_where_there_are_no_heartbeats() -> None:
    mute = simulate_home("mute", seed=3, days=30, sensors=KIT[:4], habits=REGULAR, faults=False)
    operator = operator_of(layout_of(mute))
    end = int(mute.ts_ms[-1])
    told = run(operator, rows_of(mute), end + 5 * DAY, Episodes(1))
    after = [c for c in told.changes if c.at_ms > end]
    assert [c.cause for c in after if c.cause in (Cause.VISIT, Cause.CEILING)] == []
    assert after[0].cause is Cause.CALL
    assert told.states()[-1][1] is HomeState.UNKNOWN


def test_a_night_trip_and_a_visitor_are_nothing(home: SimulatedHome, known: Known) -> None:
    operator, rest = known()
    night, tea = local(home, 35, 2), local(home, 35, 15)
    more = rows(
        [(3, night, 1.0), (3, night + 20_000, 0.0)]
        + [(DOOR, tea, 1.0), (DOOR, tea + 9_000, 0.0)]
        + [(1, tea + k * 3 * MINUTE, 1.0) for k in range(1, 20)]
        + [
            (DOOR, tea + HOUR, 1.0),
            (DOOR, tea + HOUR + 9_000, 0.0),
            (1, tea + HOUR + 5 * MINUTE, 1.0),
        ]
    )
    joined = tuple(np.concatenate([a, b]) for a, b in zip(rest, more, strict=True))
    told = run(operator, joined, local(home, 35, 18), Episodes(1))  # type: ignore[arg-type]
    assert told.causes(local(home, 35, 0)) == []


def test_the_ceiling_rings_whatever_was_learnt(
    home: SimulatedHome, known: Known, month: bytes
) -> None:
    def expects_nothing(found: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros(len(found), np.float32)

    _, rest = known()
    operator = InactivityOperator(layout_of(home), expects_nothing, Prior.flat(), step_min=5)
    operator.restore(month)
    fallen = at_home(home, 33, 10)
    told = run(operator, without_people(rest, fallen), fallen + 30 * HOUR, Episodes(1))
    changes = [c for c in told.changes if c.at_ms > fallen]
    assert [c.cause for c in changes] == [Cause.CEILING]
    assert changes[0].minutes == pytest.approx(1440, abs=15)
