"""The learnt line is what the detector then does, and the picture shows it."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from app.homes import RecordedHome
from app.models import load_inactivity
from app.runners.home_line import LearntLine, learnt
from app.runners.home_picture import picture
from detectors.inactivity.alarms import BUDGET, Episodes
from tests.detectors.inactivity.lives import (
    HOUR,
    Rows,
    cut,
    layout_of,
    local,
    operator_of,
    regular_home,
    rows,
    rows_of,
    run,
)

STEP, KNOWN, HUB, BEDROOM = 15, 28, 5, 0


@pytest.fixture(scope="module")
def home() -> RecordedHome:
    simulated = regular_home("lined", days=32)
    return RecordedHome("lined", layout_of(simulated), *rows_of(simulated), {})


def test_who_falls_silent_is_told_of_when_the_line_says(home: RecordedHome) -> None:
    infer, prior, _ = load_inactivity()
    operator = operator_of(home.layout, step_min=STEP)
    every = home.sensor, home.ts_ms, home.value
    until = local(regular_home("lined", days=1), KNOWN, 0)
    run(operator, cut(every, home.ts_ms < until), until, Episodes(1))
    before = operator.snapshot()
    line = learnt(home, operator, infer, prior, budget=BUDGET)
    assert operator.snapshot() == before
    assert line.begin_ms == until
    assert line.hours.shape == (48,)
    assert (line.hours <= 24).all()
    # By day; at night next to nothing is expected, so a little more or less makes hours.
    for hour in (9, 12, 15):
        falls = until + hour * HOUR
        lives = (home.ts_ms < falls) | (home.sensor == HUB)
        beats = cut(every, lives & (home.ts_ms >= until))
        once = rows([(BEDROOM, falls, 1.0)])
        joined: Rows = (
            np.concatenate([beats[0], once[0]]),
            np.concatenate([beats[1], once[1]]),
            np.concatenate([beats[2], once[2]]),
        )
        operator.restore(before)
        told = run(operator, joined, falls + 24 * HOUR, Episodes(1))
        rung = next(c.at_ms for c in told.changes if c.at_ms > falls and c.cause)
        assert (rung - falls) / HOUR == pytest.approx(float(line.hours[2 * hour]), abs=1.5)


def test_the_picture_shows_days_line_and_alarms(home: RecordedHome) -> None:
    lines = [
        {"type": "alarm", "time": "2024-01-20T04:00:00.000Z", "level": "call", "minutes": 300.0}
    ]
    drawn = [
        LearntLine(int(home.ts_ms[0]), np.full(48, hours)) for hours in (20.0, 6.0)
    ]  # fmt: skip
    root = ElementTree.fromstring(picture(home, lines, drawn))  # noqa: S314 - our own text.
    tags = [one.tag.rsplit("}", 1)[1] for one in root.iter()]
    assert tags.count("circle") == 2
    assert "the line" in "".join(root.itertext())
    assert "the line" not in picture(home, lines)
