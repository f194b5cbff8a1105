"""An e-bike charging port as a function of time: at most one session from noon to noon.

Evening arrivals, constant power, then a fall, then a short float; all values are proposals.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sources.simulate import rhythms
from edge.sources.simulate.draws import Floats, Keys, gauss, unit
from edge.sources.simulate.processes import Channels, Ints

FACETS: Final = (
    "port_power",
    "current",
    "port_temperature",
    "session_time",
    "relay",
    "stop_reason",
)
FULL: Final = 1.0
"""Stop reason 1 of the DNY table: full."""
STOP_SHOWN_MS: Final = 60_000

_HOUR_MS = 3_600_000
_COMES, _START, _LENGTH, _POWER, _AMBIENT = 31, 32, 33, 34, 35


def port_state(channels: Channels, slot: Ints, ts_ms: Ints) -> Floats:
    """The value of each row's facet; params: facet (index into `FACETS`)."""
    comes, start, end, full_w = session_of(channels.key, ts_ms)
    elapsed = ts_ms - start
    on = comes & (elapsed >= 0) & (ts_ms < end)
    done = np.clip(elapsed / np.maximum(end - start, 1), 0.0, 1.0)
    power = np.where(on, _power(done, full_w) * (1 + 0.01 * gauss(channels.key, slot)), 0.0)
    ambient = 20.0 + 6.0 * rhythms.level(rhythms.CURVE_INDEX["sun"], ts_ms)
    warmth = ambient + 14.0 * power / 400.0 + 0.2 * gauss(channels.key, slot, _AMBIENT)
    stopped = comes & (ts_ms >= end) & (ts_ms < end + STOP_SHOWN_MS)
    facets: tuple[Floats, ...] = (
        power,
        power / 220.0,
        warmth,
        np.where(on, np.floor(elapsed / 1000.0), 0.0),
        on.astype(np.float64),
        np.where(stopped, FULL, 0.0),
    )
    return np.choose(channels.params["facet"].astype(np.intp), facets)


def session_of(key: Keys, ts_ms: Ints) -> tuple[NDArray[np.bool_], Ints, Ints, Floats]:
    """(whether there is one, start ms, end ms, full power W) of the noon-to-noon of `ts_ms`."""
    noon = rhythms.DAY_MS // 2
    day = (ts_ms + rhythms.UTC_OFFSET_MS - noon) // rhythms.DAY_MS
    midnight = day * rhythms.DAY_MS - rhythms.UTC_OFFSET_MS
    comes = unit(key, day, _COMES) < 0.75
    start = midnight + ((17.0 + 5.0 * unit(key, day, _START)) * _HOUR_MS).astype(np.int64)
    length = ((2.5 + 3.5 * unit(key, day, _LENGTH)) * _HOUR_MS).astype(np.int64)
    return comes, start, start + length, 150.0 + 230.0 * unit(key, day, _POWER)


def _power(done: Floats, full_w: Floats) -> Floats:
    falling = full_w + (40.0 - full_w) * (done - 0.7) / 0.25
    value = np.where(done < 0.95, falling, 18.0)
    return np.where(done < 0.7, full_w, value)
