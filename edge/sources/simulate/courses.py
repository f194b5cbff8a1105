"""Courses of incidents, near misses and sensor faults: what each does to its device's rows.

Thresholds that the courses cross are those of the shipped rules; each course stays well on one
side of them, so that the truth doesn't hang on a rounding. Durations are proposals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.sources.simulate.effects import (
    Change,
    Hold,
    Loss,
    Noisy,
    Ramp,
    Report,
    Spikes,
    Stuck,
    index,
)
from edge.sources.simulate.happened import Course, Expected

SECOND: Final = 1_000
MINUTE: Final = 60_000
HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What a course is made from: its window and the drawn size u in [0, 1)."""

    start_ms: int
    end_ms: int
    u: float

    def expected(self, kind: str, after_ms: int, by_ms: int) -> Expected:
        return Expected(kind, self.start_ms + after_ms, self.start_ms + by_ms)


def signal(
    quantity: str, alert: str, *, flags: int = 0, code: float = 1.0
) -> Callable[[Moment], Course]:
    """A bit that goes on at once, is repeated every 10 s and goes off at the end."""

    def course(m: Moment) -> Course:
        q = index(quantity)
        return Course(
            changes=(Hold(q, m.start_ms, m.end_ms, code),),
            reports=(Report(q, m.start_ms, m.end_ms, code, 10 * SECOND, 0.0, flags),),
            expect=(m.expected(alert, 0, 0),) if alert else (),
        )

    return course


def ramp(
    quantity: str,
    low: float,
    high: float,
    rise_ms: int,
    noise: float,
    decimals: int,
    *,
    expect: tuple[tuple[str, int], ...] = (),
    forbid: tuple[str, ...] = (),
) -> Callable[[Moment], Course]:
    """A measure that goes to a value in low..high. expect: (alert, at the latest after ms)."""

    def course(m: Moment) -> Course:
        to = low + (high - low) * m.u
        change: Change = Ramp(index(quantity), m.start_ms, m.end_ms, to, rise_ms, noise, decimals)
        return Course(
            changes=(change,),
            expect=tuple(m.expected(kind, 0, by_ms) for kind, by_ms in expect),
            forbid=forbid,
        )

    return course


def trapped(m: Moment) -> Course:
    """The car stops between floors with somebody inside; the controller sends code 04, and the
    passenger presses the alarm (code 90) 20 s later. Codes as in the 2017 table (C)."""
    code = index("fault_code")
    press = m.start_ms + 20 * SECOND
    return Course(
        changes=(
            *_held_car(m),
            Hold(code, m.start_ms, press, 4.0),
            Hold(code, press, m.end_ms, 90.0),
        ),
        reports=(
            Report(code, m.start_ms, press, 4.0),
            Report(code, press, m.end_ms, 90.0, 30 * SECOND, 0.0),
        ),
        expect=(
            m.expected("elevator.stopped_off_zone", 0, 0),
            m.expected("elevator.trapped", 0, 3 * MINUTE),
        ),
    )


def trapped_silently(m: Moment) -> Course:
    """No code at all: only the raw signals tell (trapped after 120 s, P)."""
    return Course(
        changes=_held_car(m),
        expect=(m.expected("elevator.trapped", 70 * SECOND, 140 * SECOND),),
        note="raw signals only; the ride before the stop may count",
    )


def short_stop(m: Moment) -> Course:
    """With the longest rides before and after it the door is shut for less than 120 s."""
    return Course(changes=_held_car(m), forbid=("elevator.trapped",), note="shorter than 120 s")


def _held_car(m: Moment) -> tuple[Change, ...]:
    floor = 2.0 + float(int(m.u * 8))
    states = {
        "position": floor,
        "direction": 0.0,
        "car_moving": 0.0,
        "door_zone": 2.0,
        "door_closed": 1.0,
        "passenger": 1.0,
    }
    return tuple(Hold(index(q), m.start_ms, m.end_ms, v) for q, v in states.items())


def pipe_break(m: Moment) -> Course:
    """Static pressure falls by 0.1 MPa and more within 5 s."""
    to = 0.015 + 0.02 * m.u
    return Course(
        changes=(Ramp(index("static_pressure"), m.start_ms, m.end_ms, to, 5 * SECOND, 0.001, 3),),
        expect=(m.expected("firewater.pressure_low", 55 * SECOND, 85 * SECOND),),
        note="also firewater.pressure_drop where such a rule is installed",
    )


