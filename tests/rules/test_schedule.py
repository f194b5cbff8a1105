"""Schedules against the local clock, looked at minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.calendar import DAY_WORDS, Calendar
from rules.schedule import Hours, Part, Schedule, turns_of
from rules.zones import zone

MINUTE = 60_000
NO_CALENDAR = Calendar()
CALENDAR = Calendar(
    {
        date(2026, 5, 1): "holiday",
        date(2026, 5, 4): "holiday",
        date(2026, 5, 5): "holiday",
        date(2026, 5, 9): "workday",
    }
)


def at(text: str) -> int:
    """Epoch ms of an ISO time with its offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def schedule(
    *hours: tuple[int, int],
    days: tuple[str, ...] = (),
    name: str = "Asia/Shanghai",
    calendar: Calendar = NO_CALENDAR,
) -> Schedule:
    """hours: of whole hours."""
    spans = tuple(Hours(start * 60, end * 60) for start, end in hours)
    return Schedule.of((Part(spans, days, zone(name)),), calendar)


def inside(schedule: Schedule, *texts: str) -> list[bool]:
    found = turns_of(schedule).inside(np.array([at(text) for text in texts]))
    return [bool(one) for one in found]


def test_a_night_belongs_to_the_day_on_which_it_began() -> None:
    night = schedule((22, 30), days=("fri",))
    assert inside(
        night,
        "2026-05-01T21:59:59.999+08:00",
        "2026-05-01T22:00:00+08:00",  # A Friday.
        "2026-05-02T05:59:59.999+08:00",
        "2026-05-02T06:00:00+08:00",
        "2026-05-02T23:00:00+08:00",
        "2026-05-01T03:00:00+08:00",
    ) == [False, True, True, False, False, False]


def test_periods_that_touch_are_one() -> None:
    night = schedule((22, 24), (0, 6))
    turns = turns_of(night).between(at("2026-05-01T12:00+08:00"), at("2026-05-02T12:00+08:00"))
    assert turns.tolist() == [at("2026-05-01T22:00+08:00"), at("2026-05-02T06:00+08:00")]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("2026-05-01", ["holiday"], id="a-friday-off"),
        pytest.param("2026-05-02", ["weekend"], id="a-saturday-in-the-holidays"),
        pytest.param("2026-05-06", ["workday"], id="a-wednesday"),
        pytest.param("2026-05-09", ["workday"], id="a-saturday-that-is-worked"),
        pytest.param("2026-05-10", ["weekend"], id="a-sunday"),
    ],
)
def test_kinds_of_day(text: str, want: list[str]) -> None:
    day = date.fromisoformat(text)
    found = [word for word in ("workday", "weekend", "holiday") if CALENDAR.is_one_of(day, [word])]
    assert found == want


def test_leap_days_and_new_years_eve() -> None:
    night = schedule((22, 30))
    assert inside(
        night,
        "2028-02-29T23:00+08:00",
        "2028-03-01T05:00+08:00",
        "2027-12-31T23:59+08:00",
        "2028-01-01T07:59:59+08:00",  # Still last year in UTC.
        "2028-01-01T05:00+08:00",
        "2028-01-01T12:00+08:00",
    ) == [True, True, True, False, True, False]
    leap = turns_of(schedule((0, 24), days=("tue",)))  # 29 February 2028 is one.
    assert leap.between(at("2028-02-28T12:00+08:00"), at("2028-03-02T12:00+08:00")).tolist() == [
        at("2028-02-29T00:00+08:00"),
        at("2028-03-01T00:00+08:00"),
    ]


def test_a_clock_put_forward_and_back() -> None:
    berlin = turns_of(schedule((2, 6), name="Europe/Berlin"))

    def turns(day: str) -> list[int]:
        begin = at(f"{day}T00:00Z") - 2 * 3_600_000
        return [int(turn) for turn in berlin.between(begin, at(f"{day}T12:00Z"))]

    assert turns("2026-03-29") == [at("2026-03-29T01:00Z"), at("2026-03-29T04:00Z")], "from 3:00"
    assert turns("2026-10-25") == [at("2026-10-25T00:00Z"), at("2026-10-25T05:00Z")], (
        "one hour more"
    )
    early = turns_of(schedule((1, 2), name="Europe/Berlin"))
    assert early.between(at("2026-10-24T12:00Z"), at("2026-10-25T12:00Z")).tolist() == [
        at("2026-10-24T23:00Z"),
        at("2026-10-25T00:00Z"),
    ], "at three it is two again, not less"
    half = turns_of(Schedule.of((Part((Hours(150, 180),), (), zone("Europe/Berlin")),), Calendar()))
    assert half.between(at("2026-03-28T12:00Z"), at("2026-03-29T12:00Z")).tolist() == [], "jumped"
    assert half.between(at("2026-10-24T12:00Z"), at("2026-10-25T12:00Z")).tolist() == [
        at("2026-10-25T00:30Z"),
        at("2026-10-25T02:00Z"),
    ], "from the first 2:30 to the last moment before 3:00"


