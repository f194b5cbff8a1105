"""A small district for tests: registry, rules, and recordings whose every reading is known."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.content import shipped_rules
from contracts import telemetry
from contracts.batch import Flag, ReadingBatch

GRID = "340111002001001"
VOID_GRID = "340111002001009"
PUMPS = 100
HEADS = 40
PERIOD_MS = 100
"""Each pump tells two values ten times a second: 2 000 readings/s of a gateway."""
FOR_MS = 2_000
BLOCK_TICKS = 600

TIMED_RULE = "firewater.torture_low"
FIRE_RULE = "smoke.fire"
RULE = f"""rules:
  - id: {TIMED_RULE}
    title: {{zh: 测试：静压低, en: "Test: pressure low"}}
    on: {{family: firewater}}
    when: static_pressure < 0.07 MPa
    for: {FOR_MS // 1000}s
    clear: static_pressure > 0.08 MPa
    severity: 2
"""


def pump(gateway: str, number: int) -> str:
    return f"pump-{gateway}-{number:03d}"


def head(gateway: str, number: int) -> str:
    return f"head-{gateway}-{number:03d}"


def write_registry(folder: Path, gateways: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    (folder / "areas.csv").write_text(
        "code,level,name\n340111,district,包河区\n"
        "340111002,street,骆岗街道\n340111002001,community,滨湖社区\n"
    )
    (folder / "grids.csv").write_text(
        "code,name,kind,valid_from,valid_to,state,reason\n"
        f"{GRID},滨湖家园,residential,2000-01-01,,valid,\n"
        f"{VOID_GRID},旧网格,residential,2000-01-01,2020-01-01,void,并入 001\n"
    )
    rows = ["device,family,gateway,grid,building"]
    for gateway in gateways:
        rows += [f"{pump(gateway, n)},firewater,{gateway},{GRID},1号楼" for n in range(PUMPS)]
        rows += [f"{head(gateway, n)},smoke,{gateway},{GRID},2号楼" for n in range(HEADS)]
    rows += [f"void-head,smoke,{gateways[0]},{VOID_GRID},9号楼"]
    rows += [f"own-head,smoke,,{GRID},3号楼"]
    (folder / "devices.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_rules(folder: Path, more: str = "") -> Path:
    """The shipped rules, a timed one whose time is short, and `more` of them as YAML."""
    folder.mkdir(parents=True)
    for path in shipped_rules().glob("*.yml"):
        if not path.name.endswith(".test.yml"):
            shutil.copy(path, folder / path.name)
    (folder / "torture.yml").write_text(RULE + more)
    return folder


@dataclass
class Recording:
    """What a file holds: `parts` are its readings in order. fires: device -> when (unix ms).
    breaches: device -> from when on its pressure is low, up to the end."""

    gateway: str
    path: Path
    parts: list[ReadingBatch] = field(default_factory=list)
    fires: dict[str, int] = field(default_factory=dict)
    breaches: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)


def record(
    folder: Path,
    gateway: str,
    *,
    start_ms: int,
    seconds: float,
    seed: int,
    fires: int = HEADS,
    breaches: int = 5,
    pumps: int = PUMPS,
) -> Recording:
    """Write a recording: `fires` heads ring once at a random time in its first part, `breaches`
    pumps fall low between a quarter and a half of it and stay there.

    An alarm overtakes a backlog, and timed rules don't go back behind it: with alarms up to the
    end a breach could be found by nobody.
    """
    pick = np.random.default_rng([seed, *gateway.encode()])
    made = Recording(gateway, folder / f"{gateway}.jsonl")
    ticks = int(seconds * 1000 / PERIOD_MS)
    low_from = np.full(pumps, ticks)
    for n in range(breaches):
        low_from[n] = int(ticks * pick.uniform(0.25, 0.5))
        made.breaches[pump(gateway, n)] = start_ms + int(low_from[n]) * PERIOD_MS + n
    rings = [int(start_ms + seconds * 1000 * pick.uniform(0.02, 0.6)) for _ in range(fires)]
    made.fires = {head(gateway, n): at_ms for n, at_ms in enumerate(rings)}
    with made.path.open("wb") as out:
        for first in range(0, ticks, BLOCK_TICKS):
            last = min(first + BLOCK_TICKS, ticks)
            block = _block(made, start_ms, first, last, low_from)
            made.parts.append(block)
            out.write(telemetry.encode_messages(block))
    return made


def _block(
    made: Recording, start_ms: int, first: int, last: int, low_from: np.ndarray
) -> ReadingBatch:
    """The readings of ticks first..last, in order of time."""
    pumps = len(low_from)
    tick = np.repeat(np.arange(first, last), pumps)
    who = np.tile(np.arange(pumps), last - first)
    ts = start_ms + tick * PERIOD_MS + who
    low = tick >= low_from[who]
    # Each value says when it was read, so that none is like another.
    pressure = np.where(low, 0.05, 0.3) + (tick % 9_973) * 1e-6
    begin, end = start_ms + first * PERIOD_MS, start_ms + last * PERIOD_MS
    ringing = sorted((at, device) for device, at in made.fires.items() if begin <= at < end)
    at = np.array([one for one, _ in ringing], np.int64)
    count = len(ringing)
    devices = tuple(pump(made.gateway, n) for n in range(pumps)) + tuple(d for _, d in ringing)
    columns = ReadingBatch(
        devices,
        ("firewater",) * pumps + ("smoke",) * count,
        ("static_pressure", "temperature", "fire"),
        np.concatenate([np.repeat(who, 2), pumps + np.arange(count)]).astype(np.int32),
        np.concatenate([np.tile([0, 1], len(who)), np.full(count, 2)]).astype(np.int16),
        np.concatenate([np.repeat(ts, 2), at]).astype(np.int64),
        np.concatenate([np.stack([pressure, 20 + pressure * 10], 1).ravel(), np.ones(count)]),
        np.concatenate([np.zeros(2 * len(who)), np.full(count, int(Flag.ALARM))]).astype(np.uint16),
    )
    return columns.take(np.argsort(columns.ts_ms, kind="stable"))
