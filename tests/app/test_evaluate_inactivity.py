"""The evaluation of quiet homes, read by somebody who doesn't believe it. Homes are simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluate import inactivity, rivals
from app.evaluate.detected import STEPS, branched, hours_to_ring, silences, trace
from app.evaluate.inactivity import Run
from app.evaluate.outcome import Outcome, ratio_interval
from app.evaluate.scene import STEP_MIN, STEP_MS, Scene, build
from app.homes import RecordedHome, Truth
from app.models import load_inactivity
from detectors.inactivity.alarms import BUDGET, Cause, causes
from detectors.inactivity.layout import Kind, Role
from detectors.inactivity.operator import InactivityOperator
from tests.detectors.inactivity.lives import DAY, HOUR, layout_of, regular_home, rows_of

DAYS = 20
OUTAGE = (8, 9.5)
"""First and last day of an outage that the heartbeats show."""


def lived(name: str = "lived") -> tuple[RecordedHome, Truth]:
    simulated = regular_home(name, days=DAYS)
    sensor, ts, value = rows_of(simulated)
    first = int(ts[0])
    begin, end = (first + round(day * DAY) for day in OUTAGE)
    there = (ts < begin) | (ts >= end)
    home = RecordedHome(name, layout_of(simulated), sensor[there], ts[there], value[there], {})
    return home, Truth([(begin, end)], [])


@pytest.fixture(scope="module")
def found() -> Run:
    home, truth = lived()
    infer, prior, _ = load_inactivity()
    scene = build(home, truth, choosing=False, seed=1)
    assert scene is not None
    return Run([scene], [trace(scene, infer, prior)])


def test_a_collapse_in_a_branch_is_what_a_stream_that_is_really_cut_gives(found: Run) -> None:
    """The short way of the evaluation against the long one: people's rows removed, all anew."""
    scene, traced = found.scenes[0], found.traces[0]
    home = scene.home
    infer, prior, _ = load_inactivity()
    branch = hours_to_ring((traced.branch_monthly <= BUDGET) | (traced.branch_other != Cause.NONE))
    lives = (home.layout.kind == Kind.HEARTBEAT) | (home.layout.role == Role.AUTOMATIC)
    nth = np.linspace(0, len(scene.collapses) - 1, 5).astype(int)[:-1]
    for n in nth.tolist():
        fallen = int(scene.ticks[scene.collapses[n]])
        use = (home.ts_ms <= fallen) | lives[home.sensor]
        operator = InactivityOperator(home.layout, infer, prior, step_min=STEP_MIN)
        operator.feed(home.sensor[use], home.ts_ms[use], home.value[use])
        rung = next(
            one.at_ms
            for one in operator.advance(fallen + STEPS * STEP_MS)
            if one.at_ms > fallen and causes(one)[0]
        )
        assert branch[n] == pytest.approx((rung - fallen) / HOUR, abs=0.25)


def test_a_branch_has_what_its_home_has_and_only_heartbeats_go_on() -> None:
    """A home with a front door is judged as one; a branch without had the prior of the others."""
    home, _ = lived()
    layout, lives = branched(home, 2)
    doors = np.bincount(layout.home[layout.role == Role.FRONT_DOOR], minlength=3)
    assert doors.tolist() == [1, 1, 1]
    assert {Kind(kind) for kind in layout.kind[lives]} == {Kind.HEARTBEAT}
    assert set(layout.home[lives].tolist()) == {1, 2}


def later_changed(scene: Scene, from_ms: int) -> Scene:
    """Another future: the same home, and from a moment on everything happens three hours later."""
    home = scene.home
    later = home.ts_ms >= from_ms
    ts = np.where(later, home.ts_ms + 3 * HOUR, home.ts_ms)
    made = build(replace(home, ts_ms=ts), scene.truth, choosing=False, seed=1)
    assert made is not None
    return made


def test_no_method_knows_the_future(found: Run) -> None:
    scene, traced = found.scenes[0], found.traces[0]
    cut = int(scene.ticks[0]) + 15 * DAY
    other = later_changed(scene, cut)
    past = scene.ticks < cut
    infer, prior, _ = load_inactivity()
    again = trace(other, infer, prior)
    np.testing.assert_array_equal(again.monthly[: past.sum()], traced.monthly[past])
    np.testing.assert_array_equal(again.other[: past.sum()], traced.other[past])
    for known in (False, True):
        for hindsight in (False, True):
            lines = rivals.line(scene, hindsight=hindsight, outages_known=known)
            others = rivals.line(other, hindsight=hindsight, outages_known=known)
            # The line of a day is learnt from whole days before it.
            np.testing.assert_array_equal(lines[:15], others[:15])


def test_an_alarm_that_the_detector_holds_over_activity_it_does_not_believe_is_one(
    found: Run,
) -> None:
    scene, traced = found.scenes[0], found.traces[0]
    assert len(np.unique(silences(scene, traced))) == pytest.approx(
        len(np.unique(scene.silence)), rel=0.02
    )
    held = slice(4000, 4200)
    since = traced.since.copy()
    since[held] = since[held.start - 1]
    assert len(np.unique(scene.silence[held])) > 10
    assert len(np.unique(silences(scene, replace(traced, since=since))[held])) == 1


def test_a_line_that_knows_of_outages_does_not_learn_them(found: Run) -> None:
    scene = found.scenes[0]
    day = round(OUTAGE[1]) + 1
    blind, knowing = (rivals.line(scene, hindsight=False, outages_known=k) for k in (False, True))
    assert blind[day].max() > 24
    assert knowing[day].max() < 18
    assert (knowing <= blind).all()


def test_every_method_is_set_to_the_same_rate_and_none_above_it(found: Run) -> None:
    told = inactivity.results(found, past=found)
    allowed = int(found.days / 30)
    for side in ("without_hindsight", "with_hindsight"):
        for name in ("detector", "line", "line_outages_known", "fixed", "city_same_rate"):
            assert told[side][name]["false_alarms"] <= allowed, (side, name)
        # Set on the very same days, a setting is the same.
        for name in ("detector", "line", "fixed"):
            assert told[side][f"{name}_set_on_the_past"] == told[side][name]
        low, high = told[side]["detector"]["median_interval_95"]
        assert low <= told[side]["detector"]["median_delay_h"] <= high
    figures = inactivity.figures(told)
    assert figures["outage_alarms"] == 0
    assert figures["median_of_line_median_low"] <= figures["median_of_line_median_high"]


def test_a_longer_limit_of_cities_rings_less_and_later(found: Run) -> None:
    short, long = (
        inactivity.city_outcome(found, hindsight=False, factor=one) for one in (0.25, 1.0)
    )
    assert short.false_alarms > long.false_alarms
    assert (short.delays <= long.delays).all()


def test_days_are_drawn_whole() -> None:
    def outcome(delays: NDArray[np.float64], block: NDArray[np.int64]) -> Outcome:
        return Outcome(delays, block, 0, 30.0, 1.0)

    delays = np.repeat(np.arange(20.0), 50)
    alone = outcome(delays, np.arange(1000)).document()["median_interval_95"]
    together = outcome(delays, np.repeat(np.arange(20), 50)).document()["median_interval_95"]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    same = outcome(delays, np.repeat(np.arange(20), 50))
    assert ratio_interval(same, same) == [1.0, 1.0]
