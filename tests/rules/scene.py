"""A small district for rule tests, and runners that cut, forget and rebuild."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from contracts.quantities import FAMILY_INDEX, QUANTITY_INDEX
from contracts.registry import Column, DeviceTable, Grid, Registry
from contracts.transitions import Change, TransitionBatch
from rules import RuleSet, compile_rules
from rules.engine import RuleEngine
from tests.rules.naive import Row, Told

T0 = 1_780_000_000_000
S = 1_000
SLACK = 2 * S


@dataclass(frozen=True)
class Device:
    """attributes None: a stranger."""

    family: str
    gateway: int = 0
    attributes: dict[str, str] | None = None
    grid: str = ""


def directory_of(devices: Sequence[Device], gateways: int = 2) -> DeviceDirectory:
    """Registered devices first, then strangers; row i is device i."""
    known = [device for device in devices if device.attributes is not None]
    assert known == list(devices[: len(known)]), "registered devices come first"
    grids = sorted({device.grid for device in known} - {""})
    names = sorted({name for device in known for name in device.attributes or {}})
    table = DeviceTable(
        ids=tuple(f"dev-{i}" for i in range(len(known))),
        family=np.array([FAMILY_INDEX[d.family] for d in known], np.int8),
        gateways=tuple(f"gw-{i}" for i in range(gateways)),
        gateway=np.array([d.gateway for d in known], np.int32),
        grid=np.array([grids.index(d.grid) if d.grid else -1 for d in known], np.int32),
        lon=np.full(len(known), np.nan),
        lat=np.full(len(known), np.nan),
        attributes={name: _column(known, name) for name in names},
    )
    listed = tuple(Grid(code, f"grid {code}", "residential") for code in grids)
    directory = DeviceDirectory(Registry(devices=table, grids=listed))
    for i, device in enumerate(devices[len(known) :], len(known)):
        directory.intern_device(f"dev-{i}", device.family, device.gateway)
    return directory


def _column(devices: Sequence[Device], name: str) -> Column:
    said = [(device.attributes or {}).get(name, "") for device in devices]
    values = tuple(sorted(set(said) - {""}))
    return Column(np.array([values.index(v) if v else -1 for v in said], np.int32), values)


def ruleset(*rules: str) -> RuleSet:
    """From rules in YAML's flow style, without the keys that tests don't care for."""
    said = [rule if "severity:" in rule else f"severity: 2, {rule}" for rule in rules]
    listed = "\n".join(f"  - {{title: {{zh: 题, en: title}}, {rule}}}" for rule in said)
    return compile_rules({"test.yml": f"rules:\n{listed}\n"})


def row(
    at_s: float, value: float, quantity: str = "residual_current", device: int = 0, flags: int = 0
) -> Row:
    """A reading at T0 + at_s."""
    return Row(device, QUANTITY_INDEX[quantity], T0 + round(at_s * S), value, flags, 0, 0, 0)


@dataclass(frozen=True)
class Mark:
    """A time mark: rows to release, watermark per gateway row."""

    rows: tuple[Row, ...]
    watermarks: tuple[int, ...]
    position: int = 0
    heard: int = 0


Step = list[Row] | Mark


def admitted(log: Iterable[Row | str], gateways: Sequence[int]) -> list[Step]:
    """What ingest makes of a log of readings and "mark"s: positions, late flags, release.

    Acceptance is counted in seconds from T0 as records come; a mark after the last one closes.
    """
    seen = [T0 - 10**6] * 2
    watermark = [T0 - 10**9] * 2
    waiting: list[Row] = []
    steps: list[Step] = [[]]
    for position, record in enumerate(log, 1):
        heard = T0 + position * S
        if isinstance(record, Row):
            gateway = gateways[record.device]
            late = Flag.LATE if record.ts <= watermark[gateway] else 0
            placed = replace(
                record, flags=record.flags | late, heard=heard, position=position, row=0
            )
            seen[gateway] = max(seen[gateway], record.ts)
            waiting.append(placed)
            if isinstance(steps[-1], Mark):
                steps.append([])
            assert isinstance(steps[-1], list)
            steps[-1].append(placed)
            continue
        watermark = [max(w, s - SLACK) for w, s in zip(watermark, seen, strict=True)]
        if record == "end":
            watermark = [T0 + 10**9] * 2
        due = [r for r in waiting if r.ts <= watermark[gateways[r.device]]]
        waiting = [r for r in waiting if r.ts > watermark[gateways[r.device]]]
        due.sort(key=lambda r: r.ts)
        steps.append(Mark(tuple(due), tuple(watermark), position, heard))
    return steps


def batch_of(rows: Sequence[Row]) -> TaggedBatch:
    return TaggedBatch(
        np.array([r.device for r in rows], np.int32),
        np.array([r.quantity for r in rows], np.int16),
        np.array([r.ts for r in rows], np.int64),
        np.array([r.value for r in rows], np.float64),
        np.array([r.flags for r in rows], np.uint16),
        np.array([r.heard for r in rows], np.int64),
        np.array([r.position for r in rows], np.int64),
        np.array([r.row for r in rows], np.int32),
        np.array([r.position for r in rows], np.int64),
    )


class Whole:
    """Hands every step over as it is."""

    def __init__(self, rules: RuleSet, directory: DeviceDirectory) -> None:
        self.rules = rules
        self.directory = directory
        self.engine = RuleEngine(rules, directory)
        self.seen: Callable[[TransitionBatch], None] = lambda _: None

    def run(self, steps: Iterable[Step]) -> list[Told]:
        return [told for step in steps for told in self.step(step)]

    def step(self, step: Step) -> list[Told]:
        if isinstance(step, Mark):
            progress = Progress(step.position, step.heard, np.array(step.watermarks, np.int64))
            found = self.engine.on_time(batch_of(step.rows), progress)
            self.seen(found)
            return told_of(found)
        return self._rows(step)

    def _rows(self, rows: list[Row]) -> list[Told]:
        return told_of(self.engine.on_rows(batch_of(rows)).in_log_order())


class OneByOne(Whole):
    """Cuts rows into batches of one."""

    def _rows(self, rows: list[Row]) -> list[Told]:
        return [told for one in rows for told in super(OneByOne, self)._rows([one])]


class Forgetful(OneByOne):
    """Keeps nothing but the snapshot: a new engine after every row and every mark."""

    def _rows(self, rows: list[Row]) -> list[Told]:
        found = []
        for one in rows:
            found += super()._rows([one])
            self._rebuild()
        return found

    def step(self, step: Step) -> list[Told]:
        found = super().step(step)
        self._rebuild()
        return found

    def _rebuild(self) -> None:
        blob = self.engine.snapshot()
        self.engine = RuleEngine(self.rules, self.directory)
        self.engine.restore(blob)
        assert self.engine.snapshot() == blob


RUNNERS = [Whole, OneByOne, Forgetful]


def told_of(batch: TransitionBatch) -> list[Told]:
    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return [
        Told(
            int(batch.rule[i]),
            int(batch.device[i]),
            int(batch.change[i]),
            int(batch.lane[i]),
            int(batch.at_ms[i]),
            int(batch.onset_ms[i]),
            plain(float(batch.value[i])),
            plain(float(batch.threshold[i])),
            int(batch.quantity[i]),
            int(batch.decided_ms[i]),
            int(batch.flags[i]),
            int(batch.heard_ms[i]),
            int(batch.position[i]),
            int(batch.row[i]),
            int(batch.severity[i]),
            int(batch.level[i]),
            int(batch.waited_ms[i]),
            int(batch.flapping_ms[i]),
        )
        for i in range(len(batch))
    ]


def short(told: Iterable[Told]) -> list[tuple[float, str]]:
    """(seconds from T0, change) with "late " before those of the late lane."""
    return [
        ((t.at - T0) / S, ("late " if t.lane else "") + Change(t.change).name.lower()) for t in told
    ]
