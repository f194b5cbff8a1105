"""From blobs to tracks: things that fall are expected to speed up.

A track begins with three blobs in a row whose steps agree, goes on where a filter of position,
speed and acceleration expects it, and ends when nothing was there for a quarter of a second. So
legs upward, drag and a curve are legal, and jumping about isn't. What is handed on must have come
down by a bit; whether it fell is for the detector to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.tracklets import Trait
from edge.camera.motion import Blobs

FASTEST = 2.5
"""Heights of the picture in a second: 1 800 px/s at 720 rows (35 m/s at 50 px/m)."""
STEP_PX, STEP_SHARE = 2.0, 0.22
"""How far two steps in a row may differ: in pixels, plus this share of the step."""
GATE_PX, GATE_SHARE = 3.0, 0.3
"""How far from the expected place a track goes on; with each frame missed it grows by half."""
POSITION, SPEED, ACCELERATION = 0.75, 0.5, 0.12
"""Gains of the filter."""
LOST_US = 250_000
SEED_BLOBS = 40
"""Blobs of a frame that may begin a track: the strongest."""
MOST_LIVE = 64
MOST_POINTS = 250
LEAST_POINTS, LEAST_US = 5, 150_000
LEAST_DROP = 1 / 60
"""Of the picture's height: 12 px of 720. What came down less isn't handed on."""
SIDEWAYS = 4.0
"""Nor what went this many times farther sideways than down."""
CROP_AT = (4, 9, 18)
"""Points of a track at which a crop is kept."""

Crop = NDArray[np.uint8]
Point = tuple[int, float, float, int, int, int, float]
"""(at_us, x, y, w, h, area, contrast)."""


@dataclass(slots=True)
class Track:
    """points: in time. crops: (point, picture). traits: how it ended, of `Trait`. crowd: sum over
    its points of how many things moved in the picture."""

    points: list[Point]
    crops: list[tuple[int, Crop]] = field(default_factory=list)
    traits: int = 0
    crowd: int = 0

    @property
    def end_us(self) -> int:
        return self.points[-1][0]


@dataclass(slots=True)
class _Live:
    """A track and what its filter believes; speeds in px/s."""

    track: Track
    x: float
    y: float
    vx: float
    vy: float
    ax: float = 0.0
    ay: float = 0.0
    missed: int = 0

    def expect(self, at_us: int) -> tuple[float, float, float]:
        """(x, y, gate) at this time."""
        dt = (at_us - self.track.end_us) / 1e6
        step = (abs(self.vx) + abs(self.vy)) * dt / (1 + self.missed)
        gate = (GATE_PX + GATE_SHARE * step) * (1 + 0.5 * self.missed)
        return (
            self.x + self.vx * dt + 0.5 * self.ax * dt * dt,
            self.y + self.vy * dt + 0.5 * self.ay * dt * dt,
            gate,
        )

    def go_on(self, point: Point) -> None:
        dt = (point[0] - self.track.end_us) / 1e6
        x, y, _ = self.expect(point[0])
        dx, dy = point[1] - x, point[2] - y
        self.x, self.y = x + POSITION * dx, y + POSITION * dy
        self.vx += self.ax * dt + SPEED * dx / dt
        self.vy += self.ay * dt + SPEED * dy / dt
        self.ax += ACCELERATION * dx / (dt * dt)
        self.ay += ACCELERATION * dy / (dt * dt)
        self.missed = 0
        self.track.points.append(point)


@dataclass(slots=True)
class _Seen:
    """Blobs of one frame that belong to no track yet."""

    at_us: int
    blobs: Blobs


class Tracker:
    """Of one camera. passed: tracks that weren't handed on, by reason."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._fastest = FASTEST * height
        self._live: list[_Live] = []
        self._seen: list[_Seen] = []
        self.passed: Counter[str] = Counter()

    def push(
        self, at_us: int, blobs: Blobs, crop: Callable[[float, float], Crop | None] | None = None
    ) -> list[Track]:
        """Take the blobs of the next frame; gives the tracks that have ended."""
        free = self._go_on(at_us, blobs, crop)
        ended = self._end(at_us)
        rest = blobs.take(free)
        if len(rest) > SEED_BLOBS:
            strength = np.sqrt(rest.area) * np.abs(rest.contrast)
            rest = rest.take(np.sort(np.argsort(-strength, kind="stable")[:SEED_BLOBS]))
        self._seen = [*self._seen[-2:], _Seen(at_us, rest)]
        self._begin()
        return ended

    def gap(self) -> None:
        """A frame in which nothing could be seen: tracks go on, beginnings don't reach over it."""
        self._seen.clear()

    def flush(self) -> list[Track]:
        """End every track, as at the end of a clip."""
        live, self._live = self._live, []
        self._seen.clear()
        return self._kept(live)

    def _go_on(
        self, at_us: int, blobs: Blobs, crop: Callable[[float, float], Crop | None] | None
    ) -> NDArray[np.intp]:
        """Rows of the blobs that no track took."""
        taken = np.zeros(len(blobs), bool)
        for live in self._live:
            live.missed += 1
        if self._live and len(blobs):
            for row, blob in self._pairs(at_us, blobs):
                live = self._live[row]
                live.go_on(_point(at_us, blobs, blob))
                live.track.crowd += len(blobs) + blobs.lost
                taken[blob] = True
                if crop is not None and len(live.track.points) in CROP_AT:
                    picture = crop(live.track.points[-1][1], live.track.points[-1][2])
                    if picture is not None:
                        live.track.crops.append((len(live.track.points) - 1, picture))
        return np.flatnonzero(~taken)

    def _pairs(self, at_us: int, blobs: Blobs) -> list[tuple[int, int]]:
        """(track, blob), the nearest first, each at most once."""
        expected = np.array([live.expect(at_us) for live in self._live])
        area = np.array([live.track.points[-1][5] for live in self._live], np.float64)
        away = np.hypot(
            expected[:, 0, None] - blobs.x[None, :], expected[:, 1, None] - blobs.y[None, :]
        )
        # A centre is known less well the larger the thing is.
        gate = expected[:, 2, None] + 0.25 * np.maximum(blobs.w, blobs.h)[None, :]
        cost = (away / gate) ** 2
        cost += 0.05 * np.abs(np.log(blobs.area[None, :] / area[:, None]))
        rows, cols = np.nonzero(away <= gate)
        order = np.argsort(cost[rows, cols], kind="stable")
        pairs, tracks, used = [], set(), set()
        for row, col in zip(rows[order].tolist(), cols[order].tolist(), strict=True):
            if row not in tracks and col not in used:
                tracks.add(row)
                used.add(col)
                pairs.append((row, col))
        return pairs

    def _end(self, at_us: int) -> list[Track]:
        ended, live = [], []
        for one in self._live:
            young = len(one.track.points) < LEAST_POINTS
            late = at_us - one.track.end_us
            x, y, _ = one.expect(at_us)
            if not (0 <= x < self._width and 0 <= y < self._height):
                one.track.traits |= Trait.CUT
                ended.append(one)
            elif late > LOST_US or (young and one.missed > 1):
                ended.append(one)
            elif len(one.track.points) >= MOST_POINTS:
                one.track.traits |= Trait.LONG
                ended.append(one)
            else:
                live.append(one)
        self._live = live
        return self._kept(ended)

    def _kept(self, ended: list[_Live]) -> list[Track]:
        kept = []
        for live in ended:
            why = self._fault(live.track)
            if why:
                self.passed[why] += 1
            else:
                kept.append(live.track)
        return sorted(kept, key=lambda track: (track.end_us, track.points[0]))

    def _fault(self, track: Track) -> str:
        """Why a track isn't handed on, or nothing."""
        points = track.points
        if len(points) < LEAST_POINTS or points[-1][0] - points[0][0] < LEAST_US:
            return "short"
        highest = min(point[2] for point in points)
        drop = points[-1][2] - highest
        if drop < LEAST_DROP * self._height:
            return "not_down"
        if abs(points[-1][1] - points[0][1]) > SIDEWAYS * drop:
            return "sideways"
        return ""

    def _begin(self) -> None:
        """Tracks of three blobs in a row whose steps agree, the best agreement first."""
        if len(self._seen) < 3 or len(self._live) >= MOST_LIVE:
            return
        a, b, c = self._seen
        if not (len(a.blobs) and len(b.blobs) and len(c.blobs)):
            return
        first, second = (b.at_us - a.at_us) / 1e6, (c.at_us - b.at_us) / 1e6
        if max(first, second) > 2.5 * LOST_US / 1e6:
            return
        found = self._triples(a.blobs, b.blobs, c.blobs, first, second)
        used: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        for triple in found:
            if any(blob in frame for blob, frame in zip(triple, used, strict=True)):
                continue
            for blob, frame in zip(triple, used, strict=True):
                frame.add(blob)
            frames = zip((a, b, c), triple, strict=True)
            points = [_point(seen.at_us, seen.blobs, blob) for seen, blob in frames]
            self._live.append(_started(points))
            if len(self._live) >= MOST_LIVE:
                self.passed["crowded"] += 1
                break
        for seen, frame in zip((a, b, c), used, strict=True):
            rest = np.setdiff1d(np.arange(len(seen.blobs)), np.array(sorted(frame), np.intp))
            seen.blobs = seen.blobs.take(rest)

    def _triples(
        self, a: Blobs, b: Blobs, c: Blobs, first: float, second: float
    ) -> list[tuple[int, int, int]]:
        """Rows (a, b, c), sorted. first, second: seconds between the frames."""
        ux, uy = b.x[None, :] - a.x[:, None], b.y[None, :] - a.y[:, None]
        vx, vy = c.x[None, :] - b.x[:, None], c.y[None, :] - b.y[:, None]
        ratio = second / first
        step, step_2 = np.hypot(ux, uy), np.hypot(vx, vy)
        ia, ib = np.nonzero((step <= self._fastest * first) & _alike(a, b))
        if not len(ia):
            return []
        fits = (step_2 <= self._fastest * second) & _alike(b, c)
        off = np.hypot(vx[ib] - ux[ia, ib][:, None] * ratio, vy[ib] - uy[ia, ib][:, None] * ratio)
        allowed = STEP_PX + STEP_SHARE * np.maximum(step_2[ib], step[ia, ib][:, None])
        moved = step[ia, ib][:, None] + step_2[ib] >= 2.0
        pair, ic = np.nonzero((off <= allowed) & fits[ib] & moved)
        order = np.argsort((off / allowed)[pair, ic], kind="stable")
        pair, ic = pair[order], ic[order]
        return list(zip(ia[pair].tolist(), ib[pair].tolist(), ic.tolist(), strict=True))


def _alike(a: Blobs, b: Blobs) -> NDArray[np.bool_]:
    """bool[a, b]: areas within four times, with room for the very small."""
    left, right = a.area[:, None] + 3.0, b.area[None, :] + 3.0
    return np.asarray(np.maximum(left / right, right / left) <= 4.0)


def _point(at_us: int, blobs: Blobs, row: int) -> Point:
    return (
        at_us, float(blobs.x[row]), float(blobs.y[row]), int(blobs.w[row]), int(blobs.h[row]),
        int(blobs.area[row]), float(blobs.contrast[row]),
    )  # fmt: skip


def _started(points: list[Point]) -> _Live:
    (at_a, xa, ya, *_), _, (at_c, xc, yc, *_) = points
    dt = (at_c - at_a) / 1e6
    return _Live(Track(points), xc, yc, (xc - xa) / dt, (yc - ya) / dt)
