"""What a model sees of a tracklet: how well it fell, how fast, and what it looked like.

Columns for all tracklets of a batch at once. Heights are in storeys where a camera file gives
them, and in shares of the picture everywhere, so that a model can use what it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.tracklets import TrackletBatch, Trait

GRAVITY_STOREYS = 9.81 / 3.0
"""Free fall in storeys a second squared, at 3 m a storey."""
LEAST_STOREYS = 0.8
"""What came down less far is no event, however well it fell: rules ask from one storey on, and
pieces of lifts, leaves and laundry are short (a proposal)."""
MOST_GAIN = 5.0
"""Storeys a second squared, where a camera file gives storeys: 1.5 times free fall. Nothing that is
let go gains more; what does is a bird, an insect near the lens, or two things taken for one."""
SLOWEST = 7.0 / 3.0
"""Storeys a second: the final speed of the lightest things that are meant, 7 m/s at 3 m a storey.
Bags, leaves and lifts are slower."""
LEAST_SPEED = 2.0
"""Storeys a second at its end, where a camera file gives storeys. Free fall reaches 2.3 within
`LEAST_STOREYS`, `SLOWEST` is 2.2 where storeys are of 3.2 m; the rest is for what is measured."""
TIME_SHARE, TIME_MORE_S = 1.1, 0.08
"""It may take this much longer than the lightest would, for storeys are not all of 3 m, and two
frames more, for its highest point is one of several."""
CENTRE_PX, CENTRE_SHARE = 0.5, 0.05
"""How well a centre is known: pixels, and that share of the thing's size (proposals)."""
NAMES = (
    # How many things moved is not among them: scenes to learn from are busier than a camera's day,
    # and a model that saw it took few moving things for a reason to believe.
    "seconds", "points", "points_per_s", "drop", "drop_storeys", "across_per_drop", "down_share",
    "rise_share", "gain", "gain_storeys", "gain_2", "speed_start", "speed_end", "speed_end_storeys",
    "speed_ratio", "off_line", "off_curve", "off_cubic", "curve_gain", "off_across", "across_curve",
    "wobble", "turning", "area", "area_spread", "area_trend", "aspect", "size_per_step", "contrast",
    "contrast_spread", "contrast_sign", "start_row", "end_row", "calibrated", "cut", "off_centre",
    "off_centre_cubic", "sway_storeys", "longest_step",
)  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fall:
    """How each of n tracklets came down; float64[n] each.

    top, bottom: height in storeys of its highest point and of its last. start: where it was let
    go, read back from its first speed. seconds: from the highest point to the last. speed: of the
    last points, storeys a second. x, y of the highest point and of the last, in pixels.
    """

    top: Floats
    bottom: Floats
    start: Floats
    seconds: Floats
    speed: Floats
    start_x: Floats
    start_y: Floats
    end_x: Floats
    end_y: Floats


@dataclass(frozen=True, slots=True)
class Features:
    """matrix: float32[n, len(NAMES)]. fall: what an event tells."""

    matrix: NDArray[np.float32]
    fall: Fall


def may_have_fallen(features: Features) -> NDArray[np.bool_]:
    """bool[n]: whether it came down far enough and, where a camera file gives storeys, with no
    more than gravity and no slower than the lightest things that are meant."""
    column = dict(zip(NAMES, features.matrix.T, strict=True))
    fall = features.fall
    down = fall.top - fall.bottom
    falls = (
        (column["gain_storeys"] <= MOST_GAIN)
        & (column["speed_end_storeys"] >= LEAST_SPEED)
        & (fall.seconds <= TIME_SHARE * longest_s(down) + TIME_MORE_S)
    )
    return np.asarray((down >= LEAST_STOREYS) & (falls | (column["calibrated"] == 0)))


