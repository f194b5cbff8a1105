"""A camera that shakes: pictures are moved back to where the reference stands.

Costs nothing as long as nothing shakes: only a picture of which a large part moved is compared
with the reference, and from then on every one until it has stood still for two seconds. The shift
is found by least squares over the gradients of a smaller picture (Lucas and Kanade 1981), which
stays at the nearest match where the windows of a facade repeat.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL = 4
"""The comparison looks at a picture this many times smaller."""
ROUNDS = 4
MOST_RESIDUAL = 25.0
"""Grey levels: what moves by itself must not pull."""
SHAKY_US = 2_000_000
REST_US = 20_000_000
"""When nothing was found to shake, a moving tree say, it isn't looked at for so long."""
STILL_PX = 0.3
"""Less than this from one frame to the next is the error of the estimate, or a slow drift."""
MOST_PX = 12.0
"""A larger shift is no shake."""

Small = NDArray[np.float32]


class Steadier:
    """Of one camera. shift: (x, y) of the last picture against the reference, in pixels."""

    def __init__(self) -> None:
        self._reference: _Reference | None = None
        self._remembered_us = 0
        self._until_us = -1
        self._rest_us = 0
        self.has_shaken = False
        self.shift = (0.0, 0.0)

    @property
    def is_awake(self) -> bool:
        return self._until_us >= 0

    def wake(self, at_us: int) -> None:
        """A large part of the picture moved: look from now on."""
        if at_us >= self._rest_us:
            self._until_us = max(self._until_us, at_us + SHAKY_US)

    def steady(self, luma: NDArray[np.uint8], at_us: int) -> NDArray[np.uint8]:
        """The picture as the reference sees it: itself as long as nothing shakes."""
        if self._reference is None or (not self.is_awake and at_us >= self._remembered_us):
            self._reference = _Reference(_small(luma))
            self._remembered_us = at_us + 5 * SHAKY_US
        if not self.is_awake:
            return luma
        found = self._reference.shift_of(_small(luma))
        before, self.shift = self.shift, (found[0] * SMALL, found[1] * SMALL)
        if max(map(abs, self.shift)) > MOST_PX:
            self.shift = 0.0, 0.0
        if max(abs(self.shift[0] - before[0]), abs(self.shift[1] - before[1])) >= STILL_PX:
            self._until_us = max(self._until_us, at_us + SHAKY_US)
            self.has_shaken = True
        elif at_us > self._until_us:
            self._rest_us = 0 if self.has_shaken else at_us + REST_US
            self._until_us, self.has_shaken, self.shift = -1, False, (0.0, 0.0)
            return luma
        if not self.has_shaken or max(map(abs, self.shift)) < STILL_PX / 2:
            return luma
        return np.asarray(_moved(luma, -self.shift[0], -self.shift[1]), np.uint8)


class _Reference:
    """A small picture with what the least squares need of it."""

    def __init__(self, small: Small) -> None:
        self._small = small
        self._gy, self._gx = (g.astype(np.float32) for g in np.gradient(small))
        xx, xy, yy = (
            float((a * b).sum())
            for a, b in ((self._gx, self._gx), (self._gx, self._gy), (self._gy, self._gy))
        )
        self._matrix = xx, xy, yy
        # A blank wall has no gradients: nothing can be told of its shifts.
        self._determinant = xx * yy - xy * xy

    def shift_of(self, small: Small) -> tuple[float, float]:
        """By how much `small` stands right and below of the reference, in its pixels."""
        if small.shape != self._small.shape or self._determinant < 1.0:
            return 0.0, 0.0
        xx, xy, yy = self._matrix
        x = y = 0.0
        for _ in range(ROUNDS):
            back = _moved(small, -x, -y) if x or y else small
            off = np.clip(back - self._small, -MOST_RESIDUAL, MOST_RESIDUAL)
            bx, by = float((self._gx * off).sum()), float((self._gy * off).sum())
            dx = -(yy * bx - xy * by) / self._determinant
            dy = -(xx * by - xy * bx) / self._determinant
            x, y = x + dx, y + dy
            if max(abs(dx), abs(dy)) < 0.02:
                break
        return x, y


def _moved(
    picture: NDArray[np.uint8] | Small, x: float, y: float
) -> NDArray[np.uint8] | NDArray[np.float32]:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(  # type: ignore[return-value]
        picture,
        matrix,
        (picture.shape[1], picture.shape[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _small(luma: NDArray[np.uint8]) -> Small:
    size = max(luma.shape[1] // SMALL, 8), max(luma.shape[0] // SMALL, 8)
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
