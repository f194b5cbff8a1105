"""How the readings of ordinary sensors move: base, rhythm, slow drift, noise; batteries; counters.

Every model is (channels per row, slot, ts_ms) -> value, and knows no other row.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from edge.sources.simulate import rhythms
from edge.sources.simulate.draws import Floats, gauss, unit
from edge.sources.simulate.processes import Channels, Ints

_DRIFT_PERIOD_MS: Final = 30 * rhythms.DAY_MS
_BATTERY_EPOCH_MS: Final = 1_735_689_600_000  # 2025-01-01, when the batteries were new
_BATTERY_LIFE_DAYS: Final = 3650.0
_USES, _LITRES = 11, 12


def steady(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:
    """base + swing * rhythm + drift + noise, not below `least`."""
    p = channels.params
    phase = (channels.key & np.uint64(0xFFFF)).astype(np.float64) / 65536.0
    turns = ts_ms / _DRIFT_PERIOD_MS + phase
    value = p["base"] + p["swing"] * rhythms.level(p["curve"].astype(np.intp), ts_ms)
    value = value + p["drift"] * np.sin(2.0 * math.pi * turns)
    value = value + p["noise"] * gauss(channels.key, slot)
    return np.maximum(value, p["least"])


def constant(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:  # noqa: ARG001
    """A bit or state at rest: always `base`."""
    return channels.params["base"]


def battery(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:
    """A lithium cell: 3.65 V when new, 0.25 V lost in ten years, a little noise."""
    days = (ts_ms - _BATTERY_EPOCH_MS) / rhythms.DAY_MS
    sag = 0.25 * np.clip(days / _BATTERY_LIFE_DAYS, 0.0, 1.0)
    return channels.params["base"] - sag + 0.004 * gauss(channels.key, slot)


def counter(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:  # noqa: ARG001
    """Rises with the rhythm: base + rate * minutes of rhythm since 2025, whole steps."""
    p = channels.params
    curve = int(p["curve"][0]) if len(p["curve"]) else 0
    since = np.array([_BATTERY_EPOCH_MS], np.int64)
    done = rhythms.amount(curve, ts_ms) - rhythms.amount(curve, since)
    return np.floor(p["base"] + p["rate"] * done)


def tap(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:
    """Water drawn in the interval before this row, m3: nothing, or 6 to 30 litres."""
    chance = rhythms.level(rhythms.CURVE_INDEX["tap"], ts_ms)
    drawn = 0.006 + 0.024 * unit(channels.key, slot, _LITRES)
    return np.where(unit(channels.key, slot, _USES) < chance, drawn, 0.0)
