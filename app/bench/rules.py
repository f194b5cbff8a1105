"""`bench rules`: what rules cost, beside a plain loop and Bytewax on the same rule and readings.

What is timed is what the server does with admitted rows: `RuleEngine.on_rows` with each batch,
then `on_time` with the rows that timed rules want, behind a time mark. Batches are made before
the clock starts, and every contender gets the same readings.

* one rule: `cable_temperature >= 70 degC` for 60 s; one device in a thousand is hot, and one
  in a hundred in the figures that say `busy`.
* the pack: all shipped rules over devices of every family. An *evaluation* is one rule and one
  reading, counted only where the rule watches the device and looks at the quantity; `absent` looks
  at all of them.

* windows: pressure sensors at 100 readings a second under a rule that looks back 60 s, from empty
  windows to full ones.
* a backtest of 100 million readings in packs under two rule sets, as `rules backtest` runs it.

Peers run the one rule at the same 10 000 devices: a Python loop over decoded readings with dicts of
states, and Bytewax (`stateful_batch`, one worker), when its package is installed (the dev extra).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench.document import document
from app.bench.history import measured
from app.bench.town import CALM
from app.content import load_rules, shipped_rules
from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from contracts.quantities import FAMILIES, FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX
from contracts.registry import Column, DeviceTable, Registry
from rules import RuleSet, compile_rules
from rules.engine import RuleEngine
from rules.expr.plan import bases_of
from rules.members import LIVE, NOT_WATCHED, Members

START_MS = 1_767_225_600_000
PERIOD_MS = 10_000
FOR_MS = 60_000
LIMIT = 70.0
DEVICES = 10_000
MANY = 1_000_000
GATEWAY_DEVICES = 50
HOT_SHARE = 1_000
BUSY_SHARE = 100
"""One device in so many is hot at a time."""
HOT_ROUNDS = 8
"""How many periods it stays so: `for` runs out."""
HISTORY, QUICK_HISTORY = 100_000_000, 2_000_000
"""Readings of the backtest; the whole history takes about 2 GB of disk while it runs."""
INCIDENTS = 100_000
"""In the pack's readings one in so many is out of the ordinary."""

ONE_RULE = """rules:
  - id: efire.cable_hot
    title: {zh: 电缆过热, en: Cable hot}
    on: {family: efire}
    when: cable_temperature >= 70 degC
    for: 60s
    severity: 2
"""

WINDOW_RULE = """rules:
  - id: firewater.drop
    title: {zh: 压力骤降, en: Pressure drops}
    on: {family: firewater}
    when: delta(static_pressure, 60s) < -0.05 MPa
    for: 45s
    severity: 2
"""
SENSORS, SENSOR_PERIOD_MS = 100, 10


