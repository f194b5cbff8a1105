"""The camera front end: pictures in, tracklets and the camera's state out.

Streaming and bounded: it holds five luma planes, the blobs of three frames and the tracks that
are under way. The same frames give the same tracklets.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.tracklets import CROP, TrackletBatch, Trait
from edge.camera.health import Health, State
from edge.camera.motion import APART_S, Blobs, Motion
from edge.camera.scale import View
from edge.camera.steady import Steadier
from edge.camera.tracks import Crop, Track, Tracker
from edge.camera.video import Frame

SHAKY_SHARE = 0.004
"""Share of the picture that must have moved for the shake to be looked at."""
BURST, EACH_S = 60.0, 3.0
"""Tracklets that may be handed on at once, and in a second for long: rain has more, and those are
counted (proposals)."""
LONG_US = 500_000
"""When half of the burst is used up the rest is for tracks of this length: a drop of rain is
through the picture sooner."""
EDGE_SHARE = 0.35
"""While the camera shakes an edge of the facade must be outdone by this share of its height."""


@dataclass(slots=True)
class Figures:
    """frames: seen. busy: with too much motion to label. points, blobs: sums over the frames.
    tracklets: handed on. passed: tracks that weren't, by reason."""

    frames: int = 0
    busy: int = 0
    points: int = 0
    blobs: int = 0
    lost_blobs: int = 0
    tracklets: int = 0
    passed: Counter[str] = field(default_factory=Counter)


class FrontEnd:
    """Of one camera. `push` frames in order, `drain` tracklets."""

    def __init__(
        self,
        camera: str,
        view: View,
        fps: float,
        *,
        start_ms: int = 0,
        burst: float = BURST,
        health: Health | None = None,
    ) -> None:
        """camera: its device id. start_ms: unix time of the first frame's `at_us` 0. burst:
        tracklets that may be handed on at once. health: of the camera's last connection."""
        self._burst = burst
        self.camera = camera
        self.view = view
        self.start_ms = start_ms
        self._motion = Motion(view.width, view.height, fps, view.mask)
        self._tracker = Tracker(view.width, view.height)
        self._steadier = Steadier()
        self.health = Health(view.mask) if health is None else health.go_on()
        self._apart = max(1, round(APART_S * fps))
        self._frames: deque[tuple[int, NDArray[np.uint8], Any]] = deque(maxlen=2 * self._apart + 1)
        self._ended: list[Track] = []
        self._number = 0
        self._allowed, self._allowed_us = burst, 0
        self._last_us = 0
        self.figures = Figures(passed=self._tracker.passed)

    @property
    def last_us(self) -> int:
        """Time of the newest frame; 0 before the first."""
        return self._last_us

    @property
    def state(self) -> State:
        return self.health.state

    def push(self, frame: Frame) -> None:
        """Take the next frame. Its plane is held until `2 * APART_S` later."""
        self.figures.frames += 1
        self._last_us = frame.at_us
        self.health.push(frame.luma, frame.at_us)
        luma = self._steadier.steady(frame.luma, frame.at_us)
        self._frames.append((frame.at_us, luma, frame.hold))
        if len(self._frames) < 2 * self._apart + 1:
            return
        (_, older, _), (at_us, middle, _), (_, newer, _) = (
            self._frames[0], self._frames[self._apart], self._frames[-1],
        )  # fmt: skip
        blobs = self._motion.blobs(older, middle, newer, learn=not self._steadier.has_shaken)
        self.figures.points += blobs.points
        if blobs.points > SHAKY_SHARE * self.view.width * self.view.height:
            if not self._steadier.is_awake:
                self._motion.forget()
            self._steadier.wake(frame.at_us)
        if blobs.busy:
            self.figures.busy += 1
            self._tracker.gap()
            blobs = blobs.take(np.empty(0, np.intp))
        elif self._steadier.has_shaken:
            blobs = _off_edges(blobs, older)
        self.figures.blobs += len(blobs)
        self.figures.lost_blobs += blobs.lost
        crop = self._cropper(middle)
        self._ended += self._limited(self._tracker.push(at_us, blobs, crop), at_us)

    def finish(self) -> None:
        """The clip is over, or the stream has died: tracks under way end."""
        self._ended += self._limited(self._tracker.flush(), self._last_us)
        self._frames.clear()

    def drain(self) -> TrackletBatch:
        """The tracklets that have ended since the last call, as the wire carries them."""
        ended, self._ended = self._ended, []
        if not ended:
            return TrackletBatch.empty()
        batch = _batch(ended, self.camera, self.view, self.start_ms, self._number, self._trusted)
        self._number += len(ended)
        self.figures.tracklets += len(ended)
        return batch

    @property
    def has_ended(self) -> bool:
        return bool(self._ended)

    @property
    def _trusted(self) -> bool:
        """Whether mask and scale lie where they were drawn."""
        return self.view.is_calibrated and not self.state.moved

    def _limited(self, ended: Sequence[Track], at_us: int) -> list[Track]:
        """What may be handed on of what has ended."""
        if not ended:
            return []
        self._allowed = min(self._burst, self._allowed + EACH_S * (at_us - self._allowed_us) / 1e6)
        self._allowed_us = at_us
        kept = []
        for track in ended:
            long = track.end_us - track.points[0][0] >= LONG_US
            if self._allowed >= 1 and (long or self._allowed >= self._burst / 2):
                self._allowed -= 1
                kept.append(track)
            else:
                self.figures.passed["too_many"] += 1
        return kept

    def _cropper(self, luma: NDArray[np.uint8]) -> Any:
        """Crops only of what lies in a facade mask that can be trusted; outside it is black."""
        mask = self.view.mask
        if mask is None or not self._trusted:
            return None

        def crop(x: float, y: float) -> Crop | None:
            row, col = round(y) - CROP // 2, round(x) - CROP // 2
            if not (0 <= row <= luma.shape[0] - CROP and 0 <= col <= luma.shape[1] - CROP):
                return None
            part = slice(row, row + CROP), slice(col, col + CROP)
            return np.asarray(np.where(mask[part], luma[part], 0), np.uint8)

        return crop


