"""Small clips for tests: a noisy facade, and things that fall before it, encoded as cameras do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Place = Callable[[float], tuple[float, float] | None]
"""Seconds -> centre of a thing, or None where there is none."""


def facade(width: int, height: int, seed: int = 3) -> Picture:
    """A wall with windows."""
    chance = np.random.default_rng(seed)
    wall = np.full((height, width), 150.0)
    for top in range(8, height - 16, 40):
        for left in range(8, width - 16, 48):
            wall[top : top + 20, left : left + 24] = chance.uniform(60, 110)
    return np.asarray(wall.round(), np.uint8)


def pictures(
    wall: Picture,
    seconds: float,
    things: Iterable[tuple[Place, int, float]],
    *,
    fps: float = 25.0,
    noise: float = 1.0,
    seed: int = 1,
) -> Iterator[Picture]:
    """Frames with square things (place, pixels of a side, contrast)."""
    chance = np.random.default_rng(seed)
    listed = list(things)
    for number in range(round(seconds * fps)):
        picture = wall.astype(np.float64)
        for place, side, contrast in listed:
            at = place(number / fps)
            if at is None:
                continue
            left, top = round(at[0] - side / 2), round(at[1] - side / 2)
            if left >= 0 and top >= 0:
                picture[top : top + side, left : left + side] += contrast
        picture += chance.normal(0, noise, picture.shape)
        yield np.clip(picture.round(), 0, 255).astype(np.uint8)


def falling(
    start_s: float, x: float, top: float, bottom: float, *, g: float, v: float = 0.0
) -> Place:
    """g in px/s2, v the speed at the start, downward; upward first when it is negative."""

    def place(at_s: float) -> tuple[float, float] | None:
        t = at_s - start_s
        y = top + v * t + 0.5 * g * t * t
        return (x, y) if t >= 0 and y <= bottom else None

    return place


def write_clip(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: int = 25,
    codec: str = "libx264",
    container: str | None = None,
    crf: int = 23,
) -> Path:
    """Encode; one thread, so that the same frames give the same bytes."""
    with av.open(str(path), "w", format=container) as out:
        stream: av.VideoStream | None = None
        for frame in frames:
            if stream is None:
                stream = cast(av.VideoStream, out.add_stream(codec, rate=fps))
                stream.width, stream.height = frame.shape[1], frame.shape[0]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                stream.options = {"crf": str(crf), "preset": "veryfast", "g": "50"}
            picture = av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")
            out.mux(stream.encode(picture))
        if stream is not None:
            out.mux(stream.encode(None))
    return path