def stopped_charge(reason: float, alert: str) -> Callable[[Moment], Course]:
    def course(m: Moment) -> Course:
        q = index("stop_reason")
        return Course(
            changes=(
                Hold(q, m.start_ms, m.end_ms, reason),
                Hold(index("port_power"), m.start_ms, m.end_ms, 0.0),
                Hold(index("relay"), m.start_ms, m.end_ms, 0.0),
            ),
            reports=(Report(q, m.start_ms, m.end_ms, reason, 0, 0.0),),
            expect=(m.expected(alert, 0, 0),) if alert else (),
            forbid=() if alert else ("ebike.overload", "ebike.over_temp", "ebike.over_current"),
        )

    return course


def falling(low: float, high: float, storeys: float, alert: str) -> Callable[[Moment], Course]:
    """The camera's detector reports one track: its score and the storeys it crossed."""

    def course(m: Moment) -> Course:
        score = round(low + (high - low) * m.u, 3)
        crossed = round(storeys * (1.0 + 3.0 * m.u), 1) if alert else storeys
        return Course(
            reports=(
                Report(
                    index("falling_object.start_storey"),
                    m.start_ms,
                    m.end_ms,
                    round(crossed + 1.0, 1),
                ),
                Report(index("falling_object.storeys"), m.start_ms, m.end_ms, crossed),
                Report(index("falling_object.score"), m.start_ms, m.end_ms, score),
            ),
            expect=(m.expected(alert, 0, 0),) if alert else (),
            forbid=() if alert else ("camera.falling_object",),
        )

    return course


def silent_home(m: Moment) -> Course:
    """Nobody moves, no door, no water; the sensors themselves live (online goes on)."""
    return Course(
        changes=(
            Loss(index("motion"), m.start_ms, m.end_ms),
            Loss(index("contact"), m.start_ms, m.end_ms),
            Hold(index("water_volume"), m.start_ms, m.end_ms, 0.0),
        ),
        reports=(Report(index("motion"), m.start_ms, m.end_ms, 0.0),),
        expect=(m.expected("elderly.no_activity", 14 * HOUR, 25 * HOUR),),
        note="24 h from the last motion; low water as well where a window rule is installed",
    )


def running_tap(m: Moment) -> Course:
    """Some water in every half hour of a day."""
    q = index("water_volume")
    return Course(
        changes=(Ramp(q, m.start_ms, m.end_ms, 0.008 + 0.01 * m.u, 1, 0.001, 4),),
        note="elderly.leak after 24 h where a window rule is installed",
    )


def water_leak(m: Moment) -> Course:
    base = signal("leak", "water.leak")(m)
    flow = Ramp(index("flow"), m.start_ms, m.end_ms, 4.0 + 3.0 * m.u, MINUTE, 0.05, 3)
    return Course((*base.changes, flow), base.reports, base.expect)


def gas_leak(m: Moment) -> Course:
    base = signal("leak", "gas.leak")(m)
    rise = Ramp(index("gas_lel"), m.start_ms, m.end_ms, 28.0 + 20.0 * m.u, MINUTE, 0.3, 1)
    return Course((*base.changes, rise), base.reports, base.expect)


def self_test(m: Moment) -> Course:
    q = index("self_test")
    return Course(reports=(Report(q, m.start_ms, m.end_ms, 1.0, 0, 0.0),), forbid=("smoke.fire",))


def power_cut(m: Moment) -> Course:
    code, power = index("fault_code"), index("power")
    return Course(
        changes=(Hold(power, m.start_ms, m.end_ms, 2.0), Hold(code, m.start_ms, m.end_ms, 41.0)),
        reports=(Report(code, m.start_ms, m.end_ms, 41.0, MINUTE, 0.0),),
        expect=(m.expected("elevator.power_loss", 0, 0),),
    )


def stuck(quantity: str) -> Callable[[Moment], Course]:
    return lambda m: Course(
        changes=(Stuck(index(quantity), m.start_ms, m.end_ms),), note="value stands still"
    )


def dropout(m: Moment) -> Course:
    return Course(changes=(Loss(index(""), m.start_ms, m.end_ms),), note="the device is silent")


def thinned(m: Moment) -> Course:
    return Course(
        changes=(Loss(index(""), m.start_ms, m.end_ms, 0.4),), note="four rows in ten are lost"
    )


def spikes(quantity: str, to: float, width_ms: int, forbid: str) -> Callable[[Moment], Course]:
    """Single wild values, each much shorter than the rule's `for`."""
    return lambda m: Course(
        changes=(Spikes(index(quantity), m.start_ms, m.end_ms, to, 5 * MINUTE, width_ms),),
        forbid=(forbid,),
        note=f"spikes of at most {width_ms // SECOND} s",
    )


def noisy(quantity: str, noise: float, decimals: int, forbid: str) -> Callable[[Moment], Course]:
    return lambda m: Course(
        changes=(Noisy(index(quantity), m.start_ms, m.end_ms, noise, decimals),),
        forbid=(forbid,),
    )
