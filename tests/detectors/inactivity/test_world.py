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
from detectors.inactivity.presence import HomeState
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
    unlike_a_clock,
)

BEDROOM, KITCHEN, DOOR, HUB = 0, 2, 4, 5
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


def carried(year: SimulatedHome, at_ms: int) -> Rows:
    """What hung in the bedroom hangs in the kitchen from then on, beside the one that is there."""
    sensor, ts, value = rows_of(year)
    gone = (ts >= at_ms) & (sensor == BEDROOM)
    there = (ts >= at_ms) & (sensor == KITCHEN)
    delay = np.random.default_rng(1).integers(0, 4_000, int(there.sum()))
    ts = np.concatenate([ts[~gone], ts[there] + delay])
    sensor = np.concatenate([sensor[~gone], np.full(int(there.sum()), BEDROOM, np.int32)])
    value = np.concatenate([value[~gone], value[there]])
    order = np.argsort(ts, kind="stable")
    return sensor[order], ts[order], value[order]


def test_a_moved_sensor_is_found_and_hides_nobody(year: SimulatedHome) -> None:
    operator = operator_of(layout_of(year), step_min=5)
    moved, fallen, episodes = local(year, 40, 0), local(year, 55, 10), Episodes(1)
    rows_ = carried(year, moved)
    kept = cut(rows_, (rows_[0] == HUB) | (rows_[1] < fallen))
    trust = operator.state.sensor["trust"]
    before = run(operator, cut(kept, kept[1] < moved), moved, episodes)
    assert (trust[:4] == Trust.GOOD).all()
    found = local(year, 48, 0)
    week = run(operator, cut(kept, (kept[1] >= moved) & (kept[1] < found)), found, episodes)
    assert trust[:4].tolist() == [Trust.MOVED, Trust.GOOD, Trust.GOOD, Trust.GOOD]
    rest = run(operator, cut(kept, kept[1] >= found), fallen + DAY, episodes)
    assert before.causes(local(year, 10, 0)) + week.causes() == []
    assert rest.causes() == [Cause.CALL, Cause.VISIT]
    assert rest.changes[-2].at_ms - fallen <= 6 * HOUR


def test_visitors_move_no_sensor(year: SimulatedHome) -> None:
    """For a week somebody else is about: all sensors see less alone than they did."""
    operator = operator_of(layout_of(year), step_min=5)
    sensor, ts, value = rows_of(year)
    week = (ts >= local(year, 40, 0)) & (ts < local(year, 47, 0)) & (sensor < DOOR)
    random = np.random.default_rng(2)
    other = random.integers(0, 4, int(week.sum())).astype(np.int32)
    more = other, ts[week] + random.integers(0, 60_000, int(week.sum())), value[week]
    joined = tuple(np.concatenate([a, b]) for a, b in zip((sensor, ts, value), more, strict=True))
    until = local(year, 52, 0)
    kept = cut(joined, joined[1] < until)  # type: ignore[arg-type]
    run(operator, kept, until, Episodes(1))
    assert (operator.state.sensor["moved_ms"][:4] == 0).all()


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
        found += [(1, begins + k * MINUTE, 1.0) for k in unlike_a_clock(0, 900, 6, day)]
        hour = first + day * DAY + (7 if day < moved else 19) * HOUR
        found += [(0, hour + k * MINUTE, 1.0) for k in unlike_a_clock(0, 180, 6, day)]
    operator = operator_of(layout, step_min=5)
    told = run(operator, rows(found), first + 40 * DAY, Episodes(1))
    assert operator.state.sensor["moved_ms"][0] > first + moved * DAY
    assert operator.state.sensor["moved_ms"][1] == 0
    assert told.causes(first + 10 * DAY) == []


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
    for minute in unlike_a_clock(0, 50 * 1440, 25, 0):
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
