"""Simulated homes of people who live alone, for training, tests and benchmarks.

Nothing here is a real person's life: rhythms, rooms, outings, faults and their rates are made up
to span what homes may be like (all numbers are proposals). The same seed gives the same homes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.layout import Kind, Layout, Role, Room

MINUTE_MS = 60_000
DAY = 1440
START_MS = 1_704_067_200_000
"""2024-01-01T00:00Z, a Monday."""
OUT = -1

_ROOMS = (Room.KITCHEN, Room.LIVING, Room.BATHROOM, Room.BEDROOM, Room.ENTRANCE)
_STAY_MIN = {Room.KITCHEN: 14.0, Room.LIVING: 38.0, Room.BATHROOM: 7.0, Room.BEDROOM: 15.0,
             Room.ENTRANCE: 2.0}  # fmt: skip
_STIR = {Room.KITCHEN: 0.5, Room.LIVING: 0.12, Room.BATHROOM: 0.4, Room.BEDROOM: 0.15,
         Room.ENTRANCE: 0.8}  # fmt: skip
"""Chance that a minute there shows a movement."""

Sensor = tuple[str, Kind, Room, Role]


@dataclass(frozen=True, slots=True)
class Life:
    """What a home's minutes are like. room: int8 `Room` or `OUT`. stir: chance of a movement.

    in_bed: bool. door: minutes at which the front door is used. Index = minute from the start.
    """

    room: NDArray[np.int8]
    stir: NDArray[np.float64]
    in_bed: NDArray[np.bool_]
    door: list[int]


@dataclass(slots=True)
class SimulatedHome:
    """sensor, ts_ms, value: rows in order of time; `sensor` indexes `sensors`. outages: unix ms."""

    name: str
    sensors: list[Sensor]
    sensor: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    life: Life
    outages: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Habits:
    """Of one home; drawn once. Times are minutes of the local day."""

    wake: float
    wake_spread: float
    bed: float
    bed_spread: float
    night_trips: float
    nap: float
    liveliness: float
    outings: float
    outing_min: float
    missed_door: float
    visitors: float
    quiet_days: float
    journeys: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Habits:
        return Habits(
            wake=rng.normal(7 * 60, 45),
            wake_spread=rng.uniform(10, 60),
            bed=rng.normal(22.3 * 60, 50),
            bed_spread=rng.uniform(15, 60),
            night_trips=rng.uniform(0.3, 2.5),
            nap=rng.uniform(0, 0.7),
            liveliness=float(np.exp(rng.normal(0, 0.5))),
            outings=rng.uniform(0.2, 2.0),
            outing_min=float(np.exp(rng.normal(np.log(90), 0.5))),
            missed_door=rng.uniform(0, 0.05),
            visitors=rng.uniform(0, 0.4),
            quiet_days=rng.uniform(0, 0.08),
            journeys=rng.uniform(0, 0.02),
        )


def draw_life(rng: np.random.Generator, habits: Habits, days: int) -> Life:
    """Minute by minute, nights crossing midnight included."""
    minutes = days * DAY
    room = np.full(minutes, int(Room.BEDROOM), np.int8)
    stir = np.full(minutes, 0.004)
    in_bed = np.ones(minutes, bool)
    door: list[int] = []
    away_until = 0
    for day in range(days):
        start = day * DAY
        late = 25 if day % 7 >= 5 else 0
        wake = start + int(np.clip(rng.normal(habits.wake + late, habits.wake_spread), 240, 660))
        bed = start + int(np.clip(rng.normal(habits.bed, habits.bed_spread), 1140, 1439))
        calm = 0.35 if rng.random() < habits.quiet_days else 1.0
        _night(rng, habits, room, stir, in_bed, start, wake)
        at = max(wake, away_until)
        if rng.random() < habits.journeys and at < bed:
            away_until = at + int(rng.uniform(1, 5) * DAY)
        outings = sorted(rng.uniform(wake + 60, bed - 60, rng.poisson(habits.outings)))
        at = _day(rng, habits, room, stir, in_bed, door, at, bed, outings, calm)
        if away_until > at >= wake:
            _leave(rng, habits, door, at)
            room[at:away_until] = OUT
            stir[at:away_until] = 0.0
            in_bed[at:away_until] = False
            if away_until < minutes:
                door.append(away_until)
    _visits(rng, habits, room, stir, door, days)
    return Life(room, stir, in_bed, sorted(door))


def _night(
    rng: np.random.Generator,
    habits: Habits,
    room: NDArray[np.int8],
    stir: NDArray[np.float64],
    in_bed: NDArray[np.bool_],
    start: int,
    wake: int,
) -> None:
    for _ in range(rng.poisson(habits.night_trips * (wake - start) / 480)):
        at = start + int(rng.uniform(0, max(1, wake - start - 10)))
        if room[at] == OUT:
            continue
        end = at + int(rng.uniform(3, 9))
        room[at:end], stir[at:end], in_bed[at:end] = Room.BATHROOM, 0.5, False


def _day(
    rng: np.random.Generator,
    habits: Habits,
    room: NDArray[np.int8],
    stir: NDArray[np.float64],
    in_bed: NDArray[np.bool_],
    door: list[int],
    at: int,
    bed: int,
    outings: list[float],
    calm: float,
) -> int:
    """From getting up to going to bed; gives when that was."""
    queue = [int(one) for one in outings]
    napped = False
    while at < bed:
        if queue and at >= queue[0]:
            queue.pop(0)
            out = int(np.clip(rng.lognormal(np.log(habits.outing_min), 0.6), 10, 600))
            _leave(rng, habits, door, at)
            end = min(at + out, len(room) - 1)
            room[at:end], stir[at:end], in_bed[at:end] = OUT, 0.0, False
            door.append(end)
            at = end
            continue
        minute = at % DAY
        if not napped and 12.5 * 60 < minute < 15 * 60 and rng.random() < habits.nap * 0.4:
            napped, where, stay = True, Room.BEDROOM, rng.uniform(30.0, 110.0)
            lively, lying = 0.01, True
        else:
            where = Room(int(rng.choice(_ROOMS, p=_wishes(minute))))
            stay, lying = rng.lognormal(np.log(_STAY_MIN[where]), 0.8), False
            lively = min(0.9, _STIR[where] * habits.liveliness * calm * rng.lognormal(0, 0.5))
        end = min(at + max(1, int(stay)), bed)
        room[at:end], stir[at:end], in_bed[at:end] = where, lively, lying
        stir[at] = max(stir[at], 0.8)
        at = end
    return at


def _wishes(minute: int) -> list[float]:
    meal = min(abs(minute - m) for m in (7.5 * 60, 12 * 60, 18 * 60)) < 45
    return [0.5, 0.2, 0.15, 0.1, 0.05] if meal else [0.2, 0.45, 0.17, 0.12, 0.06]


def _leave(rng: np.random.Generator, habits: Habits, door: list[int], at: int) -> None:
    if rng.random() >= habits.missed_door:
        door.append(at)


def _visits(
    rng: np.random.Generator,
    habits: Habits,
    room: NDArray[np.int8],
    stir: NDArray[np.float64],
    door: list[int],
    days: int,
) -> None:
    for _ in range(rng.poisson(habits.visitors * days)):
        at = int(rng.integers(0, days)) * DAY + int(rng.uniform(9 * 60, 19 * 60))
        end = min(at + int(rng.uniform(20, 100)), len(room) - 1)
        if (room[at:end] == OUT).any():
            continue
        door += [at, end]
        room[at:end], stir[at:end] = Room.LIVING, np.maximum(stir[at:end], 0.3)


def draw_sensors(rng: np.random.Generator) -> list[Sensor]:
    """Any subset that can show a person: motion, contacts, mat, water, door, heartbeats."""
    found: list[Sensor] = []
    motion = rng.random() < 0.8
    for room in _ROOMS[:4]:
        if motion and rng.random() < 0.85:
            found.append((f"m-{room.name.lower()}", Kind.MOTION, room, Role.PERSON))
        if rng.random() < (0.35 if motion else 0.8):
            found.append((f"c-{room.name.lower()}", Kind.CONTACT, room, Role.PERSON))
    if rng.random() < 0.3:
        found.append(("p-bed", Kind.PRESSURE, Room.BEDROOM, Role.PERSON))
    if rng.random() < 0.3 or not found:
        found.append(("w-main", Kind.WATER, Room.OTHER, Role.PERSON))
    if rng.random() < 0.8:
        found.append(("c-door", Kind.CONTACT, Room.ENTRANCE, Role.FRONT_DOOR))
    if rng.random() < 0.75:
        found.append(("h-hub", Kind.HEARTBEAT, Room.OTHER, Role.PERSON))
    return found


def simulate_home(
    name: str, *, seed: int, days: int, sensors: list[Sensor] | None = None, faults: bool = True,
    habits: Habits | None = None, zone_offset_min: int = 480, start_ms: int = START_MS,
) -> SimulatedHome:  # fmt: skip
    """One home. sensors, habits: drawn when not given. faults: outages happen."""
    rng = np.random.default_rng([seed, *name.encode()])
    habits = habits or Habits.draw(rng)
    life = draw_life(rng, habits, days)
    hung = draw_sensors(rng) if sensors is None else sensors
    parts = [_rows_of(rng, sensor, life) for sensor in hung]
    sensor = np.concatenate([np.full(len(ts), k, np.int32) for k, (ts, _) in enumerate(parts)])
    ts = np.concatenate([ts for ts, _ in parts])
    value = np.concatenate([value for _, value in parts])
    ts = ts + start_ms - zone_offset_min * MINUTE_MS
    outages = _outages(rng, days, start_ms) if faults else []
    keep = np.ones(len(ts), bool)
    for begin, end in outages:
        keep &= (ts < begin) | (ts >= end)
    order = np.argsort(ts[keep], kind="stable")
    return SimulatedHome(
        name, hung, sensor[keep][order], ts[keep][order], value[keep][order], life, outages
    )


def _outages(rng: np.random.Generator, days: int, start_ms: int) -> list[tuple[int, int]]:
    found = []
    for _ in range(rng.poisson(days / 30.0)):
        begin = start_ms + int(rng.uniform(0, days * DAY)) * MINUTE_MS
        found.append((begin, begin + int(rng.uniform(3, 40) * 60) * MINUTE_MS))
    return sorted(found)


Rows = tuple[NDArray[np.int64], NDArray[np.float64]]


def _rows_of(rng: np.random.Generator, sensor: Sensor, life: Life) -> Rows:
    """ms from the first local midnight, and values."""
    _, kind, room, role = sensor
    minutes = len(life.room)
    if kind is Kind.HEARTBEAT:
        every = float(rng.choice([10, 20, 30, 60]))
        at = np.cumsum(rng.normal(every, every / 20, int(minutes / every)).clip(1)) * MINUTE_MS
        return at.astype(np.int64), np.ones(len(at))
    if role is Role.FRONT_DOOR:
        opened = np.array(life.door, np.int64) * MINUTE_MS + rng.integers(0, 20_000, len(life.door))
        return _both(opened, opened + rng.integers(5_000, 30_000, len(opened)))
    if kind is Kind.PRESSURE:
        change = np.flatnonzero(np.diff(life.in_bed.astype(np.int8), prepend=0))
        return change * np.int64(MINUTE_MS), life.in_bed[change].astype(np.float64)
    sees = {Kind.MOTION: rng.uniform(0.6, 1.0), Kind.CONTACT: 0.2, Kind.WATER: 0.25}[kind]
    there = life.room == room
    if kind is Kind.WATER:
        there = (life.room == Room.KITCHEN) | (life.room == Room.BATHROOM)
    hit = np.flatnonzero(there & (rng.random(minutes) < life.stir * sees))
    on = hit * np.int64(MINUTE_MS) + rng.integers(0, 30_000, len(hit))
    return _both(on, on + rng.integers(5_000, 25_000, len(on)))


def _both(on: NDArray[np.int64], off: NDArray[np.int64]) -> Rows:
    ts = np.column_stack([on, off]).ravel()
    return ts, np.tile([1.0, 0.0], len(on))


def simulate_homes(
    count: int, *, seed: int, days: int, zone: tzinfo, prefix: str = "sim"
) -> tuple[Layout, NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    """Many homes as one stream in order of time: layout, rows of its sensors, ts_ms, value."""
    offset = datetime.fromtimestamp(START_MS / 1000, UTC).astimezone(zone).utcoffset()
    minutes = 0 if offset is None else int(offset.total_seconds()) // 60
    homes = [
        simulate_home(f"{prefix}-{n:04}", seed=seed, days=days, zone_offset_min=minutes)
        for n in range(count)
    ]
    return joined(homes, zone)


def joined(
    homes: list[SimulatedHome], zone: tzinfo
) -> tuple[Layout, NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    layout = Layout.of(
        {home.name: zone for home in homes},
        [(home.name, *sensor) for home in homes for sensor in home.sensors],
    )
    first = np.cumsum([0, *(len(home.sensors) for home in homes)])
    sensor = np.concatenate([home.sensor + first[k] for k, home in enumerate(homes)])
    ts = np.concatenate([home.ts_ms for home in homes])
    value = np.concatenate([home.value for home in homes])
    order = np.argsort(ts, kind="stable")
    return layout, sensor[order].astype(np.int32), ts[order], value[order]
