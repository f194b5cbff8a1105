"""Daily rhythms of a district as curves over the minutes of the local day.

The shapes are made up to look like a residential compound (proposals, no standard stands behind
them). Local time is a fixed offset: China has kept UTC+8 without daylight saving since 1991.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DAY_MS: Final = 86_400_000
UTC_OFFSET_MS: Final = 8 * 3_600_000

_KNOTS: dict[str, tuple[tuple[float, float], ...]] = {
    "flat": ((0, 0.0), (24, 0.0)),
    # electric load of homes: breakfast, supper, low at night; -1..1
    "load": ((0, -0.6), (4, -1.0), (7, 0.1), (8, 0.4), (11, 0.1), (15, -0.1), (18, 0.6), (20, 1.0),
             (22, 0.6), (24, -0.6)),
    # outdoor warmth; -1..1
    "sun": ((0, -0.7), (5, -1.0), (9, 0.1), (14, 1.0), (18, 0.4), (24, -0.7)),
    # water drawn from the main: the pressure is low when use is high; -1..1
    "supply": ((0, 0.8), (4, 1.0), (7, -0.8), (9, -0.2), (12, -0.5), (15, 0.2), (19, -1.0),
               (22, -0.2), (24, 0.8)),
    # share of one-minute slots with a lift trip; 0..1
    "lift": ((0, 0.03), (4, 0.01), (7, 0.55), (8.5, 0.6), (10, 0.3), (15, 0.25), (18, 0.65),
             (20, 0.4), (23, 0.12), (24, 0.03)),
    # chance of motion at home per minute; 0..1
    "home": ((0, 0.02), (5, 0.02), (6.5, 0.45), (9, 0.35), (12, 0.4), (13.5, 0.12), (15, 0.3),
             (19, 0.4), (21.5, 0.3), (22.5, 0.05), (24, 0.02)),
    # chance that a half hour has some water use; 0..1
    "tap": ((0, 0.03), (5, 0.03), (6, 0.6), (7, 1.0), (8, 0.9), (10, 0.4), (12, 0.8), (14, 0.2),
            (17.5, 0.8), (20, 0.7), (21, 1.0), (22, 0.6), (23, 0.05), (24, 0.03)),
    # chance that somebody goes out or comes home in ten minutes; 0..1
    "door": ((0, 0.0), (6, 0.02), (8, 0.12), (10, 0.1), (13, 0.04), (16, 0.12), (19, 0.06),
             (22, 0.0), (24, 0.0)),
}  # fmt: skip

CURVES: tuple[str, ...] = tuple(_KNOTS)
CURVE_INDEX = {name: i for i, name in enumerate(CURVES)}

_HOURS = np.arange(1440) / 60.0
_TABLE = np.stack([np.interp(_HOURS, *np.array(knots).T) for knots in _KNOTS.values()])
_CUMULATIVE = np.concatenate([np.zeros((len(CURVES), 1)), np.cumsum(_TABLE, axis=1)], axis=1)


def minute_of_day(ts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Local minute 0..1439."""
    return (ts_ms + UTC_OFFSET_MS) % DAY_MS // 60_000


def level(curve: NDArray[np.intp] | int, ts_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """The curve's value at each time; `curve` is an index into `CURVES`."""
    values: NDArray[np.float64] = _TABLE[curve, minute_of_day(ts_ms)]
    return values


def amount(curve: int, ts_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minutes times level since 1970, for counters: never falls where the curve is >= 0."""
    local = ts_ms + UTC_OFFSET_MS
    minute = local % DAY_MS // 60_000
    part = local % 60_000 / 60_000.0
    table, cumulative = _TABLE[curve], _CUMULATIVE[curve]
    total: NDArray[np.float64] = local // DAY_MS * cumulative[-1]
    total += cumulative[minute] + table[minute] * part
    return total
