"""What moved: a three-frame difference, and the few pixels that it leaves as blobs.

The difference looks at three frames about 80 ms apart: a pixel moved when the middle one differs
from both others. A thing of 0.3 m then shows once it is faster than 2 to 4 m/s, half a metre into
its fall, whatever the scale; at a single frame's step it would show one storey later. Nothing is
opened or blurred, so that things of 2 to 3 pixels stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

APART_S = 0.08
"""Seconds between the frames that are compared (from the reckoning above; a proposal)."""
LEAST, MOST = 7, 40
"""Bounds of the threshold in grey levels; between them it follows the noise."""
NOISE_TIMES = 4.5
CELL = 4
"""Pixels of a cell's side; pixels in touching cells are one blob."""
BLOCK = 16
ACTIVE_S, ACTIVE_SHARE = 3.0, 0.3
"""A block that moves in more than this share of the last seconds is a tree, a flag or a screen."""
MOST_POINTS = 20_000
"""Moved pixels in calm blocks; with more the whole picture moved, and nothing is labelled."""
MOST_BLOBS = 96
SEARCH = 251
"""A frame's noise is read off this many rows and columns at most."""


@dataclass(frozen=True, slots=True)
class Blobs:
    """k things that moved in one frame, in columns, the strongest first when there were too many.

    x, y: float64[k], centre. w, h: int32[k]. area: int32[k]. contrast: float64[k], signed.
    points: pixels that moved, but for blocks that always do. busy: so many moved that nothing was
    labelled. lost: blobs beyond the bound.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    w: NDArray[np.int32]
    h: NDArray[np.int32]
    area: NDArray[np.int32]
    contrast: NDArray[np.float64]
    points: int = 0
    busy: bool = False
    lost: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.intp]) -> Blobs:
        return Blobs(
            self.x[rows], self.y[rows], self.w[rows], self.h[rows], self.area[rows],
            self.contrast[rows], self.points, self.busy, self.lost,
        )  # fmt: skip


def _none(points: int = 0, *, busy: bool = False) -> Blobs:
    f, i = np.empty(0), np.empty(0, np.int32)
    return Blobs(f, f, i, i, i, f, points, busy)


class Motion:
    """Of one camera. All coordinates are those of the whole picture.

    mask: bool[height, width] or None. Only its bounding box is ever touched.
    """

    def __init__(
        self, width: int, height: int, fps: float, mask: NDArray[np.bool_] | None = None
    ) -> None:
        self._mask = mask
        top, bottom, left, right = 0, height, 0, width
        if mask is not None:
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            top, bottom = int(rows[0]), int(rows[-1]) + 1
            left, right = int(cols[0]) & ~7, int(cols[-1]) + 1
        self._top, self._left = top, left
        self._box = slice(top, bottom), slice(left, right)
        high, wide = bottom - top, right - left
        self._wide = wide
        padded = -(-wide // 8) * 8
        self._words = padded // 8
        # The columns beyond the picture stay zero for ever.
        self._moved = np.zeros((high, padded), np.uint8)
        self._newer = np.empty((high, wide), np.uint8)
        cells = (high // CELL + 1, wide // CELL + 1)
        self._cells = np.zeros(cells, np.uint8)
        blocks_wide = padded // BLOCK + 1
        row, word = np.divmod(np.arange(high * self._words), self._words)
        self._block = (row // BLOCK * blocks_wide + word * 8 // BLOCK).astype(np.int32)
        self._activity = np.zeros((high // BLOCK + 1) * blocks_wide)
        self._active = np.zeros(len(self._activity), bool)
        self._decay = 1.0 / max(ACTIVE_S * fps, 2.0)
        self._grid = max(1, high // SEARCH), max(1, wide // SEARCH)
        self._noise = 1.0
        self._learn = True
        self._frames = 0

    @property
    def threshold(self) -> int:
        """Grey levels."""
        return int(min(max(round(NOISE_TIMES * self._noise), LEAST), MOST))

    def forget(self) -> None:
        """The last frames told of the camera's own shaking and not of trees."""
        self._activity *= 0.5

    def blobs(
        self,
        older: NDArray[np.uint8],
        middle: NDArray[np.uint8],
        newer: NDArray[np.uint8],
        *,
        learn: bool = True,
    ) -> Blobs:
        """What moved, where it was in the middle frame. All uint8[height, width].

        learn: whether to note which blocks always move; not while the camera shakes.
        """
        self._learn = learn
        box = self._box
        old, mid, new = older[box], middle[box], newer[box]
        moved = self._moved[:, : self._wide]
        cv2.absdiff(new, mid, dst=self._newer)
        if self._frames % 8 == 0:
            self._learn_noise()
        self._frames += 1
        cv2.absdiff(mid, old, dst=moved)
        cv2.min(moved, self._newer, dst=moved)
        cv2.threshold(moved, self.threshold, 255, cv2.THRESH_TOZERO, dst=moved)
        y, x = self._points()
        if self._mask is not None and len(y):
            kept = self._mask[y + self._top, x + self._left]
            y, x = y[kept], x[kept]
        if not 0 < len(y) <= MOST_POINTS:
            return _none(len(y), busy=len(y) > 0)
        return self._labelled(y, x, old, mid, new)

    def _learn_noise(self) -> None:
        """Standard deviation of a difference, from a grid of pixels; moving things are few."""
        seen = self._newer[:: self._grid[0], :: self._grid[1]].ravel()
        ordinary = seen[seen < MOST]
        if len(ordinary) > len(seen) // 2:
            # Mean absolute value of a normal variable is 0.8 of its standard deviation.
            self._noise += 0.2 * (float(ordinary.mean()) * 1.2533 - self._noise)

    def _points(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of what moved in calm blocks, in the box.

        Eight pixels are looked at as one word: few words hold anything, and of those the ones in
        a tree go before a pixel is touched.
        """
        flat = self._moved.view(np.uint64).ravel()
        word = self._calm(np.flatnonzero(flat != 0))
        at = np.flatnonzero(flat[word].view(np.uint8) != 0)
        word = word[at >> 3]
        row = word // self._words
        return row, (word - row * self._words) * 8 + (at & 7)

    def _calm(self, word: NDArray[np.int64]) -> NDArray[np.int64]:
        """Only what lies in blocks that don't move all the time."""
        block = self._block[word]
        kept: NDArray[np.int64] = word[self._activity[block] < ACTIVE_SHARE]
        if not self._learn:
            return kept
        self._active[:] = False
        self._active[block] = True
        # In the beginning the share of all frames so far, so that trees are known early.
        decay = max(self._decay, 1.0 / (self._frames + 5))
        self._activity += decay * (self._active - self._activity)
        return kept

    def _labelled(
        self,
        y: NDArray[np.int64],
        x: NDArray[np.int64],
        old: NDArray[np.uint8],
        mid: NDArray[np.uint8],
        new: NDArray[np.uint8],
    ) -> Blobs:
        cy, cx = y // CELL, x // CELL
        top, left = int(cy.min()), int(cx.min())
        cells = self._cells[top : int(cy.max()) + 1, left : int(cx.max()) + 1]
        cells[cy - top, cx - left] = 1
        _, label = cv2.connectedComponents(cells, connectivity=8, ltype=cv2.CV_16U)
        of = label[cy - top, cx - left].astype(np.int64) - 1
        cells[cy - top, cx - left] = 0
        return self._measured(of, y, x, (old, mid, new))

    def _measured(
        self,
        of: NDArray[np.int64],
        y: NDArray[np.int64],
        x: NDArray[np.int64],
        frames: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]],
    ) -> Blobs:
        order = np.argsort(of, kind="stable")
        of, y, x = of[order], y[order], x[order]
        begin = np.flatnonzero(np.diff(of, prepend=-1))
        area = np.diff(begin, append=len(of))
        old, mid, new = (frame[y, x].astype(np.int32) for frame in frames)
        weight = self._moved[y, x].astype(np.float64)
        sums = np.add.reduceat(weight, begin)
        # A thing before a patterned wall is lighter here and darker there: how much, and the sign
        # of the whole, are told apart.
        lighter = np.add.reduceat(2 * mid - old - new, begin) >= 0
        contrast = np.where(lighter, sums, -sums) / area
        blobs = Blobs(
            np.add.reduceat(weight * x, begin) / sums + self._left,
            np.add.reduceat(weight * y, begin) / sums + self._top,
            (np.maximum.reduceat(x, begin) - np.minimum.reduceat(x, begin) + 1).astype(np.int32),
            (np.maximum.reduceat(y, begin) - np.minimum.reduceat(y, begin) + 1).astype(np.int32),
            area.astype(np.int32),
            contrast,
            len(y),
            lost=max(0, len(begin) - MOST_BLOBS),
        )
        if len(blobs) <= MOST_BLOBS:
            return blobs
        strength = np.sqrt(blobs.area) * np.abs(blobs.contrast)
        return blobs.take(np.sort(np.argsort(-strength, kind="stable")[:MOST_BLOBS]))
