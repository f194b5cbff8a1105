"""A sheet of throws that were told and of throws that were missed, to look at.

Drawn from generated scenes alone: the facade with the thing at each fifth frame, the tracklets that
the front end made of it over that, green where the detector believed them and red where not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.falling.lab import Watched
from app.falling.outcomes import Outcome, Throw
from app.falling.render import _paint, paint_facade
from app.falling.scenes import Scene, Thing
from detectors.falling.operator import EVENT, FallingObjects

TILE_W, TILE_H, CAPTION = 190, 260, 30
EACH_FRAMES = 5
MARGIN_PX = 45
BESIDE_PX = 4
"""So that the thing itself is seen beside its line."""
GREYS = 16
"""Steps of a sheet's colours: fewer make a smaller file."""
TOLD, MISSED = (60, 190, 60), (60, 60, 230)
Picture = NDArray[np.uint8]


def tiles(
    judged: Iterable[tuple[Scene, Watched, Outcome]], detector: FallingObjects, each: int
) -> tuple[list[Picture], list[Picture]]:
    """(of told throws, of missed ones): at most two told of a scene and `each` of both kinds."""
    told: list[Picture] = []
    missed: list[Picture] = []
    for scene, watched, outcome in judged:
        here = 0
        for throw in outcome.throws:
            if not throw.told and len(missed) < each:
                missed.append(_tile(scene, watched, outcome, throw, detector))
            elif throw.told and here < 2 and len(told) < each:
                here += 1
                told.append(_tile(scene, watched, outcome, throw, detector))
    return told, missed


def write_sheet(path: Path, rows: Sequence[Sequence[Picture]]) -> None:
    """Rows of tiles as one PNG. Raises OSError."""
    shown = [row for row in rows if row]
    across = max((len(row) for row in shown), default=0)
    blank = np.full((TILE_H + CAPTION, TILE_W, 3), 255, np.uint8)
    lines = [np.hstack([*row, *[blank] * (across - len(row))]) for row in shown]
    sheet = np.vstack(lines) if lines else blank
    coarse = np.where(sheet == 255, 255, sheet // GREYS * GREYS).astype(np.uint8)
    good, data = cv2.imencode(".png", coarse, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not good:
        raise OSError(None, "can't be made a PNG")
    path.write_bytes(data.tobytes())


def _tile(
    scene: Scene, watched: Watched, outcome: Outcome, throw: Throw, detector: FallingObjects
) -> Picture:
    number = min(
        range(len(scene.objects)), key=lambda n: abs(scene.objects[n].start_s - throw.start_s)
    )
    thing = scene.objects[number]
    shown = cv2.cvtColor(_painted(scene, thing), cv2.COLOR_GRAY2BGR)
    left, top, right, bottom = _frame_of(scene, thing)
    scale = min(TILE_W / (right - left), TILE_H / (bottom - top))
    cut = cv2.resize(shown[top:bottom, left:right], None, fx=scale, fy=scale,
                     interpolation=cv2.INTER_AREA)  # fmt: skip
    for line, believed in _lines(watched, number, detector):
        beside = np.array([BESIDE_PX, 0])
        points = np.round((line - (left, top)) * scale + beside).astype(np.int32)
        cv2.polylines(cut, [points], False, TOLD if believed else MISSED, 1, cv2.LINE_AA)
    tile = np.full((TILE_H + CAPTION, TILE_W, 3), 255, np.uint8)
    height, width = min(cut.shape[0], TILE_H), min(cut.shape[1], TILE_W)
    tile[:height, :width] = cut[:height, :width]
    for row, text in enumerate((
        f"{outcome.cell}: {throw.size:.0f} px, {throw.contrast:.0f} grey",
        f"from {throw.start_storey:.1f}" + (
            f", told {throw.told_storey:.1f}" if throw.told
            else ", seen" if throw.seen else ", not seen"
        ),
    )):  # fmt: skip
        cv2.putText(tile, text, (3, TILE_H + 12 + 13 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.38,
                    (0, 0, 0), 1, cv2.LINE_AA)  # fmt: skip
    return tile


def _painted(scene: Scene, thing: Thing) -> Picture:
    """The facade with the thing at each fifth frame, before the encoder."""
    picture = paint_facade(scene.facade, scene.seed)
    step = EACH_FRAMES / scene.fps
    for at_s in np.arange(thing.start_s, thing.end_s, step).tolist():
        _paint(picture, thing, at_s, scene.exposure_s)
    return picture


def _frame_of(scene: Scene, thing: Thing) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) around its path, of the tile's shape where there is room."""
    width, height = scene.facade.width, scene.facade.height
    top = max(int(thing.y.min()) - MARGIN_PX, 0)
    bottom = min(int(thing.y.max()) + MARGIN_PX, height)
    middle = float(thing.x.min() + thing.x.max()) / 2
    half = max((bottom - top) * TILE_W / TILE_H / 2, float(np.ptp(thing.x)) / 2 + MARGIN_PX)
    return max(int(middle - half), 0), top, min(int(middle + half), width), bottom


def _lines(
    watched: Watched, number: int, detector: FallingObjects
) -> Iterator[tuple[NDArray[np.float64], bool]]:
    batch = watched.tracklets
    rows = np.flatnonzero(watched.owner == number)
    if not len(rows):
        return
    scores = detector.scores(batch.take(rows))
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        points = slice(int(batch.first[row]), int(batch.first[row] + batch.count[row]))
        yield np.stack([batch.x[points], batch.y[points]], 1), score >= EVENT
