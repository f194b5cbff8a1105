"""Units of time, and the local clock of each home."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.layout import Layout

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MIN = 1440


class LocalClock:
    """Offsets of zones are looked up once in a quarter of an hour: they never change within one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._offsets: dict[int, NDArray[np.int64]] = {}

    def minutes(self, at_ms: int) -> NDArray[np.int64]:
        """int64 a home: minutes of the local clock since 1970."""
        quarter = at_ms // (15 * MINUTE_MS)
        shift = self._offsets.get(quarter)
        if shift is None:
            at = datetime.fromtimestamp(quarter * 900, UTC)
            found = [at.astimezone(zone).utcoffset() for zone in self._layout.zones]
            minutes = [0 if one is None else int(one.total_seconds()) // 60 for one in found]
            shift = np.array([*minutes, 0], np.int64)[self._layout.zone]
            self._offsets = {quarter: shift}
        return at_ms // MINUTE_MS + shift


def kind_of_day(local: NDArray[np.int64]) -> NDArray[np.intp]:
    """0: a working day, 1: a weekend. local: minutes of the local clock since 1970."""
    return np.asarray((local // DAY_MIN + 3) % 7 >= 5).astype(np.intp)
