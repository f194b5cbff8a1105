"""One recorded home, made ready for scoring: activity, silences, truth, simulated collapses.

See docs/inactivity-evaluation.md for what the words mean; the numbers here are that page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.homes import RecordedHome, Spans, Truth
from detectors.inactivity.layout import Kind, Role
from detectors.inactivity.moves import is_active

STEP_MIN = 5
STEP_MS = STEP_MIN * 60_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000

CHOOSE_FROM_DAY = 14
TEST_FROM_DAY = {"home-a": 56, "home-b": 84}
TEST_FROM_ELSE = 7
COLLAPSES_PER_DAY = 2.0
NEAR_MS = 30 * MINUTE_MS
WAKING = (6 * 60, 22 * 60 + 30)
DOOR_NEAR_MS = 5 * MINUTE_MS
ABSENT_MS = 30 * MINUTE_MS
FOLLOWED_MS = 48 * 3_600_000

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scene:
    """ticks: int64 ms, every five minutes. last: of each tick, the last activity before it (0 =
    none yet). silence: its number. wet: the last use of water. opened: the last front door event.
    minute: local minute of the day. scored: bool, the part that counts. out, absent: bool, in a
    listed outage; in an absence that only hindsight shows. collapses: rows of `ticks`.
    """

    home: RecordedHome
    truth: Truth
    ticks: Times
    last: Times
    silence: NDArray[np.intp]
    wet: Times
    opened: Times
    minute: Times
    scored: NDArray[np.bool_]
    out: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    collapses: NDArray[np.intp]

    @property
    def days(self) -> float:
        """Monitored, in the scored part."""
        return float((self.scored & ~self.out).sum() * STEP_MIN / 1440)


def build(home: RecordedHome, truth: Truth, *, choosing: bool, seed: int) -> Scene | None:
    """None when no part of this home may be used so."""
    first = int(home.ts_ms[0])
    begin = -(-first // STEP_MS) * STEP_MS
    ticks = np.arange(begin, int(home.ts_ms[-1]) + STEP_MS, STEP_MS, dtype=np.int64)
    test_from = TEST_FROM_DAY.get(home.name, TEST_FROM_ELSE)
    day = (ticks - first) / DAY_MS
    if choosing:
        if home.name not in TEST_FROM_DAY:
            return None
        scored = (day >= CHOOSE_FROM_DAY) & (day < test_from)
    else:
        scored = day >= test_from
    inside, door, water = _activity(home)
    acts = np.sort(np.concatenate([inside, door]))
    last, silence = _last(acts, ticks)
    minute = _local_minute(home, ticks)
    out = _within(ticks, truth.outages)
    absent = _within(ticks, truth.absences) | _absent(acts, door, silence)
    waking = _waking(inside, door, ticks, minute) & scored & ~out & ~absent
    rng = np.random.default_rng([seed, *home.name.encode()])
    choice = np.flatnonzero(waking)
    days = (scored & ~out).sum() * STEP_MIN / 1440
    number = min(len(choice), round(COLLAPSES_PER_DAY * days))
    collapses = np.sort(rng.choice(choice, number, replace=False)) if number else choice[:0]
    return Scene(
        home, truth, ticks, last, silence, _last(water, ticks)[0], _last(door, ticks)[0], minute,
        scored, out, absent, collapses,
    )  # fmt: skip


def _activity(home: RecordedHome) -> tuple[Times, Times, Times]:
    """Times of activity inside, of the front door, and of water that a person uses."""
    order = np.lexsort((home.ts_ms, home.sensor))
    sensor, ts, value = home.sensor[order], home.ts_ms[order], home.value[order]
    before = np.concatenate([[np.nan], value[:-1]])
    before[np.flatnonzero(np.diff(sensor, prepend=-1))] = np.nan
    layout = home.layout
    kind, role = layout.kind[sensor], layout.role[sensor]
    active = is_active(kind, value, before)
    person = active & (role == Role.PERSON)
    water = person & ((kind == Kind.WATER) | (kind == Kind.METER))
    door = active & (role == Role.FRONT_DOOR)
    return np.sort(ts[person]), np.sort(ts[door]), np.sort(ts[water])


def _last(acts: Times, ticks: Times) -> tuple[Times, NDArray[np.intp]]:
    number = np.searchsorted(acts, ticks, side="right")
    return np.where(number > 0, np.concatenate([[0], acts])[number], 0), number


def _local_minute(home: RecordedHome, ticks: Times) -> Times:
    zone = home.layout.zones[0]
    hours = np.unique(ticks // 3_600_000)
    offsets = []
    for hour in hours.tolist():
        offset = datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).utcoffset()
        offsets.append(0 if offset is None else int(offset.total_seconds()) // 60)
    shift = np.array(offsets, np.int64)[np.searchsorted(hours, ticks // 3_600_000)]
    return np.asarray((ticks // MINUTE_MS + shift) % 1440)


def _within(ticks: Times, spans: Spans) -> NDArray[np.bool_]:
    found = np.zeros(len(ticks), bool)
    for start, end in spans:
        found |= (ticks >= start) & (ticks < end)
    return found


def _absent(acts: Times, door: Times, silence: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Ticks in silences of 30 min and more that begin and end near a front-door event."""
    if not len(door):
        return np.zeros(len(silence), bool)
    begin, end = np.concatenate([[0], acts]), np.concatenate([acts, [0]])
    long = (end - begin >= ABSENT_MS) & (begin > 0) & (end > 0)
    near = _near(door, begin) & _near(door, end)
    return np.asarray((long & near)[silence])


def _near(door: Times, at: Times) -> NDArray[np.bool_]:
    after = np.searchsorted(door, at)
    next_one = door[np.minimum(after, len(door) - 1)]
    before = door[np.maximum(after - 1, 0)]
    return np.asarray(
        (np.abs(next_one - at) <= DOOR_NEAR_MS) | (np.abs(before - at) <= DOOR_NEAR_MS)
    )


def _waking(inside: Times, door: Times, ticks: Times, minute: Times) -> NDArray[np.bool_]:
    after = np.searchsorted(inside, ticks, side="right")
    there = (after > 0) & (after < len(inside))
    before = inside[np.maximum(after - 1, 0)]
    following = inside[np.minimum(after, len(inside) - 1)]
    near = (ticks - before <= NEAR_MS) & (following - ticks <= NEAR_MS)
    calm = np.searchsorted(door, before, "left") == np.searchsorted(door, following, "right")
    day = (minute >= WAKING[0]) & (minute < WAKING[1])
    return np.asarray(there & near & calm & day)
