"""`bench decode`: what it costs to turn wire bytes into columns, packs beside native JSON.

The pack path is ingest's own (`contracts.pack.decode_raw` with kept dictionaries is inside
`Admission`); here the codec alone is timed, a message at a time, as it arrives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from app.bench.document import document
from contracts import pack
from contracts.batch import ReadingBatch
from contracts.telemetry import decode_many, encode_messages

ROWS = 500
DEVICES = 50
START_MS = 1_760_000_000_000


def sample_batch(seed: int, gateway: int = 0) -> ReadingBatch:
    """500 readings of 50 devices, two quantities, as a gateway of ours sends them."""
    random = np.random.default_rng(seed)
    row = np.arange(ROWS)
    return ReadingBatch(
        tuple(f"dev-{gateway:02d}-{i:05d}" for i in range(DEVICES)),
        ("efire",) * DEVICES,
        ("cable_temperature", "residual_current"),
        (row % DEVICES).astype(np.int32),
        (row // DEVICES % 2).astype(np.int16),
        START_MS + (row // DEVICES * 100).astype(np.int64),
        np.round(random.normal(30, 2, ROWS), 2),
        np.zeros(ROWS, np.uint16),
    )


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    budget_s = 1.5 if quick else 5.0
    batch = sample_batch(seed)
    packed = pack.encode(pack.Pack(pack.PackHeader("gw-00", 1 << 32, 1, START_MS, 0), batch))
    messages = encode_messages(batch).splitlines()
    encode_s = _each(budget_s, lambda: pack.encode(pack.decode(packed)))
    decode_s = _each(budget_s, lambda: pack.decode(packed))
    json_s = _each(budget_s, lambda: decode_many(messages))
    figures = {
        "readings_per_cpu_s": ROWS / decode_s,
        "messages_per_s": len(messages) / json_s,
        "pack_decode_us": decode_s * 1e6,
        "pack_encode_us": (encode_s - decode_s) * 1e6,
        "pack_bytes": float(len(packed)),
        "json_readings_per_cpu_s": ROWS / json_s,
        "json_bytes_per_reading": sum(map(len, messages)) / ROWS,
    }
    settings = {"rows": ROWS, "devices": DEVICES, "budget_s": budget_s}
    return document("decode", figures, seed=seed, settings=settings)


def _each(budget_s: float, step: Callable[[], object]) -> float:
    """CPU seconds of one step, over at least `budget_s` CPU seconds."""
    step()
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < budget_s:
        for _ in range(20):
            step()
        done += 20
    return spent / done
