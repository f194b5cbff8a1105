"""How far event time has got for each device: as far as for its gateway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from rules.instances import NEVER_MS

_NDArrayI = NDArray[np.int32] | NDArray[np.intp]


class Watermarks:
    """newest_ms: the greatest of all; nothing can be due after it."""

    def __init__(self, directory: DeviceDirectory, watermark_ms: NDArray[np.int64]) -> None:
        # The last entry serves devices whose gateway isn't known (-1): they have no time.
        self._by_gateway = np.append(np.maximum(watermark_ms, NEVER_MS), NEVER_MS)
        # Not its column: devices come after the mark that this is of, and it may be asked later.
        self._directory = directory
        self.newest_ms = int(watermark_ms.max(initial=NEVER_MS))

    def of(self, device: _NDArrayI) -> NDArray[np.int64]:
        """int64 for each directory row of `device`."""
        gateway = self._directory.gateway[device]
        late = gateway >= len(self._by_gateway) - 1
        return self._by_gateway[np.where(late, -1, gateway)]