def longest_s(storeys: Floats) -> Floats:
    """Seconds that the lightest thing needs from rest, with drag as the square of its speed:
    v / g * arcosh(exp(d g / v^2))."""
    depth = np.maximum(storeys, 0.0) * GRAVITY_STOREYS / SLOWEST**2
    # arcosh(exp(z)) is z + ln(1 + sqrt(1 - exp(-2 z))), which doesn't overflow.
    seconds = depth + np.log1p(np.sqrt(-np.expm1(-2 * depth)))
    return np.asarray(seconds * SLOWEST / GRAVITY_STOREYS)


def describe(batch: TrackletBatch) -> Features:
    """Of every tracklet. Tracklets of one or two points are described too, by zeros mostly."""
    n = len(batch)
    if not n:
        none = np.empty(0)
        return Features(np.empty((0, len(NAMES)), np.float32), Fall(*(none for _ in range(9))))
    points = _Points(batch)
    height = batch.height.astype(np.float64)
    y, x, h = batch.y / points.each(height), batch.x / points.each(height), batch.storey
    t, seconds = points.time()
    rows = points.curve(t, y)
    across = points.curve(t, x)
    storeys = points.curve(t, h)
    top, bottom = points.first(y), points.last(y)
    highest = points.least(y)
    drop = bottom - highest
    safe = np.maximum(drop, 1e-3)
    step_y, step_x, step_t, inner = points.steps(y, x)
    speed = np.hypot(step_y, step_x) / np.maximum(step_t, 1e-4)
    scale = 2.0 / np.maximum(seconds, 1e-3)  # The curves' time runs from -1 to 1.
    v0, v1 = rows.slope(-1.0) * scale, rows.slope(1.0) * scale
    h1 = -storeys.slope(1.0) * scale
    area = np.log(batch.area + 1.0)
    aspect = np.log((batch.w + 1.0) / (batch.h + 1.0))
    contrast = np.abs(batch.contrast)
    noise = 0.5 / height
    centre = CENTRE_PX + CENTRE_SHARE * points.mean(np.hypot(batch.w, batch.h))
    columns: dict[str, Floats] = {
        "seconds": seconds,
        "points": batch.count.astype(np.float64),
        "points_per_s": batch.count / np.maximum(seconds, 0.02),
        "drop": drop,
        "drop_storeys": points.most(h) - points.last(h),
        "across_per_drop": np.abs(points.last(x) - points.first(x)) / safe,
        "down_share": points.mean_step(step_y > 0, inner),
        "rise_share": (top - highest) / safe,
        "gain": 2 * rows.c2 * scale**2,
        "gain_storeys": -2 * storeys.c2 * scale**2,
        "gain_2": 6 * rows.c3 * scale**3,
        "speed_start": v0,
        "speed_end": v1,
        "speed_end_storeys": h1,
        "speed_ratio": (v1 - v0) / (np.abs(v1) + np.abs(v0) + 1e-2),
        "off_line": rows.off_1 / (safe + noise),
        "off_curve": rows.off_2 / (safe + noise),
        "off_cubic": rows.off_3 * height,
        "curve_gain": np.log((rows.off_1 + noise) / (rows.off_2 + noise)),
        "off_across": across.off_2 * height,
        "across_curve": np.abs(across.c2) / safe,
        "wobble": across.off_1 / (safe + noise),
        "turning": points.turning(step_y, step_x, inner),
        "area": points.mean(area) - 2 * np.log(height / 720.0),
        "area_spread": points.spread(area),
        "area_trend": points.slope(t, area),
        "aspect": points.mean(aspect),
        "size_per_step": points.mean_step(
            np.log((np.hypot(batch.w, batch.h)[1:] + 1) / (speed * points.each(height)[1:] + 10)),
            inner,
        ),
        "contrast": points.mean(contrast),
        "contrast_spread": points.spread(contrast) / (points.mean(contrast) + 1.0),
        "contrast_sign": np.abs(points.mean(np.sign(batch.contrast))),
        "start_row": highest,
        "end_row": bottom,
        "calibrated": ((batch.traits & Trait.CALIBRATED) != 0).astype(np.float64),
        "cut": ((batch.traits & Trait.CUT) != 0).astype(np.float64),
        "off_centre": np.log((points.left_over(rows.off_2, across.off_2, 3) + 0.1) / centre),
        "off_centre_cubic": np.log((points.left_over(rows.off_3, across.off_3, 4) + 0.1) / centre),
        "sway_storeys": np.abs(2 * across.c2 * scale**2)
        * points.spread(h)
        / np.maximum(points.spread(y), 1e-4),
        "longest_step": points.longest(np.hypot(step_y, step_x), inner),
    }
    # Without a camera file a storey is a guess: the model isn't to lean on it.
    for name in ("drop_storeys", "gain_storeys", "speed_end_storeys", "sway_storeys"):
        columns[name] = np.where(columns["calibrated"] > 0, columns[name], -1.0)
    matrix = np.stack([columns[name] for name in NAMES], 1)
    bound = np.nan_to_num(np.clip(matrix, -1e4, 1e4)).astype(np.float32)
    return Features(bound, _fall(batch, points, h, -storeys.slope(-1.0) * scale, h1))


