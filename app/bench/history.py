"""A long history as packs, and a backtest of it: two rule sets, one process each."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from app.content import shipped_rules
from app.runners.backtest import backtest
from contracts import pack
from edge.sources.simulate import write_registry
from edge.sources.simulate.load import LoadDistrict, LoadSize

GATEWAYS = 200
DEVICES_EACH = 50
PERIOD_MS = 100
"""500 readings a second and gateway: a pack each."""
START_MS = 1_767_225_600_000
FIRE_EVERY_MS = 10_000
SHIPPED_LIMIT, CHANGED_LIMIT = "residual_current >= 300 mA", "residual_current >= 100 mA"
"""The load's currents lie around 120 mA: every circuit breaches the changed limit, none
the other."""


def write_history(folder: Path, seed: int, readings: int) -> int:
    """Write `packs` and `registry` into the folder; returns how many readings. Raises OSError."""
    gateways = tuple(f"gw-{i:04d}" for i in range(1, GATEWAYS + 1))
    size = LoadSize(gateways, DEVICES_EACH, PERIOD_MS, fire_every_ms=FIRE_EVERY_MS)
    district = LoadDistrict(seed, size, start_ms=START_MS)
    write_registry(folder / "registry", district)
    (folder / "packs").mkdir()
    written, second = 0, 0
    while written < readings:
        start = START_MS + second * 1_000
        parts = district.split(start, start + 1_000, range(GATEWAYS))
        for gateway, batch in zip(gateways, parts, strict=True):
            header = pack.PackHeader(gateway, 1 << 32, second + 1, start + 1_000, second * 1_000)
            name = folder / "packs" / f"{second:06d}-{gateway}.gwpk"
            name.write_bytes(pack.encode(pack.Pack(header, batch)))
            written += len(batch)
        second += 1
    return written


def measured(seed: int, readings: int) -> dict[str, float]:
    """The backtest of a changed limit: its wall clock and the CPU of both sides."""
    with TemporaryDirectory(prefix="gridwarden-bench-") as name:
        folder = Path(name)
        written = write_history(folder, seed, readings)
        changed = folder / "changed"
        shutil.copytree(shipped_rules(), changed)
        rules = changed / "efire.yml"
        text = rules.read_text(encoding="utf-8")
        if SHIPPED_LIMIT not in text:
            raise ValueError(f"{rules} has no {SHIPPED_LIMIT!r} to change")
        rules.write_text(text.replace(SHIPPED_LIMIT, CHANGED_LIMIT), encoding="utf-8")
        start = time.perf_counter()
        old, new = backtest(
            folder / "packs",
            shipped_rules(),
            changed,
            folder / "registry",
            on_progress=lambda *_: None,
        )
        took_s = time.perf_counter() - start
    if old.readings != written or new.readings != written:
        raise ValueError(f"of {written} readings {old.readings} and {new.readings} were let in")
    return {
        "backtest_readings": float(written),
        "backtest_s": took_s,
        "backtest_readings_per_s": written / took_s,
        "backtest_cpu_s_per_million": (old.cpu_s + new.cpu_s) / (written / 1e6),
        "backtest_old_alerts": float(len(old.episodes)),
        "backtest_new_alerts": float(len(new.episodes)),
    }
