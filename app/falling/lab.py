"""A scene through the front end, and which of its tracklets are of a thing that was thrown."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.falling.render import decoded
from app.falling.scenes import Scene, Thing
from contracts.tracklets import TrackletBatch
from edge.camera.frontend import BURST, Figures, FrontEnd
from edge.camera.scale import View, default_view

NEAR_PX = 8.0
"""A point is a thing's when it is no farther from its path than this and the thing's own size."""
SHARE = 0.6
"""Of a tracklet's points that must be a thing's."""
CAMERA = "cam"


@dataclass(frozen=True, slots=True)
class Watched:
    """owner: int64[n], the thrown object of each tracklet, -1 = none. known_us: int64[n], time of
    the frame at which the front end handed it on."""

    tracklets: TrackletBatch
    owner: NDArray[np.int64]
    known_us: NDArray[np.int64]
    figures: Figures


def view_of(scene: Scene) -> View:
    """What a camera file of this facade would say: the wall's outline and its rows."""
    facade = scene.facade
    mask = np.zeros((facade.height, facade.width), bool)
    top, bottom = max(int(facade.rows[-1]), 0), min(int(facade.rows[0]) + 1, facade.height)
    mask[top:bottom, int(facade.left) : int(facade.right)] = True
    rows = facade.rows[::-1]
    storeys = np.arange(len(rows), dtype=np.float64)[::-1]
    scale = (rows.astype(np.float64), storeys)
    which = np.where(mask, 0, -1).astype(np.int8)
    return View(facade.width, facade.height, mask, which, (scale,))


def watch(scene: Scene, *, calibrated: bool = True, limited: bool = True) -> Watched:
    """Paint, encode, decode, look. limited: as a gateway does, which holds rain back."""
    cv2.setNumThreads(1)
    facade = scene.facade
    view = view_of(scene) if calibrated else default_view(facade.width, facade.height)
    front = FrontEnd(CAMERA, view, scene.fps, burst=BURST if limited else 1e9)
    parts: list[TrackletBatch] = []
    known: list[int] = []
    for frame in decoded(scene):
        front.push(frame)
        if front.has_ended:
            parts.append(front.drain())
            known += [frame.at_us] * len(parts[-1])
    front.finish()
    parts.append(front.drain())
    known += [front.last_us] * len(parts[-1])
    batch = TrackletBatch.join(parts)
    return Watched(batch, owners(batch, scene), np.array(known, np.int64), front.figures)


def owners(batch: TrackletBatch, scene: Scene) -> NDArray[np.int64]:
    """int64[n]: which thrown object most points of a tracklet lie on, -1 = none."""
    at_s = np.repeat(batch.start_ms, batch.count) / 1e3 + batch.dt_us / 1e6
    owner = np.full(len(batch), -1, np.int64)
    for number, thing in enumerate(scene.objects):
        on = _on_path(thing, at_s, batch.x, batch.y)
        if not on.any():
            continue
        share = np.add.reduceat(on.astype(np.float64), batch.first) / batch.count
        owner[share >= SHARE] = number
    return owner


def _on_path(
    thing: Thing, at_s: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    times = thing.start_s + np.arange(len(thing.x)) * 0.01
    there = (at_s >= times[0] - 0.05) & (at_s <= times[-1] + 0.05)
    away = np.hypot(x - np.interp(at_s, times, thing.x), y - np.interp(at_s, times, thing.y))
    return np.asarray(there & (away <= NEAR_PX + thing.size[0]))
