"""Tracklets of things that come down without speeding up, drawn as numbers and not as pictures.

Scenes have few of them, and a model that never saw one believes anything smooth. All speeds from a
leaf's to a heavy shower's; straight, curved a little, or slowing down.
"""

from __future__ import annotations

import numpy as np

from contracts.tracklets import TrackletBatch, Trait


def glides(count: int, seed: int) -> TrackletBatch:
    """`count` tracklets, half of them of calibrated cameras; the same seed gives the same."""
    chance = np.random.default_rng([seed, 4711])
    return TrackletBatch.join([_glide(chance, number) for number in range(count)])


def _glide(chance: np.random.Generator, number: int) -> TrackletBatch:
    storey_px = np.exp(chance.uniform(np.log(24), np.log(120)))
    # Metres a second, at 3 m a storey; what is gained is under a tenth of gravity.
    down = np.exp(chance.uniform(np.log(0.3), np.log(12))) / 3.0 * storey_px
    gain = chance.uniform(-0.5, 0.1) * 9.81 / 3.0 * storey_px * min(1.0, down / (2 * storey_px))
    across = chance.normal(0, 0.5) * down
    longest = min(3.0, 650 / down)
    n = max(6, round(chance.uniform(0.25, max(longest, 0.3)) * 25))
    t = np.arange(n) / 25
    fell = down * t + 0.5 * gain * t * t
    fell = np.maximum.accumulate(np.minimum(fell, 700))
    jitter = chance.uniform(0.1, 1.0)
    y = np.clip(
        chance.uniform(0, max(715 - fell[-1], 1)) + fell + chance.normal(0, jitter, n), 0, 719
    )
    x = np.clip(chance.uniform(50, 1230) + across * t + chance.normal(0, jitter, n), 0, 1279)
    side = np.exp(chance.uniform(np.log(2), np.log(30)))
    sides = side * np.exp(chance.normal(0, chance.uniform(0.02, 0.3), n))
    calibrated = number % 2 == 0
    scale = storey_px if calibrated else 60.0
    return TrackletBatch(
        ("cam",),
        np.zeros(1, np.int32),
        np.array([number], np.int64),
        np.zeros(1, np.int64),
        np.array([1280], np.int32),
        np.array([720], np.int32),
        np.array([Trait.CALIBRATED | Trait.MASKED if calibrated else 0], np.uint8),
        np.array([chance.integers(1, 40)], np.int32),
        np.array([n], np.int32),
        np.arange(n, dtype=np.int64) * 40_000,
        x,
        y,
        sides,
        sides * np.exp(chance.normal(0, 0.2)),
        np.maximum(1, sides * sides * 0.8).astype(np.int32),
        np.exp(chance.uniform(np.log(9), np.log(90))) * chance.choice([-1.0, 1.0]) * np.ones(n)
        + chance.normal(0, 4, n),
        (720 - y) / scale,
        np.empty(0, np.int32),
        np.empty((0, 16, 16), np.uint8),
    ).quantised()
