"""Any subset of inputs will do, and a dripping tap is nobody. Hand-made days."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.inactivity.alarms import LEVELS, Cause, Episodes
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HomeState
from rules.zones import zone
from tests.detectors.inactivity.lives import (
    DAY,
    HOUR,
    MINUTE,
    SHANGHAI,
    Rows,
    ms,
    operator_of,
    rows,
    run,
)

STEP = 15
FIRST = ms("2024-01-01T00:00+08:00")
KINDS = (Kind.MOTION, Kind.CONTACT, Kind.PRESSURE, Kind.WATER, Kind.POWER, Kind.HELP, Kind.METER)
SUBSETS = [some for n in range(1, len(KINDS) + 1) for some in combinations(KINDS, n)]
FALLS = FIRST + 7 * DAY + 11 * HOUR


def layout_of(subsets: list[tuple[Kind, ...]], *, hearts: bool) -> Layout:
    """One home for each subset."""
    sensors = []
    for n, kinds in enumerate(subsets):
        sensors += [
            (f"h{n}", kind.name, kind, Room.LIVING, Role.PERSON)
            for kind in (*kinds, *([Kind.HEARTBEAT] if hearts else []))
        ]
    return Layout.of({f"h{n}": zone(SHANGHAI).info for n in range(len(subsets))}, sensors)


def lived(layout: Layout, until_ms: int) -> Rows:
    """Somebody is active each half hour from 7 to 22; heartbeats each half hour, till the end."""
    half_hours = FIRST + np.arange((until_ms - FIRST) // (30 * MINUTE)) * 30 * MINUTE
    by_day = (half_hours - FIRST) % DAY
    acts = half_hours[(by_day >= 7 * HOUR) & (by_day < 22 * HOUR) & (half_hours < FALLS)]
    toggles = (np.arange(len(acts)) % 2 * 60.0).astype(np.float64)
    parts = []
    for sensor, kind in enumerate(layout.kind.tolist()):
        ts = acts
        value: NDArray[np.float64] = np.ones(len(acts))
        if kind in (Kind.CONTACT, Kind.PRESSURE, Kind.POWER):
            value = toggles
        if kind == Kind.METER:
            ts, value = acts, np.full(len(acts), 0.004)
        if kind == Kind.HEARTBEAT:
            ts, value = half_hours, np.ones(len(half_hours))
        parts.append((np.full(len(ts), sensor, np.int32), ts, value))
    order = np.argsort(np.concatenate([part[1] for part in parts]), kind="stable")
    joined = [np.concatenate(column)[order] for column in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2]


def told_of(layout: Layout, until_ms: int) -> tuple[InactivityOperator, list[list[Cause]]]:
    """What each home is told of after the fall."""
    operator = operator_of(layout, step_min=STEP)
    told = run(operator, lived(layout, until_ms), until_ms, Episodes(len(layout.homes)))
    found: list[list[Cause]] = [[] for _ in layout.homes]
    for change in told.changes:
        if change.at_ms > FALLS and change.cause:
            found[change.home].append(change.cause)
    return operator, found


def test_with_heartbeats_any_subset_of_inputs_is_called_for_and_visited_within_a_day() -> None:
    layout = layout_of(SUBSETS, hearts=True)
    operator, found = told_of(layout, FALLS + 25 * HOUR)
    for kinds, causes in zip(SUBSETS, found, strict=True):
        assert "visit" in [LEVELS[cause] for cause in causes], kinds
        assert not {Cause.CONTACT_AWAY, Cause.CONTACT_UNKNOWN} & set(causes), kinds
    assert set(operator.state.home["state"].tolist()) <= {HomeState.HOME, HomeState.ASLEEP}


def test_without_heartbeats_any_subset_is_asked_after_and_nobody_is_sent() -> None:
    layout = layout_of(SUBSETS, hearts=False)
    operator, found = told_of(layout, FALLS + 50 * HOUR)
    for kinds, causes in zip(SUBSETS, found, strict=True):
        assert causes, kinds
        assert "visit" not in [LEVELS[cause] for cause in causes], kinds
    assert set(operator.state.home["state"].tolist()) == {HomeState.UNKNOWN}


@pytest.mark.parametrize("drip_m3", [0.0, 0.003])
def test_a_tap_that_drips_hides_nobody(drip_m3: float) -> None:
    """A meter that is read each half hour; from the fall on it says what drips, and no more."""
    layout = layout_of([(Kind.METER,)], hearts=False)
    read = []
    for n in range(9 * 48):
        at = FIRST + n * 30 * MINUTE
        awake = 7 * HOUR <= (at - FIRST) % DAY < 22 * HOUR and at < FALLS
        read.append((0, at, drip_m3 + (0.008 if awake and n % 3 == 0 else 0.0)))
    operator = operator_of(layout, step_min=STEP)
    told = run(operator, rows(read), FALLS + 13 * HOUR, Episodes(1))
    assert told.causes(FIRST + 4 * DAY) == told.causes(FALLS)
    rung = [change for change in told.changes if change.at_ms > FALLS and change.cause]
    assert rung[0].at_ms - FALLS <= 12.5 * HOUR
    assert operator.state.home["hearts"][0] == 24  # Its readings prove that it works.
