"""What breaks methods in real homes isn't the statistics: sensors, clocks, backlogs.

All homes are simulated. Alarms are exact: which, and of which cause.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import numpy as np
import pytest

from detectors.inactivity.alarms import Cause, Episodes
from detectors.inactivity.health import Trust
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.inactivity.operator import HomeState
from detectors.training.homes import SimulatedHome
from rules.zones import zone
from tests.detectors.inactivity.lives import (
    DAY,
    HOUR,
    MINUTE,
    Rows,
    cut,
    layout_of,
    local,
    ms,
    operator_of,
    regular_home,
    rows,
    rows_of,
    run,
)

BEDROOM, LIVING, DOOR = 0, 1, 4
STEP = 15
"""Minutes from look to look: these are long stories."""


@pytest.fixture(scope="module")
def year() -> SimulatedHome:
    return regular_home("long", days=150)


def test_a_bedroom_sensor_dead_for_three_months_costs_no_alarm_and_hides_none(
    year: SimulatedHome,
) -> None:
    operator = operator_of(layout_of(year), step_min=STEP)
    all_rows, episodes = rows_of(year), Episodes(1)
    dies, back, fallen = local(year, 40, 0), local(year, 130, 0), local(year, 140, 10)
    alive = (all_rows[0] != BEDROOM) | (all_rows[1] < dies) | (all_rows[1] >= back)
    alive &= (all_rows[0] == 5) | (all_rows[1] < fallen)
    kept = cut(all_rows, alive)
    before = run(operator, cut(kept, kept[1] < dies), dies, episodes)
    first_week = run(
        operator,
        cut(kept, (kept[1] >= dies) & (kept[1] < dies + 7 * DAY)),
        dies + 7 * DAY,
        episodes,
    )
    assert operator.state.sensor["trust"][BEDROOM] == Trust.DEAD
    assert (operator.state.home["cover"][0] < 1).any()
    rest = run(operator, cut(kept, kept[1] >= dies + 7 * DAY), fallen, episodes)
    assert operator.state.sensor["trust"][BEDROOM] == Trust.GOOD
    # The budget of 140 days is four or five.
    assert len(before.causes() + first_week.causes() + rest.causes()) <= 5
    assert first_week.causes() == []
    after = run(operator, cut(kept, kept[1] >= fallen + DAY), fallen + 10 * HOUR, episodes)
    assert after.causes()[:1] == [Cause.CALL]


def test_a_moved_sensor_costs_no_visit(year: SimulatedHome) -> None:
    """What hung in the bedroom hangs in the kitchen from day 40 on."""
    operator = operator_of(layout_of(year), step_min=5)
    moved = local(year, 40, 0)
    sensor, ts, value = rows_of(year)
    use = ts < moved + 20 * DAY
    sensor, ts, value = sensor[use].copy(), ts[use], value[use]
    late = ts >= moved
    gone = late & (sensor == BEDROOM)
    seen_there = late & (sensor == 2)
    sensor[seen_there] = BEDROOM
    kept: Rows = sensor[~gone], ts[~gone], value[~gone]
    before = run(operator, cut(kept, kept[1] < moved), moved, Episodes(1))
    told = run(operator, cut(kept, kept[1] >= moved), moved + 20 * DAY, Episodes(1))
    assert Cause.VISIT not in before.causes() + told.causes()
    assert Cause.CEILING not in told.causes()
    assert len(told.causes()) <= 1


def test_a_sensor_whose_hours_change_is_noticed() -> None:
    """It saw somebody at breakfast for a month, and then in the evening."""
    layout = Layout.of(
        {"h": zone("Asia/Shanghai").info},
        [("h", name, Kind.MOTION, Room.LIVING, Role.PERSON) for name in ("a", "b")],
    )
    first, moved = ms("2024-01-01T00:00+08:00"), 30
    found = []
    for day in range(40):
        begins = first + day * DAY + 7 * HOUR
        found += [(1, begins + minute * MINUTE, 1.0) for minute in range(0, 900, STEP)]
        hour = 7 if day < moved else 19
        found += [(0, first + day * DAY + hour * HOUR + k * STEP * MINUTE, 1.0) for k in range(12)]
    operator = operator_of(layout, step_min=STEP)
    told = run(operator, rows(found), first + 40 * DAY, Episodes(1))
    assert operator.state.sensor["moved_ms"][0] > first + moved * DAY
    assert operator.state.sensor["moved_ms"][1] == 0
    assert told.causes(first + 10 * DAY) == []


def test_a_sensor_that_chatters_alone_hides_nobody_for_long(year: SimulatedHome) -> None:
    """From a collapse on one sensor sees somebody every minute, and nobody else does."""
    operator = operator_of(layout_of(year), step_min=STEP)
    fallen = local(year, 40, 10)
    sensor, ts, _ = rows_of(year)
    kept = (ts < fallen) | ((sensor == 5) & (ts < fallen + 2 * DAY))
    mad = rows((LIVING, fallen + k * MINUTE, 1.0) for k in range(48 * 60))
    joined = tuple(np.concatenate([a[kept], b]) for a, b in zip(rows_of(year), mad, strict=True))
    told = run(operator, joined, fallen + 2 * DAY, Episodes(1))  # type: ignore[arg-type]
    assert operator.state.sensor["trust"][LIVING] == Trust.STUCK
    # Noticed after six hours; much of the home was seen by it alone, so the ceiling is first.
    assert told.causes(fallen)[:1] == [Cause.CEILING]
    rung = next(c.at_ms for c in told.changes if c.at_ms > fallen and c.cause)
    assert rung - fallen < 32 * HOUR


@pytest.mark.parametrize(
    ("shift", "day"), [("2024-03-31T03:00+02:00", "forward"), ("2024-10-27T02:00+01:00", "back")]
)
def test_clocks_that_change_change_no_alarm(shift: str, day: str) -> None:
    """Somebody in Rome gets up at 7 by the clock, whatever the clock does."""
    del day
    info, changed = zone("Europe/Rome").info, ms(shift)
    layout = Layout.of(
        {"rome": info},
        [
            ("rome", "m", Kind.MOTION, Room.LIVING, Role.PERSON),
            ("rome", "h", Kind.HEARTBEAT, Room.OTHER, Role.PERSON),
        ],
    )
    first = changed - 40 * DAY
    found: list[tuple[int, int, float]] = []
    for minute in range(0, 50 * 1440, 10):
        at = first + minute * MINUTE
        found.append((1, at, 1.0))
        clock = at + (info_offset_ms(info, at))
        hour = clock % DAY / HOUR
        if 7 <= hour < 22:
            found.append((0, at + MINUTE, 1.0))
    told = run(operator_of(layout, step_min=STEP), rows(found), first + 50 * DAY, Episodes(1))
    assert told.causes(first + 10 * DAY) == []


def info_offset_ms(info: tzinfo, at_ms: int) -> int:
    offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(info).utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)


def test_a_day_of_backlog_rings_nothing_in_hindsight(year: SimulatedHome) -> None:
    """A gateway is cut off for 23 hours and then sends it all, heartbeats too."""
    operator = operator_of(layout_of(year), step_min=STEP)
    begin, end = local(year, 40, 9), local(year, 41, 8)
    kept, episodes = rows_of(year), Episodes(1)
    run(operator, cut(kept, kept[1] < begin), begin, episodes)
    silent = run(operator, cut(kept, kept[1] < 0), end, episodes)
    assert [state for _, state in silent.states()][-1] is HomeState.UNKNOWN
    learnt = operator.state.home["events"].sum()
    held = cut(kept, (kept[1] >= begin) & (kept[1] < end))
    caught_up = run(operator, held, end + 5 * MINUTE, episodes)
    assert operator.state.home["events"].sum() == learnt
    rest = cut(kept, (kept[1] >= end) & (kept[1] < end + 3 * DAY))
    after = run(operator, rest, end + 3 * DAY, episodes)
    assert silent.causes() + caught_up.causes() + after.causes() == []
    assert after.scores[0].minutes[0] < 12 * 60
