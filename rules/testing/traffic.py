"""From a case to what the log would hold of it: packs and statuses in order of arrival.

Each gateway sends one pack per moment with all that its devices read then, at once: it is made,
sent and accepted in the same millisecond, unless a fault says otherwise. A birth stands before
its first pack and after a reboot; gateways that the test names as devices send heartbeats too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
import numpy as np

from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.pack import Pack, PackHeader, boot_text, encode
from contracts.quantities import URGENT
from rules.testing.case import Case, Series
from rules.testing.faults import Fault

HEARTBEAT_MS = 10_000
"""As agents are set when nothing else is said."""

UPTIME_MS = 3_600_000
"""A gateway has been up for so long when a test begins."""

STARTING_MS = 1_000
"""A gateway that boots anew is back at once, with a monotonic clock of a second."""

AGAIN_MS = 500
"""A duplicate arrives so much after its original."""

_BOOT_RANDOM = 0x5EED

_Row = tuple[str, str, str, int, float, int]


@dataclass(slots=True)
class _Message:
    """A pack or status on its way. made_ms, arrives_ms: unix ms, by a true clock. rows: event
    times by a true clock."""

    gateway: str
    made_ms: int
    arrives_ms: int
    rows: list[_Row] = field(default_factory=list)
    status: Literal["", "birth", "heartbeat", "offline"] = ""
    boot: int = 1
    seq: int = 0
    mono_ms: int = 0
    skew_ms: int = 0
    connection: int = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """records: without time marks, positions not given yet. idle: faults that met nothing."""

    records: list[LogRecord]
    idle: tuple[Fault, ...]


def traffic(case: Case) -> Traffic:
    """What arrives, in order. Equal cases give equal bytes."""
    met: Counter[Fault] = Counter()
    messages = _messages(case, met)
    for gateway in sorted({message.gateway for message in messages}):
        own = [message for message in messages if message.gateway == gateway]
        _clocks(case, gateway, own, met)
    messages = _arrivals(case, messages, met)
    order = sorted(
        range(len(messages)), key=lambda i: (messages[i].arrives_ms, messages[i].made_ms, i)
    )
    records = [_record(messages[i]) for i in order]
    idle = tuple(fault for fault in case.faults if not met[fault])
    return Traffic(records, idle)


def _messages(case: Case, met: Counter[Fault]) -> list[_Message]:
    """Packs as they are made, by time and gateway, and statuses between them."""
    packs: dict[tuple[int, str], _Message] = {}
    for series in case.series:
        gateway = case.devices[series.device].gateway
        for row in _rows(case, series, met):
            message = packs.get((row[3], gateway))
            if message is None:
                message = packs[row[3], gateway] = _Message(gateway, row[3], row[3])
            message.rows.append(row)
    gateways = sorted({device.gateway for device in case.devices.values()})
    statuses = [one for gateway in gateways for one in _statuses(case, gateway, met)]
    return sorted([*statuses, *packs.values()], key=lambda one: (one.made_ms, one.gateway))


def _rows(case: Case, series: Series, met: Counter[Fault]) -> Iterable[_Row]:
    device = case.devices[series.device]
    mine = [fault for fault in case.faults if fault.who == device.id]
    for tick, sample in enumerate(series.samples):
        if sample is None:
            continue
        at_ms = series.from_ms + tick * series.interval_ms
        value = sample.value
        dropped = False
        for fault in mine:
            if not fault.covers(at_ms):
                continue
            if fault.kind == "drop":
                dropped = True
                met[fault] += 1
            elif fault.kind == "flap" and fault.quantity == series.quantity:
                value = fault.values[_turn(fault, at_ms, series) % 2]
                met[fault] += 1
        if not dropped:
            ts_ms = case.start_ms + at_ms
            yield device.id, device.family, series.quantity, ts_ms, value, sample.flags


def _turn(fault: Fault, at_ms: int, series: Series) -> int:
    every_ms = fault.by_ms or series.interval_ms
    first_tick = max(0, -(-(fault.from_ms - series.from_ms) // series.interval_ms))
    first_ms = series.from_ms + first_tick * series.interval_ms
    return (at_ms - (fault.from_ms if fault.by_ms else first_ms)) // every_ms


def _statuses(case: Case, gateway: str, met: Counter[Fault]) -> Iterable[_Message]:
    def told(at_ms: int, kind: Literal["birth", "heartbeat", "offline"]) -> _Message:
        made_ms = case.start_ms + at_ms
        return _Message(gateway, made_ms, made_ms, status=kind)

    yield told(0, "birth")
    faults = [fault for fault in case.faults if fault.who == gateway]
    for fault in faults:
        if fault.kind == "reboot":
            met[fault] += 1
            yield told(fault.at_ms, "birth")
        elif fault.kind == "backlog" and fault.to_ms <= case.until_ms:
            yield told(fault.at_ms, "birth")
    cut = [fault for fault in faults if fault.kind in ("backlog", "drop")]
    if gateway in case.devices:
        for fault in cut:
            if fault.kind == "backlog":
                yield told(fault.from_ms, "offline")
        for at_ms in range(HEARTBEAT_MS, case.until_ms + 1, HEARTBEAT_MS):
            if not any(fault.covers(at_ms) for fault in cut):
                yield told(at_ms, "heartbeat")


def _clocks(case: Case, gateway: str, own: list[_Message], met: Counter[Fault]) -> None:
    """Boots, sequences, monotonic clocks and the error of the wall clock, in order of making."""
    faults = [fault for fault in case.faults if fault.who == gateway]
    reboots = sorted(fault.at_ms for fault in faults if fault.kind == "reboot")
    seqs: Counter[int] = Counter()
    for message in own:
        at_ms = message.made_ms - case.start_ms
        lives = [reboot for reboot in reboots if reboot <= at_ms]
        message.boot = 1 + len(lives)
        since_ms = lives[-1] - STARTING_MS if lives else -UPTIME_MS
        message.mono_ms = at_ms - since_ms
        message.connection = message.boot
        if not message.status:
            seqs[message.boot] += 1
            message.seq = seqs[message.boot]
        for fault in faults:
            if fault.kind == "skew" and fault.covers(at_ms):
                message.skew_ms += fault.by_ms
                met[fault] += not message.status


def _arrivals(case: Case, messages: list[_Message], met: Counter[Fault]) -> list[_Message]:
    """When each arrives; lost ones are gone, duplicates added."""
    dice = np.random.default_rng(case.seed)
    arriving: list[_Message] = []
    for message in messages:
        faults = [fault for fault in case.faults if fault.who == message.gateway]
        at_ms = message.made_ms - case.start_ms
        copies = [message]
        for fault in () if message.status else faults:
            if not fault.covers(at_ms):
                continue
            met[fault] += fault.kind in ("drop", "duplicate", "delay", "backlog")
            if fault.kind == "drop":
                copies = []
            elif fault.kind == "duplicate":
                copies += [replace(one, arrives_ms=one.arrives_ms + AGAIN_MS) for one in copies]
            for one in copies:
                if fault.kind == "delay":
                    one.arrives_ms += fault.by_ms
                elif fault.kind == "backlog":
                    one.arrives_ms = max(one.arrives_ms, case.start_ms + fault.at_ms)
                elif fault.kind == "reorder":
                    one.arrives_ms += int(dice.integers(0, fault.by_ms, endpoint=True))
        arriving += copies
    _note_overtaking(case, arriving, met)
    return arriving


def _note_overtaking(case: Case, messages: list[_Message], met: Counter[Fault]) -> None:
    for fault in case.faults:
        if fault.kind != "reorder":
            continue
        packs = [m for m in messages if m.gateway == fault.who and not m.status]
        packs = [m for m in packs if fault.covers(m.made_ms - case.start_ms)]
        times = [m.arrives_ms for m in packs]
        met[fault] += times != sorted(times)


def _record(message: _Message) -> LogRecord:
    wall_ms = message.made_ms + message.skew_ms
    boot = message.boot << 32 | _BOOT_RANDOM
    if message.status:
        status = GatewayStatus(
            type=message.status,
            gateway=message.gateway,
            boot=boot_text(boot),
            wall_ms=wall_ms,
            mono_ms=message.mono_ms,
            connection=message.connection,
        )
        payload = msgspec.json.encode(status)
        return LogRecord(RecordKind.STATUS, message.arrives_ms, message.gateway, payload)
    rows = [
        (d, f, q, ts + message.skew_ms, value, flags) for d, f, q, ts, value, flags in message.rows
    ]
    alarm = any(row[2] in URGENT and row[4] != 0 and row[4] == row[4] for row in rows)
    header = PackHeader(message.gateway, boot, message.seq, wall_ms, message.mono_ms, alarm)
    payload = encode(Pack(header, ReadingBatch.of(rows)))
    return LogRecord(RecordKind.PACK, message.arrives_ms, message.gateway, payload)


def registry_files(case: Case) -> Mapping[str, bytes]:
    """The registry of a case as the files of a registry folder: its devices and gateways, and
    the grids and areas that they name."""
    rows = [(d.id, d.family, d.gateway, d.attributes) for d in case.devices.values()]
    for device in case.devices.values():
        if device.gateway not in {row[0] for row in rows}:
            grid = {"grid": device.attributes["grid"]}
            rows.append((device.gateway, "gateway", device.gateway, grid))
    named = sorted({name for row in rows for name in row[3]} - {"grid"})
    lines = [["device", "family", "gateway", "grid", *named]]
    lines += [
        [device, family, gateway, said["grid"], *(said.get(name, "") for name in named)]
        for device, family, gateway, said in rows
    ]
    grids = sorted({row[3]["grid"] for row in rows})
    areas = {grid[:length]: level for grid in grids for length, level in _LEVELS.items()}
    return {
        "areas.csv": _csv([["code", "level", "name"]] + [[c, v, c] for c, v in areas.items()]),
        "grids.csv": _csv([["code", "name", "kind"]] + [[c, c, "residential"] for c in grids]),
        "devices.csv": _csv(lines),
    }


_LEVELS = {6: "district", 9: "street", 12: "community"}


def _csv(rows: list[list[str]]) -> bytes:
    quoted = (['"' + text.replace('"', '""') + '"' for text in row] for row in rows)
    return "".join(",".join(row) + "\n" for row in quoted).encode()