@dataclass(frozen=True, slots=True)
class Stream:
    """Admitted rows by batch, and the directory that they are of."""

    directory: DeviceDirectory
    batches: list[TaggedBatch]

    @property
    def readings(self) -> int:
        return sum(map(len, self.batches))


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    rows = 1_000_000 if quick else 8_000_000
    one = compile_rules({"one.yml": ONE_RULE})
    pack = load_rules(shipped_rules())
    figures: dict[str, float] = {}
    for name, devices, size, share in (
        ("one_rule_readings_per_cpu_s_1k", DEVICES, 1_000, HOT_SHARE),
        ("one_rule_readings_per_cpu_s_10k", DEVICES, 10_000, HOT_SHARE),
        ("one_rule_busy_readings_per_cpu_s_1k", DEVICES, 1_000, BUSY_SHARE),
        ("one_rule_busy_readings_per_cpu_s_10k", DEVICES, 10_000, BUSY_SHARE),
        ("one_rule_1m_devices_readings_per_cpu_s_1k", MANY, 1_000, HOT_SHARE),
        ("one_rule_1m_devices_readings_per_cpu_s_10k", MANY, 10_000, HOT_SHARE),
    ):
        stream = hot_cables(seed, devices, size, rows, share)
        spent, changes, engine = timed(one, stream)
        figures[name] = stream.readings / spent
        figures[name.replace("readings_per_cpu_s", "changes")] = changes
        if devices == MANY:
            figures["bytes_per_device_rule"] = engine.state_bytes() / devices
    stream = sensors(seed, rows)
    spent, _, engine = timed(compile_rules({"window.yml": WINDOW_RULE}), stream)
    figures["window_readings_per_cpu_s"] = stream.readings / spent
    for name, devices in (("pack", DEVICES), ("pack_1m_devices", MANY)):
        for label, size in (("_1k", 1_000), ("", 10_000)):
            stream = town(seed, devices, size, rows // 2)
            evaluations = count_evaluations(pack, stream)
            spent, _, engine = timed(pack, stream)
            figures[f"{name}_rule_evals_per_cpu_s{label}"] = evaluations / spent
            figures[f"{name}_readings_per_cpu_s{label}"] = stream.readings / spent
        figures[f"{name}_state_mb"] = engine.state_bytes() / 2**20
    figures |= _peers(seed, rows // 8)
    figures |= measured(seed, QUICK_HISTORY if quick else HISTORY)
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    settings = {
        "readings": rows,
        "devices": [DEVICES, MANY],
        "pack_rules": len(pack.cards),
        "hot_share": 1 / HOT_SHARE,
        "busy_share": 1 / BUSY_SHARE,
        "incident_share": 1 / INCIDENTS,
        "bytewax": metadata.version("bytewax") if find_spec("bytewax") else "",
        "quick": quick,
    }
    return document("rules", figures, seed=seed, settings=settings)


def timed(ruleset: RuleSet, stream: Stream) -> tuple[float, int, RuleEngine]:
    """(CPU seconds, changes told, the engine) for one pass over the stream."""
    engine = RuleEngine(ruleset, stream.directory)
    wanted = engine.wanted_quantities()
    watermark = np.zeros(len(stream.directory.gateways), np.int64)
    changes = 0
    start = time.process_time()
    for number, batch in enumerate(stream.batches, 1):
        changes += len(engine.on_rows(batch))
        waits = wanted[batch.quantity]
        released = batch if waits.all() else batch.take(np.flatnonzero(waits))
        watermark[:] = batch.ts_ms[-1]
        changes += len(
            engine.on_time(released, Progress(number, int(batch.heard_ms[-1]), watermark))
        )
    return time.process_time() - start, changes, engine


def hot_cables(seed: int, devices: int, size: int, rows: int, share: int) -> Stream:
    """Every device in turn once a period; one in `share` is hot, for `HOT_ROUNDS` readings."""
    random = np.random.default_rng(seed)
    directory = DeviceDirectory(_registry(["efire"] * devices))
    rounds = -(-rows // devices)
    cycle = share * HOT_ROUNDS
    start = random.integers(0, cycle, devices)

    def values(number: int, device: NDArray[np.int64]) -> NDArray[np.float64]:
        hot = (number + start[device]) % cycle < HOT_ROUNDS
        noise = random.normal(0, 2, len(device))
        return np.round(np.where(hot, LIMIT + 8, LIMIT - 25) + noise, 1)

    quantity = QUANTITY_INDEX["cable_temperature"]
    made = _rounds(
        devices, rounds, lambda n, d: (np.full(len(d), quantity, np.int16), values(n, d))
    )
    return Stream(directory, list(_cut(made, size, rows)))


def sensors(seed: int, rows: int) -> Stream:
    """Calm pressures of a few sensors that speak often."""
    random = np.random.default_rng(seed)
    quantity = np.full(SENSORS, QUANTITY_INDEX["static_pressure"], np.int16)

    def values(
        number: int, device: NDArray[np.int64]
    ) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
        del number
        return quantity, np.round(0.3 + random.normal(0, 0.002, len(device)), 4)

    made = list(_rounds(SENSORS, -(-rows // SENSORS), values, SENSOR_PERIOD_MS))
    joined = (TaggedBatch.join(made[at : at + 10]) for at in range(0, len(made), 10))
    return Stream(DeviceDirectory(_registry(["firewater"] * SENSORS)), list(joined))


def town(seed: int, devices: int, size: int, rows: int) -> Stream:
    """Devices of every family, each saying another of its quantities from round to round."""
    random = np.random.default_rng(seed)
    families = sorted(CALM)
    family_of = np.arange(devices) % len(families)
    directory = DeviceDirectory(_registry([families[i] for i in family_of]))
    said = [[QUANTITY_INDEX[name] for name in CALM[family]] for family in families]
    calm = [[float(value) for value in CALM[family].values()] for family in families]
    width = max(map(len, said))
    quantities = np.array([[row[i % len(row)] for i in range(width)] for row in said], np.int16)
    ordinary = np.array([[row[i % len(row)] for i in range(width)] for row in calm])

    def values(
        number: int, device: NDArray[np.int64]
    ) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
        family = family_of[device]
        turn = (number + device) % width
        quantity, value = quantities[family, turn], ordinary[family, turn]
        odd = random.integers(0, INCIDENTS, len(device)) == 0
        noise = np.where(value > 1, np.round(random.normal(0, 0.01, len(device)) * value, 3), 0)
        return quantity, np.where(odd, value * 3 + 1, value + noise)

    return Stream(directory, list(_cut(_rounds(devices, -(-rows // devices), values), size, rows)))


_Values = Callable[[int, NDArray[np.int64]], tuple[NDArray[np.int16], NDArray[np.float64]]]


def _rounds(
    devices: int, rounds: int, values: _Values, period_ms: int = PERIOD_MS
) -> Iterator[TaggedBatch]:
    device = np.arange(devices)
    phase = device * period_ms // devices
    none = np.zeros(devices, np.uint16)
    row = np.zeros(devices, np.int32)
    for number in range(rounds):
        quantity, value = values(number, device)
        ts_ms = START_MS + number * period_ms + phase
        position = number * devices + device
        yield TaggedBatch(
            device.astype(np.int32), quantity, ts_ms, value, none, ts_ms, position, row, position
        )


def _cut(rounds: Iterable[TaggedBatch], size: int, rows: int) -> Iterator[TaggedBatch]:
    left = rows
    for part in rounds:
        for at in range(0, len(part), size):
            piece = part.take(np.arange(at, min(at + size, len(part))))
            yield piece
            left -= len(piece)
            if left <= 0:
                return


def _registry(families: Sequence[str]) -> Registry:
    """Devices of 50 a gateway, with the attributes that shipped rules select by."""
    count = len(families)
    attributes = {
        "point": ("worst",),
        "hydrant": ("indoor",),
        "building_class": ("highrise_residential",),
    }
    zeros = np.zeros(count, np.int32)
    table = DeviceTable(
        ids=tuple(f"b-{i:07d}" for i in range(count)),
        family=np.array([FAMILY_INDEX[family] for family in families], np.int8),
        gateways=tuple(f"gw-{i:05d}" for i in range(-(-count // GATEWAY_DEVICES))),
        gateway=(np.arange(count) // GATEWAY_DEVICES).astype(np.int32),
        grid=np.full(count, -1, np.int32),
        lon=np.full(count, np.nan),
        lat=np.full(count, np.nan),
        attributes={name: Column(zeros, values) for name, values in attributes.items()},
    )
    return Registry(devices=table)


def count_evaluations(ruleset: RuleSet, stream: Stream) -> int:
    """Pairs of (rule, reading) where the rule watches the device and looks at the quantity."""
    members = Members(ruleset, stream.directory)
    counted = np.zeros((len(FAMILIES), len(QUANTITIES)), np.int64)
    for number, rule in enumerate(ruleset.rules):
        if rule.group is not None:
            continue  # Its counting is work of another kind.
        family = members.family_of(number)
        watched = members.slots(LIVE, number)[: len(members.rows(family))] != NOT_WATCHED
        if watched.any():
            if not watched.all():
                raise ValueError(f"{rule.id} watches some of its family: count by device")
            # Each reading of a device says that it isn't silent.
            asked = bases_of(rule.when) + (bases_of(rule.clear) if rule.clear else ())
            counted[family, slice(None) if rule.silence_ms else sorted(set(asked))] += 1
    return sum(
        int(counted[stream.directory.family[batch.device], batch.quantity].sum())
        for batch in stream.batches
    )


def _peers(seed: int, rows: int) -> dict[str, float]:
    """The one rule in a plain loop and in Bytewax, and that they agree with the engine."""
    stream = hot_cables(seed, DEVICES, 10_000, rows, BUSY_SHARE)
    _, changes, _ = timed(compile_rules({"one.yml": ONE_RULE}), stream)
    names = stream.directory.ids
    readings = [
        Reading(names[device], "efire", "cable_temperature", ts_ms, value)
        for batch in stream.batches
        for device, ts_ms, value in zip(
            batch.device.tolist(), batch.ts_ms.tolist(), batch.value.tolist(), strict=True
        )
    ]
    start = time.process_time()
    told = loop(readings)
    figures = {"loop_readings_per_cpu_s": len(readings) / (time.process_time() - start)}
    if told != changes:
        raise ValueError(f"the loop tells {told} changes, the engine {changes}")
    if find_spec("bytewax") is not None:
        few = readings[: len(readings) // 4]
        expected = loop(few)
        start = time.process_time()
        told = import_module("app.bench.bytewax_flow").run(few, limit=LIMIT, for_ms=FOR_MS)
        figures["bytewax_readings_per_cpu_s"] = len(few) / (time.process_time() - start)
        if told != expected:
            raise ValueError(f"Bytewax tells {told} changes, the loop {expected}")
    return figures


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A decoded reading, as a program meets it that takes one at a time."""

    device: str
    family: str
    quantity: str
    ts_ms: int
    value: float


def loop(readings: Iterable[Reading]) -> int:
    """The rule as a careful programmer writes it for one reading at a time; counts changes."""
    pending: dict[str, int] = {}
    firing: set[str] = set()
    changes = 0
    for reading in readings:
        if reading.family != "efire" or reading.quantity != "cable_temperature":
            continue
        device, ts_ms = reading.device, reading.ts_ms
        since = pending.get(device)
        if since is not None and ts_ms - since >= FOR_MS:
            del pending[device]
            firing.add(device)
            changes += 1
        if reading.value >= LIMIT:
            if device not in firing and device not in pending:
                pending[device] = ts_ms
        elif device in firing:
            firing.discard(device)
            changes += 1
        elif since is not None:
            del pending[device]
    return changes
