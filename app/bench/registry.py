"""`bench registry`: how long a large registry takes to load, and what a further device costs.

Each measurement is a fresh process that does this one thing: load a registry; or build an
engine with the shipped rules over one, and then let each of its devices speak once. What a device
costs is the difference in resident memory between two sizes, so that what is there without any
device (interpreter, libraries, rules) falls out.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.bench.document import document
from app.bench.processes import usage
from app.bench.town import CORNERS, DEVICES_EACH, SIDE, START_MS, calm_packs, write_town
from app.content import load_rules, shipped_rules
from app.engine import Engine
from contracts.log import LogRecord, RecordKind
from ingest.admission import AdmissionSettings
from ingest.registry import load

LOADED, QUICKLY_LOADED = 1_000_000, 100_000
SIZES, QUICK_SIZES = (10_000, 110_000), (5_000, 55_000)
PACKS_AT_ONCE = 100
"""About as many as a group commit holds under load; then a time mark, a second later."""
DEVICES_AT_ONCE = PACKS_AT_ONCE * DEVICES_EACH
QUIET_ROUNDS = 8
"""Seconds of silence at the end, in which the last waiting rows are released."""


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    loaded, sizes = (QUICKLY_LOADED, QUICK_SIZES) if quick else (LOADED, SIZES)
    with TemporaryDirectory(prefix="gridwarden-bench-") as name:
        folder = Path(name)
        for devices in (loaded, *sizes):
            write_town(folder / str(devices), devices, seed)
        found = _child("load", folder / str(loaded))
        less, more = (_child("serve", folder / str(devices)) for devices in sizes)
    further = sizes[1] - sizes[0]
    label = "1m" if loaded == 1_000_000 else f"{loaded // 1000}k"
    figures = {
        f"registry_load_s_{label}": found["wall_s"],
        f"registry_load_cpu_s_{label}": found["cpu_s"],
        f"registry_load_peak_mb_{label}": found["peak_mb"],
        "registry_bytes_per_device": (found["after_mb"] - found["before_mb"]) * 2**20 / loaded,
        "server_bytes_per_registered_device": _per(more, less, "registered_mb", further),
        "server_bytes_per_further_device": _per(more, less, "active_mb", further),
        "server_engine_rss_mb": less["active_mb"],
    }
    settings = {
        "devices_loaded": loaded,
        "grids": SIDE * SIDE,
        "corners": CORNERS,
        "placed_by_point": 0.5,
        "columns": 11,
        "sizes_compared": list(sizes),
        "readings_per_device": round(more["readings"] / sizes[1], 2),
        "rules": int(more["rules"]),
        "alert_events": int(more["events"]),
        "quick": quick,
    }
    return document("registry", figures, seed=seed, settings=settings)


def _per(more: dict[str, float], less: dict[str, float], what: str, devices: int) -> float:
    """Bytes of one of `devices`, from MiB."""
    return (more[what] - less[what]) * 2**20 / devices


def _child(what: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "app.bench.registry", what, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring {what} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _rss_mb() -> float:
    """Resident now, in MiB; what is garbage is let go before."""
    gc.collect()
    return usage(os.getpid()).rss_mb


def _load(folder: Path) -> dict[str, float]:
    before_mb = _rss_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    registry = load(folder)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    peak_mb = usage(os.getpid()).peak_mb
    placed = int((registry.devices.grid >= 0).sum())
    if placed != len(registry.devices):
        raise RuntimeError(f"{len(registry.devices) - placed} devices got no grid")
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": peak_mb,
        "before_mb": before_mb,
        "after_mb": _rss_mb(),
    }


def _serve(folder: Path) -> dict[str, float]:
    """The deciding half of a server: resident with all devices registered, and with all heard."""
    engine = Engine(load(folder), load_rules(shipped_rules()), settings=AdmissionSettings())
    registered_mb = _rss_mb()
    table, counts, events = engine.registry.devices, Counter[str](), 0
    at_ms = START_MS
    for first in range(0, len(table) + QUIET_ROUNDS * DEVICES_AT_ONCE, DEVICES_AT_ONCE):
        said = calm_packs(table, first, PACKS_AT_ONCE, at_ms)
        said.append(LogRecord(RecordKind.MARK, at_ms + 999, "", b""))
        step = engine.step(
            [replace(r, position=engine.position + n) for n, r in enumerate(said, 1)]
        )
        counts.update(step.counts)
        events += len(step.events)
        at_ms += 1_000
    del said, step
    return {
        "registered_mb": registered_mb,
        "active_mb": _rss_mb(),
        "readings": counts["accepted"],
        "events": events,
        "rules": len(engine.ruleset.cards),
    }


if __name__ == "__main__":
    print(json.dumps({"load": _load, "serve": _serve}[sys.argv[1]](Path(sys.argv[2]))))
