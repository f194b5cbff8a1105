"""What each sensor said: its last row, how often it saw somebody, and how often it alone did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity import health
from detectors.inactivity.clock import HOUR_MS
from detectors.inactivity.layout import Kind, Layout
from detectors.inactivity.learning import Rows
from detectors.inactivity.state import SENSOR_UNIT, Columns

BASE_FACTOR, BASE_M3 = 1.5, 0.0002
"""Water up to so much more than the least of a day and the day before it is base flow, where the
meter speaks in every hour: a leak, a tap that drips (the factor is a proposal; use around the clock
as the sign of a leak is the practice of Shenzhen Longgang)."""
ALL_HOURS = (1 << 24) - 1
_METER = int(Kind.METER)


def leave_out_base_flow(
    columns: Columns,
    sensor: NDArray[np.int32],
    kind: NDArray[np.uint8],
    ts: NDArray[np.int64],
    value: NDArray[np.float64],
    active: NDArray[np.bool_],
) -> None:
    """A tap that drips shows nobody: what a meter never falls below isn't a person's doing."""
    row = np.flatnonzero(kind == _METER)
    if not len(row):
        return
    meter = sensor[row]
    base = np.fmin(columns["least"][meter], columns["least_before"][meter])
    # One that tells only of use is silent at night: its least reading is a use.
    flows = (base > 0) & (columns["hours_before"][meter] == ALL_HOURS)
    active[row] &= ~(flows & (value[row] <= BASE_FACTOR * base + BASE_M3))
    np.fmin.at(columns["least"], meter, value[row])
    hour = (ts[row] // HOUR_MS % 24).astype(np.uint32)
    np.bitwise_or.at(columns["hours"], meter, np.uint32(1) << hour)


def note_last(
    columns: Columns,
    layout: Layout,
    acts: NDArray[np.int64],
    sensor: NDArray[np.int32],
    ts: NDArray[np.int64],
    value: NDArray[np.float64],
) -> None:
    """Rows in order of (sensor, ts). acts: active ticks of each home so far."""
    last = np.flatnonzero(np.diff(sensor, append=-1))
    which = sensor[last]
    columns["value"][which] = value[last]
    columns["row_ms"][which] = np.maximum(columns["row_ms"][which], ts[last])
    columns["acts_then"][which] = acts[layout.home[which]] + 1


def note_acting(columns: Columns, layout: Layout, acting: NDArray[np.int64], part: Rows) -> None:
    """acting: sensors that show a person inside and did so in this tick, each once."""
    if not len(acting):
        return
    good = health.believed(columns["trust"][acting])
    owner = layout.home[acting]
    at = part[owner]
    others = np.bincount(owner[good], minlength=len(layout.homes))[owner] - good
    alone = others == 0
    columns["busy"][acting] += np.uint16(1)
    columns["hour"][acting[alone]] += np.uint16(1)
    # What a mad sensor sees is no habit of the home.
    for name in ("seen", "lately"):
        _add(columns[name], acting[good], at[good])
    for name in ("alone", "lately_alone"):
        _add(columns[name], acting[alone & good], at[alone & good])


def _add(column: NDArray[np.uint16], sensors: NDArray[np.int64], part: Rows) -> None:
    """Count a tick, up to what the column holds."""
    old = column[sensors, part]
    column[sensors, part] = np.minimum(old.astype(np.int64) + SENSOR_UNIT, 65_535).astype(np.uint16)
