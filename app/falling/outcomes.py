"""One scene judged: which throws were told, how well, and what was told that was no throw."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.falling.lab import Watched
from app.falling.scenes import Scene, Thing
from contracts.tracklets import TrackletBatch
from detectors.falling.operator import EVENT, Collected, Event, FallingObjects

LEAST_S, LEAST_STOREYS = 0.5, 1.0
"""A throw that leaves the picture sooner, or falls less far in it, isn't asked for."""


class Throw(msgspec.Struct, frozen=True, kw_only=True):
    """size: pixels. contrast: grey levels. storeys: it fell in the picture. start_storey: from.

    told: how many events; more than one are duplicates. latency_s: from its end to the first word.
    """

    size: float
    contrast: float
    storeys: float
    start_storey: float
    start_s: float
    told: int
    seen: bool
    score: float = 0.0
    told_storey: float = 0.0
    latency_s: float = 0.0


class FalseAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """near: the distractor that was there, or "nothing"."""

    start_s: float
    score: float
    storeys: float
    near: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Of one scene. key: what it is of, see `evaluate`."""

    key: str
    cell: str
    seconds: float
    distractors: tuple[str, ...]
    throws: tuple[Throw, ...]
    false: tuple[FalseAlarm, ...]
    tracklets: int
    busy_frames: int
    frames: int


def judge(
    scene: Scene, watched: Watched, detector: FallingObjects, *, key: str, cell: str
) -> Outcome:
    """The detector over the scene's tracklets, as they came."""
    batch = watched.tracklets
    scores = detector.scores(batch) if len(batch) else np.empty(0)
    rows = np.flatnonzero(scores >= EVENT)
    events, of = _events(detector, batch, rows)
    told: dict[int, set[int]] = {}
    owned: set[int] = set()
    for row, event in zip(rows.tolist(), of.tolist(), strict=True):
        owner = int(watched.owner[row])
        if owner >= 0 and event >= 0:
            told.setdefault(owner, set()).add(event)
            owned.add(event)
    throws = [
        _throw(thing, sorted(told.get(number, ())), events, watched, rows, number)
        for number, thing in enumerate(scene.objects)
    ]
    return Outcome(
        key=key,
        cell=cell,
        seconds=scene.seconds,
        distractors=tuple(sorted(scene.distractors)),
        throws=tuple(throw for throw in throws if throw is not None),
        false=tuple(
            _false(event, scene) for n, event in enumerate(events) if n not in owned
        ),
        tracklets=len(batch),
        busy_frames=watched.figures.busy,
        frames=watched.figures.frames,
    )  # fmt: skip


def _events(
    detector: FallingObjects, batch: TrackletBatch, rows: NDArray[np.intp]
) -> tuple[tuple[Event, ...], NDArray[np.int64]]:
    """Events as last known, and the one that each of these tracklets went into."""
    known = Collected()
    into = []
    for row in rows:
        known = known.with_told(detector.on_tracklets(batch.take(np.array([row]))))
        into.append(detector.into)
    number = {(event.camera, event.first): n for n, event in enumerate(known.events)}
    of = [number.get(one, -1) if one is not None else -1 for one in into]
    return known.events, np.array(of, np.int64)


def _throw(
    thing: Thing,
    told: list[int],
    events: tuple[Event, ...],
    watched: Watched,
    rows: NDArray[np.intp],
    number: int,
) -> Throw | None:
    storeys = float(thing.storey.max() - thing.storey[-1])
    if thing.end_s - thing.start_s < LEAST_S or storeys < LEAST_STOREYS:
        return None
    best = max((events[n] for n in told), key=lambda event: event.score, default=None)
    mine = rows[watched.owner[rows] == number]
    known = float(watched.known_us[mine].min()) / 1e6 if len(mine) else 0.0
    return Throw(
        size=round(float(thing.size[0]), 2),
        contrast=round(abs(thing.level), 1),
        storeys=round(storeys, 2),
        start_storey=round(float(thing.storey[0]), 2),
        start_s=round(thing.start_s, 2),
        told=len(told),
        seen=bool((watched.owner == number).any()),
        score=best.score if best else 0.0,
        told_storey=best.start_storey if best else 0.0,
        latency_s=round(known - thing.end_s, 3) if best else 0.0,
    )


def _false(event: Event, scene: Scene) -> FalseAlarm:
    at_s = (event.start_ms + event.end_ms) / 2000
    near, least = "nothing", 60.0
    middle = (event.start[0] + event.end[0]) / 2, (event.start[1] + event.end[1]) / 2
    for thing in scene.things:
        place = thing.at(at_s)
        if place is None:
            continue
        away = float(np.hypot(place[0] - middle[0], place[1] - middle[1])) - place[2]
        if away < least:
            near, least = thing.kind, away
    if near == "nothing":
        for name, spells in (("rain", scene.rains), ("shake", scene.shakes)):
            if any(spell[0] <= at_s < spell[1] for spell in spells):
                near = name
    return FalseAlarm(
        start_s=event.start_ms / 1000, score=event.score, storeys=event.storeys, near=near
    )
