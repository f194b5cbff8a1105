"""The simulated district: any span of its time as columns of readings, with the truth beside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import QUANTITIES, URGENT
from edge.sources.simulate.effects import Site, change_rows
from edge.sources.simulate.fittings import fit_devices
from edge.sources.simulate.happened import Incident, Truth
from edge.sources.simulate.layout import Layout, Size, plan_layout
from edge.sources.simulate.processes import Periodic, Process, Rows
from edge.sources.simulate.schedule import Rates, Schedule

DEFAULT_START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, when nothing else is asked for."""

_NAMES = tuple(q.name for q in QUANTITIES)
_IS_URGENT: NDArray[np.bool_] = np.array([name in URGENT for name in _NAMES])


class District:
    """A district of a seed. Its readings are a pure function of (seed, size, rates, start, time):
    spans may be asked for in any order and cut anywhere, and give the same rows."""

    def __init__(
        self,
        seed: int = 1,
        size: Size | None = None,
        rates: Rates | None = None,
        *,
        start_ms: int = DEFAULT_START_MS,
    ) -> None:
        self.seed = seed
        self.start_ms = start_ms
        self.layout: Layout = plan_layout(seed, size or Size())
        self.schedule = Schedule(seed, self.layout.devices, rates or Rates(), start_ms)
        self._all = fit_devices(seed, self.layout.devices)
        self._gateway_of = np.array([d.gateway for d in self.layout.devices], np.int32)
        self._by_gateway: dict[int, list[Process]] = {}

    @property
    def gateways(self) -> tuple[str, ...]:
        return self.layout.gateways

    def readings(self, from_ms: int, to_ms: int, gateway: int | None = None) -> ReadingBatch:
        """All rows with from_ms <= ts < to_ms, of one gateway (row of `gateways`) or of all,
        ordered by (ts, device, quantity)."""
        return self._batch(self._rows(from_ms, to_ms, gateway))

    def split(self, from_ms: int, to_ms: int, gateways: Sequence[int]) -> list[ReadingBatch]:
        """`readings` of each of the gateways; for many cheaper than one by one."""
        if len(gateways) == 1:
            return [self.readings(from_ms, to_ms, gateways[0])]
        rows = self._rows(from_ms, to_ms, None)
        of = self._gateway_of[rows.device]
        return [self._batch(rows.take(of == gateway)) for gateway in gateways]

    def truth(self, from_ms: int, to_ms: int, gateway: int | None = None) -> list[Truth]:
        """What begins with from_ms <= start < to_ms."""
        return [
            self._told(incident)
            for incident in self.schedule.starting(from_ms, to_ms)
            if gateway is None or self._gateway_of[incident.device] == gateway
        ]

    def _rows(self, from_ms: int, to_ms: int, gateway: int | None) -> Rows:
        processes = self._all if gateway is None else self._of_gateway(gateway)
        rows = Rows.join([process.rows(from_ms, to_ms) for process in processes])
        rows = rows.take(np.argsort(rows.ts_ms, kind="stable"))
        going = [
            incident
            for incident in self.schedule.overlapping(from_ms, to_ms)
            if gateway is None or self._gateway_of[incident.device] == gateway
        ]
        return _ordered(self._disturbed(rows, going, from_ms, to_ms))

    def _disturbed(self, rows: Rows, going: list[Incident], from_ms: int, to_ms: int) -> Rows:
        """`rows`, whose columns are ours to write to, with what the incidents do to them."""
        added: list[Rows] = []
        keep = np.ones(len(rows), np.bool_)
        for incident in going:
            site = Site(incident.device, np.uint64(incident.key), self.before)
            for change in incident.course.changes:
                change_rows(rows, change, site, keep)
            added += [report.rows(site, from_ms, to_ms) for report in incident.course.reports]
        return Rows.join([rows if keep.all() else rows.take(keep), *added])

    def before(self, device: int, quantity: int, ts_ms: int) -> float:
        """The last undisturbed value of a regular channel at or before `ts_ms`; NaN = none."""
        for process, channel in self._channels.get((device, quantity), ()):
            slot = process.slot_at(channel, ts_ms)
            at = process.at(np.array([channel]), np.array([slot], np.int64))
            return float(at.value[0])
        return float("nan")

    @cached_property
    def _channels(self) -> dict[tuple[int, int], list[tuple[Periodic, int]]]:
        found: dict[tuple[int, int], list[tuple[Periodic, int]]] = defaultdict(list)
        for process in self._all:
            if isinstance(process, Periodic):
                columns = process.channels
                for i in range(len(columns)):
                    found[int(columns.device[i]), int(columns.quantity[i])].append((process, i))
        return found

    def _of_gateway(self, gateway: int) -> list[Process]:
        if gateway not in self._by_gateway:
            mine = self._gateway_of == gateway
            kept = [process.only(mine[process.channels.device]) for process in self._all]
            self._by_gateway[gateway] = [p for p in kept if len(p.channels)]
        return self._by_gateway[gateway]

    def _batch(self, rows: Rows) -> ReadingBatch:
        """Rows with dictionaries of just what they hold, and the alarm bit where it belongs."""
        flags = rows.flags.copy()
        flags[_IS_URGENT[rows.quantity] & (rows.value != 0)] |= np.uint16(Flag.ALARM)
        devices, device = _dictionary(rows.device, len(self.layout.devices))
        quantities, quantity = _dictionary(rows.quantity, len(_NAMES))
        plan = self.layout.devices
        return ReadingBatch(
            tuple(plan[n].id for n in devices),
            tuple(plan[n].family for n in devices),
            tuple(_NAMES[q] for q in quantities),
            device.astype(np.int32),
            quantity.astype(np.int16),
            rows.ts_ms,
            rows.value,
            flags,
        )

    def _told(self, incident: Incident) -> Truth:
        device = self.layout.devices[incident.device]
        return Truth(
            id=incident.id,
            kind=incident.kind,
            klass=incident.klass,
            device=device.id,
            family=device.family,
            gateway=self.gateways[device.gateway],
            grid=self.layout.grids[device.grid].code,
            building=self.layout.buildings[device.building].name,
            start_ms=incident.start_ms,
            end_ms=incident.end_ms,
            expect=incident.course.expect,
            forbid=incident.course.forbid,
            note=incident.course.note,
        )


def demo_district(seed: int = 1, *, start_ms: int = DEFAULT_START_MS) -> District:
    """The district of the demonstration: 8 gateways, 600 devices, 5 grids (one dedicated), and
    more incidents than a real one has, so that something is to be seen."""
    return District(seed, Size(), DEMO_RATES, start_ms=start_ms)


DEMO_RATES = replace(Rates(), incidents=60.0, near_misses=40.0, sensor_faults=10.0)


def _ordered(rows: Rows) -> Rows:
    return rows.take(np.lexsort((rows.quantity, rows.device, rows.ts_ms)))


def _dictionary(
    column: NDArray[np.int32] | NDArray[np.int16], size: int
) -> tuple[list[int], NDArray[np.intp]]:
    """(the numbers that occur, rising; each row's place among them), without a sort."""
    seen = np.zeros(size, np.bool_)
    seen[column] = True
    return np.flatnonzero(seen).tolist(), (np.cumsum(seen) - 1)[column]
