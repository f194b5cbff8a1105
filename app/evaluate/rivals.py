"""The methods that the detector is held against, over the same ticks and collapses.

Each gives, per tick, how far it is from ringing as one number (`ratio`, rings at knob or above), so
that its one knob can be set afterwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.evaluate.detected import STEPS
from app.evaluate.scene import DAY_MS, STEP_MS, Scene

LINE_DAYS = 45
NEIGHBOURS = 2
"""Half hours: an hour to each side."""
LINE_LEAST_DAYS = 7
CEILING_MS = 24 * 3_600_000
DRY_MS = 12 * 3_600_000

Floats = NDArray[np.float64]


def silence_h(scene: Scene) -> Floats:
    """Hours since the last activity, at each tick."""
    return np.where(scene.last > 0, (scene.ticks - scene.last) / 3_600_000, 0.0)


def line(scene: Scene, *, hindsight: bool, outages_known: bool = False) -> Floats:
    """float64[days, 48]: the line in force on each day, hours; infinite before it is known.

    The greatest silence seen at that half hour in the last 45 days, neighbours within an hour
    included; outages count as silence, as they do for who doesn't know of them. outages_known:
    silences that overlap a listed outage teach nothing.
    """
    seen = silence_h(scene)
    if outages_known:
        cut_short = np.isin(scene.silence, np.unique(scene.silence[scene.out]))
        seen = np.where(cut_short, 0.0, seen)
    if hindsight:
        seen = np.where(scene.absent, 0.0, seen)
    day = _day(scene)
    half = (scene.minute // 30).astype(np.intp)
    most = np.zeros((int(day[-1]) + 1, 48))
    np.maximum.at(most, (day, half), seen)
    wide = np.max([np.roll(most, k, axis=1) for k in range(-NEIGHBOURS, NEIGHBOURS + 1)], axis=0)
    found = np.full_like(wide, np.inf)
    for d in range(LINE_LEAST_DAYS, len(wide)):
        found[d] = wide[max(0, d - LINE_DAYS) : d].max(axis=0)
    return np.asarray(np.maximum(found, 5 / 60))


def _day(scene: Scene) -> NDArray[np.intp]:
    return np.asarray((scene.ticks - scene.ticks[0]) // DAY_MS, np.intp)


def line_ratio(scene: Scene, lines: Floats) -> Floats:
    half = (scene.minute // 30).astype(np.intp)
    return np.asarray(silence_h(scene) / lines[_day(scene), half])


def branch_silence_h(scene: Scene) -> Floats:
    """[collapse, step]: hours of silence from the last activity before the collapse."""
    last = scene.last[scene.collapses]
    at = scene.ticks[scene.collapses][:, None] + STEP_MS * (1 + np.arange(STEPS))
    return np.asarray((at - last[:, None]) / 3_600_000)


def branch_line_ratio(scene: Scene, lines: Floats) -> Floats:
    """With the line of the day of the collapse: nothing is learnt from what follows."""
    minute = (scene.minute[scene.collapses][:, None] + 5 * (1 + np.arange(STEPS))) % 1440
    day = _day(scene)[scene.collapses]
    return np.asarray(branch_silence_h(scene) / lines[day[:, None], minute // 30])


def ceilings(scene: Scene, factor: float = 1.0) -> NDArray[np.bool_]:
    """Ticks at which a fixed ceiling holds: 24 h of silence, 12 h without water, each times the
    factor."""
    found = silence_h(scene) * 3_600_000 >= CEILING_MS * factor
    if scene.wet.any():
        found |= (scene.ticks - scene.wet >= DRY_MS * factor) & (scene.wet > 0)
    return np.asarray(found & (scene.last > 0))


def branch_ceilings(scene: Scene, factor: float = 1.0) -> NDArray[np.bool_]:
    found = branch_silence_h(scene) * 3_600_000 >= CEILING_MS * factor
    if scene.wet.any():
        at = scene.ticks[scene.collapses][:, None] + STEP_MS * (1 + np.arange(STEPS))
        wet = scene.wet[scene.collapses][:, None]
        found |= (at - wet >= DRY_MS * factor) & (wet > 0)
    return np.asarray(found)


def city(scene: Scene, factor: float = 1.0) -> list[NDArray[np.bool_]]:
    """The fixed rules of cities, one array of ticks each: silence, door, water. factor: on all of
    their limits."""
    found = [silence_h(scene) * 3_600_000 >= CEILING_MS * factor]
    if scene.opened.any():
        found.append((scene.ticks - scene.opened >= CEILING_MS * factor) & (scene.opened > 0))
    if scene.wet.any():
        found.append((scene.ticks - scene.wet >= DRY_MS * factor) & (scene.wet > 0))
    return found


def branch_city(scene: Scene, factor: float = 1.0) -> NDArray[np.bool_]:
    """The door rule counts as well: it rings of who lies there as of who stays in."""
    found = branch_ceilings(scene, factor)
    if scene.opened.any():
        at = scene.ticks[scene.collapses][:, None] + STEP_MS * (1 + np.arange(STEPS))
        opened = scene.opened[scene.collapses][:, None]
        found |= (at - opened >= CEILING_MS * factor) & (opened > 0)
    return np.asarray(found)
