"""When what happens to which device: a pure function of the seed and of time.

Each kind has its own slots of equal length from the start of the district; in slot i its i-th
device (in a drawn order) has one happening, which begins in the first 40 % of the slot. Every
device belongs to one kind only, and the slot is long enough that a happening is over before its
device's turn comes again: so happenings of one device never overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.sources.simulate.catalogue import KINDS, Kind
from edge.sources.simulate.courses import MINUTE, Moment
from edge.sources.simulate.draws import draw, key_of
from edge.sources.simulate.happened import Incident
from edge.sources.simulate.layout import Device

HOUR_MS = 3_600_000
AHEAD_MS = 10 * MINUTE
"""The schedule is looked up for so long at once; callers ask for many short spans in a row."""
FIRST_LASTS_MS = 10 * MINUTE
_BEGINS_WITHIN = 0.4


@dataclass(frozen=True, slots=True)
class Rates:
    """Happenings of each class per hour in the whole district. A small district may have fewer:
    no kind uses a device again before its last happening is over. first_incident_s: a fire this
    long after the start; None = none."""

    incidents: float = 12.0
    near_misses: float = 12.0
    sensor_faults: float = 4.0
    first_incident_s: float | None = 5.0

    def of(self, klass: str) -> float:
        return {
            "incident": self.incidents,
            "near_miss": self.near_misses,
            "sensor_fault": self.sensor_faults,
        }[klass]


QUIET = Rates(0.0, 0.0, 0.0, None)


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind's devices in their order and the length of its slots."""

    kind: Kind
    devices: tuple[int, ...]
    slot_ms: int


class Schedule:
    """All happenings of a district that begins at `start_ms`."""

    def __init__(self, seed: int, devices: Sequence[Device], rates: Rates, start_ms: int) -> None:
        self.seed = seed
        self.start_ms = start_ms
        pools = _pools(seed, devices)
        self.first = self._first(pools, rates)
        self._known: tuple[int, int, list[Incident]] = (0, -1, [])
        self.turns = [
            Turn(kind, tuple(pool), slot_ms)
            for kind, pool in zip(KINDS, pools, strict=True)
            if (slot_ms := _slot_ms(kind, len(pool), rates)) > 0
        ]

    def overlapping(self, from_ms: int, to_ms: int) -> list[Incident]:
        """Everything with start < to_ms and end >= from_ms, by (start, id)."""
        known_from, known_to, known = self._known
        if not known_from <= from_ms <= to_ms <= known_to:
            known = self._look(from_ms, to_ms + AHEAD_MS)
            self._known = (from_ms, to_ms + AHEAD_MS, known)
        return [x for x in known if x.start_ms < to_ms and x.end_ms >= from_ms]

    def _look(self, from_ms: int, to_ms: int) -> list[Incident]:
        found = [self.first] if self.first else []
        for turn in self.turns:
            found.extend(self._of(turn, from_ms, to_ms))
        inside = [x for x in found if x.start_ms < to_ms and x.end_ms >= from_ms]
        return sorted(inside, key=lambda x: (x.start_ms, x.id))

    def starting(self, from_ms: int, to_ms: int) -> list[Incident]:
        """Everything with from_ms <= start < to_ms, by (start, id)."""
        return [x for x in self.overlapping(from_ms, to_ms) if x.start_ms >= from_ms]

    def _of(self, turn: Turn, from_ms: int, to_ms: int) -> Iterator[Incident]:
        reach = turn.kind.most_ms + int(turn.slot_ms * _BEGINS_WITHIN) + 2
        first = max(0, (from_ms - reach - self.start_ms) // turn.slot_ms)
        last = (to_ms - self.start_ms) // turn.slot_ms
        for slot in range(first, last + 1):
            yield self._incident(turn, slot)

    def _incident(self, turn: Turn, slot: int) -> Incident:
        kind = turn.kind
        key = key_of(self.seed, "incident", kind.name, slot)
        offset = int(draw(key, 0) * _BEGINS_WITHIN * turn.slot_ms)
        lasts = kind.least_ms + int(draw(key, 1) * (kind.most_ms - kind.least_ms))
        device = turn.devices[slot % len(turn.devices)]
        start = self.start_ms + slot * turn.slot_ms + offset
        return _make(kind, f"{kind.name}-{slot}", device, start, lasts, key)

    def _first(self, pools: list[list[int]], rates: Rates) -> Incident | None:
        """The first fire; its device leaves the pool so that nothing else happens to it."""
        fire = next(i for i, kind in enumerate(KINDS) if kind.name == "fire")
        if rates.first_incident_s is None or not pools[fire]:
            return None
        device = pools[fire].pop()
        start = self.start_ms + int(rates.first_incident_s * 1000)
        key = key_of(self.seed, "incident", "first")
        return _make(KINDS[fire], "first", device, start, FIRST_LASTS_MS, key)


def _make(
    kind: Kind, name: str, device: int, start_ms: int, lasts_ms: int, key: np.uint64
) -> Incident:
    """Starts are odd and lengths even milliseconds: regular rows have even ones, so a report
    never has the time of a regular row."""
    start = start_ms | 1
    end = start + lasts_ms // 2 * 2
    course = kind.course(Moment(start, end, draw(key, 2)))
    return Incident(name, kind.name, kind.klass, device, start, end, int(key), course)


def _slot_ms(kind: Kind, devices: int, rates: Rates) -> int:
    """0 when the kind never happens."""
    total = sum(other.weight for other in KINDS if other.klass == kind.klass)
    per_hour = rates.of(kind.klass) * kind.weight / total
    if per_hour <= 0 or not devices:
        return 0
    wanted = HOUR_MS / per_hour
    # A device's turns are `devices` slots apart, less the drawn 40 %; a minute to recover.
    needed = (kind.most_ms + MINUTE) / (devices - _BEGINS_WITHIN)
    return int(max(wanted, needed)) + 1


def _pools(seed: int, devices: Sequence[Device]) -> list[list[int]]:
    """Deal the devices to the kinds, each to the fitting kind that has the least for its weight."""
    order = sorted(range(len(devices)), key=lambda n: int(key_of(seed, "deal", devices[n].id)))
    pools: list[list[int]] = [[] for _ in KINDS]
    for number in order:
        fitting = [i for i, kind in enumerate(KINDS) if kind.fits(devices[number])]
        if fitting:
            pools[min(fitting, key=lambda i: (_fill(pools, i), i))].append(number)
    return pools


def _fill(pools: list[list[int]], i: int) -> tuple[bool, float]:
    return bool(pools[i]), len(pools[i]) / KINDS[i].weight
