"""The last hours of the gateways of a partition, in little memory: what a worker can show. Pure.

Where nobody keeps a store of all hours; see `ingest.completeness` for what an hour is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ingest.completeness import HourRow

SHOWN_HOURS = 48
"""How far back they are kept (proposal): 1.2 kB a gateway."""
_COLUMNS = 4
"""hour, packs, readings, covered_ms."""


class RecentHours:
    """A ring for each gateway: an hour's row is where hour % SHOWN_HOURS is."""

    def __init__(self) -> None:
        self._of: dict[str, NDArray[np.int64]] = {}

    def add(self, rows: Iterable[HourRow]) -> None:
        """Of an hour that is older than what stands in its place nothing is kept."""
        for row in rows:
            ring = self._of.get(row.gateway)
            if ring is None:
                ring = self._of[row.gateway] = np.zeros((SHOWN_HOURS, _COLUMNS), np.int64)
            place = ring[row.hour % SHOWN_HOURS]
            if row.hour > place[0]:
                place[:] = row.hour, 0, 0, 0
            if row.hour == place[0]:
                place[1:] += row.packs, row.readings, row.covered_ms

    def of(self, gateway: str) -> list[HourRow]:
        ring = self._of.get(gateway)
        rows = [] if ring is None else ring[ring[:, 0] > 0].tolist()
        return [HourRow(gateway, *row) for row in sorted(rows)]

    def state(self) -> dict[str, bytes]:
        """Gateway -> its ring, little-endian int64."""
        return {gateway: ring.astype("<i8").tobytes() for gateway, ring in self._of.items()}

    def load(self, state: dict[str, bytes]) -> None:
        """A ring of another length is left out: it would only be shown."""
        size = SHOWN_HOURS * _COLUMNS * 8
        self._of = {
            gateway: np.frombuffer(ring, "<i8").reshape(SHOWN_HOURS, _COLUMNS).astype(np.int64)
            for gateway, ring in state.items()
            if len(ring) == size
        }
