"""`bench inactivity`: what a one-minute tick over 10 000 homes costs on one core.

Homes are simulated ones, repeated: `HOMES` with all their rows, at staggered times of their lives,
after some days of learning. Measured is the processor time of whole ticks, the inference and the
choice of what is told included; reading packs and the rules are measured elsewhere.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from app.bench.document import document
from app.models import load_inactivity
from detectors.inactivity.clock import MINUTE_MS
from detectors.inactivity.layout import Layout
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.telling import news, readings
from detectors.training.homes import START_MS, simulate_homes
from rules.zones import zone

HOMES = 10_000
MODELS = 50
TICKS, QUICK_TICKS = 720, 120
WARM_TICKS = 60
DAY_MS = 86_400_000


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    ticks = QUICK_TICKS if quick else TICKS
    layout, sensor, ts, value = simulate_homes(
        MODELS, seed=seed, days=2, zone=zone("Asia/Shanghai").info
    )
    many = _repeated(layout, HOMES // MODELS)
    infer, prior, manifest = load_inactivity()
    operator = InactivityOperator(many, infer, prior)
    begin = START_MS + DAY_MS // 4
    copies = np.arange(HOMES // MODELS, dtype=np.int32)
    took: list[float] = []
    told = rows = 0
    for n in range(WARM_TICKS + ticks):
        until = begin + n * MINUTE_MS
        part = slice(*np.searchsorted(ts, [until - MINUTE_MS, until], side="right"))
        count = len(ts[part])
        fed = (copies[:, None] * len(layout.sensors) + sensor[part]).ravel().astype(np.int32)
        operator.feed(fed, np.tile(ts[part], len(copies)), np.tile(value[part], len(copies)))
        if operator.next_ms() is None:
            continue
        started = time.process_time()
        scores = [operator.tick(operator.next_ms() or until)]
        chosen = news(operator, scores[0])
        readings(scores[0], chosen, many.homes)
        spent = time.process_time() - started
        if n >= WARM_TICKS:
            took.append(spent * 1000)
            told += len(chosen)
            rows += count * len(copies)
    figures = {
        "tick_cpu_ms_10k_homes": float(np.median(took)),
        "tick_cpu_ms_10k_homes_p99": float(np.quantile(took, 0.99)),
        "state_bytes_per_home": operator.state.bytes_per_home(HOMES),
        "snapshot_bytes_per_home": len(operator.snapshot()) / HOMES,
        "rows_per_tick": rows / len(took),
        "homes_told_per_tick": told / len(took),
    }
    settings = {
        "homes": HOMES,
        "distinct_homes": MODELS,
        "sensors": len(many.sensors),
        "ticks": len(took),
        "model": manifest.sha256[:16],
        "quick": quick,
    }
    return document("inactivity", figures, seed=seed, settings=settings)


def _repeated(layout: Layout, times: int) -> Layout:
    homes = len(layout.homes)
    return Layout(
        tuple(f"{name}-{k}" for k in range(times) for name in layout.homes),
        np.tile(layout.zone, times),
        layout.zones,
        layout.sensors * times,
        np.concatenate([layout.home + k * homes for k in range(times)]).astype(np.int32),
        np.tile(layout.kind, times),
        np.tile(layout.room, times),
        np.tile(layout.role, times),
    )
