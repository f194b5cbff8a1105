"""What time the pictures of a stream are of, and when they wait before they are looked at."""

from __future__ import annotations

from edge.camera.pace import Pace

WALL, MONO = 1_767_225_600_000, 5_000_000


def test_pictures_in_time_stand_as_they_came() -> None:
    pace = Pace(WALL, MONO)
    for n in range(1000):
        assert not pace.look(n * 40_000, WALL + n * 40 + n % 7, MONO + n * 40 + n % 7)
    assert pace.start_ms == WALL
    assert not pace.is_behind


def test_the_earliest_picture_says_what_time_it_is() -> None:
    """The first two seconds come at a run, as servers give them that keep a group of pictures."""
    pace = Pace(WALL, MONO)
    for n in range(100):
        now = max(0, n * 40 - 2000)
        pace.look(n * 40_000, WALL + now, MONO + now)
    assert pace.start_ms == WALL - 2000


def test_a_wall_clock_that_is_set_is_followed_at_once() -> None:
    pace = Pace(WALL, MONO)
    assert not pace.look(1_000_000, WALL + 1000 + 86_400_000, MONO + 1000)
    assert pace.start_ms == WALL + 86_400_000


def test_of_a_slow_camera_clock_little_is_left_out() -> None:
    """Its seconds are 1.001 of ours: after 33 minutes it is two seconds behind."""
    pace = Pace(WALL, MONO)
    left_out, at_s, now_s = 0, 0.0, 0.0
    while now_s < 7200:
        if pace.look(round(at_s * 1e6), WALL + round(now_s * 1000), MONO + round(now_s * 1000)):
            left_out += 1
            at_s, now_s = at_s + 2.0, now_s + 2.002
        at_s, now_s = at_s + 0.2, now_s + 0.2002
        assert pace.late_ms < 2200
    assert left_out == 3
    assert not pace.is_behind


def test_a_backlog_that_is_worked_off_costs_nothing() -> None:
    """The line stood still for ten seconds; what was held comes at eight times its pace."""
    pace = Pace(WALL, MONO)
    pace.look(0, WALL, MONO)
    for n in range(1, 400):
        at_ms = n * 40
        now = max(at_ms, 10_000 + n * 5)
        assert not pace.look(at_ms * 1000, WALL + now, MONO + now)
    assert pace.start_ms == WALL
    assert not pace.is_behind


def test_a_machine_that_is_too_slow_says_so_until_it_can_keep_up() -> None:
    """80 ms for a picture of 40, then 20."""
    pace = Pace(WALL, MONO)
    at, now, left_out, told = 0, 0, 0, []
    while at < 240_000:
        told.append((at, pace.is_behind))
        if pace.look(at * 1000, WALL + now, MONO + now):
            left_out += 1
            at += 2000
        busy = 80 if at < 60_000 else 20
        at += 40
        now = max(now + busy, at)
    assert left_out >= 5
    assert any(behind for at_ms, behind in told if at_ms < 20_000)
    assert not any(behind for at_ms, behind in told if at_ms > 140_000)
    assert pace.start_ms == WALL
    assert pace.late_ms <= 40
