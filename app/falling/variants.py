"""More tracklets from those that were seen: pieces of them, as they come when a track breaks.

What is mistaken for a fall is mostly a piece: a lift as it starts, a bird between two turns. Scenes
hold few of each, and every track holds many pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.tracklets import TrackletBatch

LEAST_POINTS = 8


@dataclass(frozen=True, slots=True)
class Pieces:
    """of: int64[n], the tracklet that each piece is of."""

    tracklets: TrackletBatch
    of: NDArray[np.int64]


def pieces(batch: TrackletBatch, each: int, least: float, seed: int) -> Pieces:
    """`each` pieces of every tracklet long enough; the same seed gives the same.

    least: share of a tracklet's points that a piece has at least. Crops are left out.
    """
    chance = np.random.default_rng([seed, 4712])
    long = np.flatnonzero(batch.count >= LEAST_POINTS + 2)
    of = np.repeat(long, each)
    whole = batch.count[of].astype(np.int64)
    fewest = np.maximum(np.ceil(whole * least).astype(np.int64), LEAST_POINTS)
    count = fewest + np.floor(chance.random(len(of)) * (whole - fewest + 1)).astype(np.int64)
    begin = np.floor(chance.random(len(of)) * (whole - count + 1)).astype(np.int64)
    first = batch.first[of] + begin
    start = np.cumsum(count) - count
    points = np.arange(int(count.sum())) + np.repeat(first - start, count)
    skipped_us = batch.dt_us[first] if len(of) else np.empty(0, np.int64)
    # A piece begins on a whole millisecond, as every tracklet does.
    skipped_us = skipped_us - skipped_us % 1000
    columns = {
        name: getattr(batch, name)[of]
        for name in ("camera", "number", "width", "height", "traits", "crowd")
    }
    columns |= {name: getattr(batch, name)[points] for name in ("x", "y", "w", "h", "area",
                                                               "contrast", "storey")}  # fmt: skip
    return Pieces(
        TrackletBatch(
            batch.cameras,
            **columns,
            start_ms=batch.start_ms[of] + skipped_us // 1000,
            count=count.astype(np.int32),
            dt_us=batch.dt_us[points] - np.repeat(skipped_us, count),
            crop_point=np.empty(0, np.int32),
            crops=np.empty((0, *batch.crops.shape[1:]), np.uint8),
        ),
        of,
    )