def _off_edges(blobs: Blobs, older: NDArray[np.uint8]) -> Blobs:
    """Without those that an edge of the facade may have made by being shaken."""
    if not len(blobs):
        return blobs
    row = np.clip(np.round(blobs.y).astype(np.int64), 2, older.shape[0] - 3)
    col = np.clip(np.round(blobs.x).astype(np.int64), 2, older.shape[1] - 3)
    near = [older[row + dy, col + dx].astype(np.int32) for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    edge = np.max(near, axis=0) - np.min(near, axis=0)
    return blobs.take(np.flatnonzero(np.abs(blobs.contrast) > EDGE_SHARE * edge))


def _batch(
    tracks: Sequence[Track], camera: str, view: View, start_ms: int, number: int, trusted: bool
) -> TrackletBatch:
    n = len(tracks)
    count = np.array([len(track.points) for track in tracks], np.int32)
    points = np.array([point for track in tracks for point in track.points], np.float64)
    first = np.cumsum(count) - count
    at_us = points[:, 0].astype(np.int64)
    # A tracklet begins on a whole millisecond; its points keep their microseconds.
    begin_us = at_us[first]
    x, y = points[:, 1], points[:, 2]
    storey = [view.storeys(x[a : a + k], y[a : a + k]) for a, k in zip(first, count, strict=True)]
    crops = [(int(a) + p, crop) for a, t in zip(first, tracks, strict=True) for p, crop in t.crops]
    known = Trait.CALIBRATED | Trait.MASKED if trusted else Trait(0)
    return TrackletBatch(
        (camera,),
        np.zeros(n, np.int32),
        np.arange(number, number + n, dtype=np.int64),
        start_ms + begin_us // 1000,
        np.full(n, view.width, np.int32),
        np.full(n, view.height, np.int32),
        np.array([track.traits | known for track in tracks], np.uint8),
        # The three points that a track begins with aren't in the sum.
        np.array([t.crowd // max(len(t.points) - 3, 1) for t in tracks], np.int32),
        count,
        at_us - np.repeat(begin_us, count),
        x,
        y,
        points[:, 3],
        points[:, 4],
        points[:, 5].astype(np.int32),
        points[:, 6],
        np.concatenate(storey),
        np.array([at for at, _ in crops], np.int32),
        np.array([crop for _, crop in crops], np.uint8).reshape(-1, CROP, CROP),
    ).quantised()
