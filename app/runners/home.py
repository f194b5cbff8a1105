"""One recorded home through the detector, in event time, told as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from app.homes import RecordedHome
from app.runners.home_line import LearntLine, learnt
from contracts.alerts import timestamp
from detectors.inactivity.alarms import LEVELS, Cause, Episodes
from detectors.inactivity.health import Trust
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HomeState
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer

Line = dict[str, Any]
LINE_MS = 28 * 86_400_000
"""So often is what was learnt told for the picture."""


def watch(
    home: RecordedHome,
    infer: Infer | None,
    prior: Prior,
    *,
    step_min: int,
    budget: float,
    lines: list[LearntLine] | None = None,
) -> Iterator[Line]:
    """Lines of type "alarm", "over", "state" and "sensor", in order of time.

    A sensor line says that from now on a sensor is not believed, or is again. lines: gets what is
    learnt of the home, once each `LINE_MS` and at the end.
    """
    operator = InactivityOperator(home.layout, infer, prior, step_min=step_min)
    operator.feed(home.sensor[:1], home.ts_ms[:1], home.value[:1])
    first = 1
    episodes = Episodes(1)
    state: int | None = None
    trust = operator.state.sensor["trust"].copy()
    begun, end = int(home.ts_ms[0]), int(home.ts_ms[-1])
    while (at := operator.next_ms()) is not None and at - step_min * 60_000 < end:
        last = int(np.searchsorted(home.ts_ms, at, side="right"))
        operator.feed(home.sensor[first:last], home.ts_ms[first:last], home.value[first:last])
        first = max(first, last)
        scores = operator.tick(at)
        if int(scores.state[0]) != state:
            state = int(scores.state[0])
            yield _line("state", home, at, state=HomeState(state).name.lower())
        for change in episodes.note(scores, budget):
            if change.cause is Cause.NONE:
                yield _line("over", home, at)
            else:
                yield _line(
                    "alarm",
                    home,
                    at,
                    level=LEVELS[change.cause],
                    cause=change.cause.name.lower(),
                    minutes=round(change.minutes, 1),
                    per_30d=float(f"{change.monthly:.3g}"),
                )
        now = operator.state.sensor["trust"]
        for row in np.flatnonzero(now != trust).tolist():
            trusted = Trust(int(now[row])).name.lower()
            yield _line("sensor", home, at, sensor=home.layout.sensors[row], trust=trusted)
        trust = now.copy()
        asked = begun + (len(lines) + 1) * LINE_MS if lines is not None else 0
        if lines is not None and (asked <= at or at >= end):
            lines.append(learnt(home, operator, infer, prior, budget=budget))


def _line(kind: str, home: RecordedHome, at_ms: int, **more: Any) -> Line:
    return {"type": kind, "home": home.name, "time": timestamp(at_ms), **more}