def test_far_times_are_in_no_schedule_and_cost_nothing() -> None:
    always = turns_of(schedule((0, 24)))
    assert always.inside(np.array([-(2**61), at("2026-01-01T00:00Z"), 2**61])).tolist() == [
        False,
        True,
        False,
    ]
    assert always.next_ms(at("2026-06-01T00:00Z")) == at("2028-01-01T00:00Z"), "nothing till then"
    assert always.next_ms(2**61) == 2**62


def test_what_it_means_is_what_is_hashed() -> None:
    plain = schedule((22, 30))
    assert plain == schedule((22, 30), calendar=CALENDAR), "it doesn't ask for days"
    workdays = schedule((22, 30), days=("workday",), calendar=CALENDAR)
    other = schedule((22, 30), days=("workday",))
    assert workdays != other
    assert workdays.key != other.key
    assert plain.key.startswith("22:00-06:00 Asia/Shanghai (")


def truly_inside(part: Part, calendar: Calendar, ts_ms: int) -> bool:
    """From the words of the definition: the local clock of every moment around, one by one."""
    step = 15 * MINUTE
    info = part.zone.info
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def local(ms: int) -> datetime:
        moment = epoch + timedelta(milliseconds=ms)
        return moment.astimezone(info).replace(tzinfo=None)

    around = range(ts_ms - 60 * 60 * MINUTE, ts_ms + 60 * 60 * MINUTE, step)
    clock = {ms: local(ms) for ms in around}
    for day in {shown.date() for shown in clock.values()}:
        if part.days and not calendar.is_one_of(day, part.days):
            continue
        midnight = datetime.combine(day, time())
        for hours in part.hours:
            begin = midnight + timedelta(minutes=hours.start)
            end = midnight + timedelta(minutes=hours.end)
            begun = any(shown >= begin for ms, shown in clock.items() if ms <= ts_ms)
            over = all(shown >= end for ms, shown in clock.items() if ms >= ts_ms)
            if begun and not over:
                return True
    return False


spans = st.tuples(st.integers(0, 95), st.integers(1, 96)).map(
    lambda pair: Hours(15 * pair[0], 15 * (pair[0] + pair[1]))
)


@settings(max_examples=60, deadline=None)
@given(
    hours=st.lists(spans, min_size=1, max_size=3),
    days=st.sets(st.sampled_from(DAY_WORDS), max_size=4),
    name=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Tehran"]),
    start=st.sampled_from(
        ["2026-03-28T12:00Z", "2026-04-04T03:00Z", "2026-10-24T20:00Z", "2026-05-01T00:00Z",
         "2025-12-30T22:00Z", "2028-02-28T00:00Z", "2021-03-21T12:00Z"]
    ),
    steps=st.lists(st.integers(0, 4 * 48), min_size=1, max_size=12),
)  # fmt: skip
def test_any_schedule_is_as_the_clock_says(
    hours: list[Hours], days: set[str], name: str, start: str, steps: list[int]
) -> None:
    part = Part(tuple(sorted(hours)), tuple(word for word in DAY_WORDS if word in days), zone(name))
    made = turns_of(Schedule.of((part,), CALENDAR))
    times = np.array([at(start) + step * 15 * MINUTE for step in steps])
    assert made.inside(times).tolist() == [
        truly_inside(part, CALENDAR, ms) for ms in times.tolist()
    ]


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 3 * 366 * 24 * 60), hours=spans, days=st.sets(st.sampled_from(DAY_WORDS))
)
def test_turns_are_where_inside_changes(start: int, hours: Hours, days: set[str]) -> None:
    part = Part((hours,), tuple(sorted(days)), zone("Asia/Shanghai"))
    made = turns_of(Schedule.of((part,), CALENDAR))
    first = at("2025-01-01T00:00Z") + start * MINUTE
    moments = np.arange(first, first + 10 * 24 * 60 * MINUTE, 15 * MINUTE)
    moments -= moments % (15 * MINUTE)
    known = made.inside(moments)
    changed = moments[1:][known[1:] != known[:-1]].tolist()
    assert made.between(int(moments[0]), int(moments[-1])).tolist() == changed
    after = made.turn_after(moments)
    assert [made.next_ms(int(ms)) for ms in moments[:50]] == after[:50].tolist()