def _fall(
    batch: TrackletBatch, points: _Points, h: Floats, first_speed: Floats, last: Floats
) -> Fall:
    at = points.where_most(h)
    end = points.begin + points.count - 1
    # It is seen once it is fast; free fall from rest says how far it had come by then. A thing
    # that was thrown down had not come so far: hence the bound of a storey (a proposal).
    unseen = np.clip(np.maximum(first_speed, 0) ** 2 / (2 * GRAVITY_STOREYS), 0, 1.0)
    fell = at == points.begin
    return Fall(
        h[at],
        h[end],
        h[at] + np.where(fell, unseen, 0.0),
        (batch.dt_us[end] - batch.dt_us[at]) / 1e6,
        last,
        batch.x[at],
        batch.y[at],
        batch.x[end],
        batch.y[end],
    )


@dataclass(frozen=True, slots=True)
class _Curve:
    """c0 + c1 t + c2 t2 + c3 t3 over -1..1, with what is left over by a line, a parabola and a
    cubic (root mean square)."""

    c1: Floats
    c2: Floats
    c3: Floats
    off_1: Floats
    off_2: Floats
    off_3: Floats

    def slope(self, t: float) -> Floats:
        """Of the parabola; the cubic swings at its ends."""
        return self.c1 + 2 * self.c2 * t


