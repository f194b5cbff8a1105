"""Small batches for tests."""

from __future__ import annotations

import numpy as np

from contracts.batch import Flag, ReadingBatch
from edge.packer import Closed

T0 = 1_767_225_600_000


def batch(
    rows: int, *, first: int = 0, devices: int = 5, alarm: bool = False, quantity: str = "flow"
) -> ReadingBatch:
    """Rows numbered from `first` by their value, one millisecond apart."""
    number = np.arange(first, first + rows)
    return ReadingBatch(
        tuple(f"fw-{n:04d}" for n in range(devices)),
        ("firewater",) * devices,
        (quantity,),
        (number % devices).astype(np.int32),
        np.zeros(rows, np.int16),
        T0 + number.astype(np.int64),
        number.astype(np.float64),
        np.full(rows, Flag.ALARM if alarm else 0, np.uint16),
    )


def closed(rows: int = 10, *, first: int = 0, gateway: int = 0, alarm: bool = False) -> Closed:
    """Rows as they would be one pack."""
    return Closed(gateway, batch(rows, first=first, alarm=alarm), alarm, T0 + first, 1000 + first)
