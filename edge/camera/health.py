"""Whether a camera can see: black or covered, frozen, turned away. Looked at once a second."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LOOK_US = 1_000_000
DARK, FLAT = 20.0, 4.0
"""Grey levels: a mean below the first with a spread below twice the second, or a spread below the
second, shows nothing (proposals)."""
BLOCKED_US = 5_000_000
FROZEN_US = 30_000_000
"""No pixel of the grid changed for so long: no sensor is that quiet (a proposal)."""
STILL, STILL_US = 3.0, 12 * 3_600_000_000
"""Where the encoder goes on a frozen picture still flickers, by less than the first (grey levels of
a small picture's pixel). Half a day brings sun or dusk to every facade, so that one that changed
by no more is frozen; a still night is shorter (proposals)."""
MOVED_US = 6_000_000
ALIKE = 0.35
"""Correlation of edges with those remembered, below which the view is another."""
LEARN = 0.05
SIZE = (96, 54)
ALL_INSIDE = 0.999
GRID = 8


@dataclass(frozen=True, slots=True)
class State:
    """What is wrong with a camera's picture now."""

    blocked: bool = False
    frozen: bool = False
    moved: bool = False


class Health:
    """Of one camera. Times are those of its frames."""

    def __init__(self, mask: NDArray[np.bool_] | None = None) -> None:
        """mask: bool[height, width], the facade: a clock in a corner goes on when all is frozen."""
        self.state = State()
        self._inside = np.ones(SIZE[::-1], bool)
        if mask is not None:
            share = cv2.resize(mask.astype(np.float32), SIZE, interpolation=cv2.INTER_AREA)
            if (share > ALL_INSIDE).any():
                self._inside = np.asarray(share > ALL_INSIDE)
        self._still: NDArray[np.uint8] | None = None
        self._still_us = 0
        self._look_us = 0
        self._edges: NDArray[np.float32] | None = None
        self._seen: NDArray[np.uint8] | None = None
        self._changed_us: int | None = None
        self._clear_us: int | None = None
        self._same_us: int | None = None

    def go_on(self) -> Health:
        """For the next connection, whose time begins at 0: what the camera should see is still
        known, so that turning it while it was away shows too."""
        if self._same_us is not None:
            self._same_us = -MOVED_US if self.state.moved else 0
        if self._still is not None:
            self._still_us -= self._look_us
        self._look_us = 0
        self._seen = self._changed_us = self._clear_us = None
        self.state = State(moved=self.state.moved)
        return self

    def push(self, luma: NDArray[np.uint8], at_us: int) -> State:
        """Take the next picture; gives the state, which changes once a second at most."""
        if at_us < self._look_us:
            return self.state
        self._look_us = at_us + LOOK_US
        small = np.asarray(cv2.resize(luma, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        spread = float(small.std())
        dark = spread < FLAT or (float(small.mean()) < DARK and spread < 2 * FLAT)
        if self._clear_us is None or not dark:
            self._clear_us = at_us
        self.state = State(
            blocked=dark and at_us - self._clear_us >= BLOCKED_US,
            frozen=self._is_frozen(luma, at_us) or self._is_still(small, at_us),
            moved=self._is_moved(small, at_us, dark=dark),
        )
        return self.state

    def _is_frozen(self, luma: NDArray[np.uint8], at_us: int) -> bool:
        seen = luma[::GRID, ::GRID]
        if self._seen is None or self._changed_us is None or not np.array_equal(seen, self._seen):
            self._seen, self._changed_us = seen.copy(), at_us
        return at_us - self._changed_us >= FROZEN_US

    def _is_still(self, small: NDArray[np.uint8], at_us: int) -> bool:
        if self._still is not None:
            away = np.abs(small.astype(np.int16) - self._still)
            if float(away[self._inside].max()) <= STILL:
                return at_us - self._still_us >= STILL_US
        self._still, self._still_us = small, at_us
        return False

    def _is_moved(self, small: NDArray[np.uint8], at_us: int, *, dark: bool) -> bool:
        """Edges outlive changes of light. What is remembered follows slowly, and only what is
        alike, so that a camera that was turned stays so until it is turned back or started anew."""
        if dark:
            return self.state.moved
        wide = small.astype(np.float32)
        edges = np.abs(np.diff(wide, axis=0))[:, :-1] + np.abs(np.diff(wide, axis=1))[:-1]
        edges = (edges - edges.mean()) / (edges.std() + 1e-3)
        if self._edges is None:
            self._edges = edges
        alike = float((self._edges * edges).mean()) / (float(self._edges.std()) + 1e-6)
        if alike >= ALIKE or self._same_us is None:
            self._same_us = at_us
            self._edges = (1 - LEARN) * self._edges + LEARN * edges
        return at_us - self._same_us >= MOVED_US