class _Points:
    """Sums over the points of each tracklet."""

    def __init__(self, batch: TrackletBatch) -> None:
        self.batch = batch
        self.begin = batch.first
        self.count = batch.count.astype(np.int64)

    def each(self, column: NDArray[np.float64]) -> Floats:
        return np.repeat(column, self.count)

    def sum(self, column: NDArray[np.generic]) -> Floats:
        return np.asarray(np.add.reduceat(np.asarray(column, np.float64), self.begin), np.float64)

    def mean(self, column: NDArray[np.generic]) -> Floats:
        return self.sum(column) / self.count

    def spread(self, column: Floats) -> Floats:
        off = column - self.each(self.mean(column))
        return np.asarray(np.sqrt(self.mean(off * off)), np.float64)

    def first(self, column: Floats) -> Floats:
        return column[self.begin]

    def last(self, column: Floats) -> Floats:
        return np.asarray(column[self.begin + self.count - 1], np.float64)

    def least(self, column: Floats) -> Floats:
        return np.asarray(np.minimum.reduceat(column, self.begin), np.float64)

    def most(self, column: Floats) -> Floats:
        return np.asarray(np.maximum.reduceat(column, self.begin), np.float64)

    def where_most(self, column: Floats) -> NDArray[np.int64]:
        """Row of the first of each tracklet's largest."""
        top = np.flatnonzero(column == self.each(self.most(column)))
        owner = np.searchsorted(self.begin, top, "right") - 1
        _, at = np.unique(owner, return_index=True)
        return top[at]

    def time(self) -> tuple[Floats, Floats]:
        """(each point's time from -1 to 1, seconds of each tracklet)."""
        seconds = self.batch.dt_us[self.begin + self.count - 1] / 1e6
        t = self.batch.dt_us / 1e6 / self.each(np.maximum(seconds, 1e-6)) * 2 - 1
        return t, seconds

    def steps(self, y: Floats, x: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        """Differences between neighbours, and which of them are within one tracklet."""
        inner = np.ones(max(len(y) - 1, 0), bool)
        inner[self.begin[1:] - 1] = False
        seconds = np.diff(self.batch.dt_us) / 1e6
        return np.diff(y), np.diff(x), np.where(inner, seconds, 1.0), inner

    def mean_step(self, column: NDArray[np.generic], inner: NDArray[np.bool_]) -> Floats:
        whole = np.concatenate([np.zeros(1), np.where(inner, column, 0)])
        return self.sum(whole) / np.maximum(self.count - 1, 1)

    def left_over(self, rows: Floats, across: Floats, known: int) -> Floats:
        """Pixels off a curve of `known` coefficients, as if it had been drawn through more points
        than it has coefficients. rows, across: root mean squares, in heights of the picture."""
        spare = np.maximum(self.count - known, 0.5)
        height = self.batch.height.astype(np.float64)
        return np.asarray(np.hypot(rows, across) * height * np.sqrt(self.count / spare))

    def longest(self, step: Floats, inner: NDArray[np.bool_]) -> Floats:
        """The longest step against the mean one: what jumps is two things taken for one."""
        whole = np.concatenate([np.zeros(1), np.where(inner, step, 0)])
        most = np.maximum.reduceat(whole, self.begin)
        mean = self.sum(whole) / np.maximum(self.count - 1, 1)
        return np.asarray(most / np.maximum(mean, 1e-6))

    def turning(self, dy: Floats, dx: Floats, inner: NDArray[np.bool_]) -> Floats:
        """Mean change of direction, in radians a step, of steps of a pixel or more."""
        height = self.each(self.batch.height.astype(np.float64))[1:]
        if len(dy) < 2:
            return np.zeros(len(self.count))
        moved = np.hypot(dy, dx) * height >= 1.0
        angle = np.arctan2(dy, dx)
        turn = np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi)
        counted = inner[1:] & inner[:-1] & moved[1:] & moved[:-1]
        whole = np.concatenate([np.zeros(2), np.where(counted, turn, 0)])
        return self.sum(whole) / np.maximum(self.count - 2, 1)

    def slope(self, t: Floats, column: Floats) -> Floats:
        """Of a line through a column over -1..1."""
        off = t - self.each(self.mean(t))
        return self.sum(off * column) / np.maximum(self.sum(off * off), 1e-9)

    def curve(self, t: Floats, column: Floats) -> _Curve:
        """Least squares of degrees 1 to 3, from sums of powers: no loop over tracklets."""
        mid = self.each(self.mean(column))
        z = column - mid
        powers = [np.ones_like(t)]
        for _ in range(6):
            powers.append(powers[-1] * t)
        sums = [self.sum(power) for power in powers]
        right = [self.sum(powers[k] * z) for k in range(4)]
        found, off = [], []
        for degree in (1, 2, 3):
            size = degree + 1
            matrix = np.array([[sums[i + j] for j in range(size)] for i in range(size)])
            matrix = np.moveaxis(matrix, -1, 0)
            # A little on the diagonal: two points have no parabola.
            matrix = matrix + 1e-7 * np.eye(size)
            target = np.stack(right[:size], 1)[..., None]
            c = np.linalg.solve(matrix, target)[..., 0]
            fit = sum(self.each(c[:, k]) * powers[k] for k in range(size))
            off.append(np.sqrt(self.mean((z - fit) ** 2)))
            found.append(c)
        return _Curve(found[1][:, 1], found[1][:, 2], found[2][:, 3], *off)
