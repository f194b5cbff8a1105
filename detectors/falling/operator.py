"""The detector: tracklets of many cameras in, falling objects out, each once.

A tracklet whose score reaches the threshold is an event. Another of the same camera that goes on
at the same time and the same height is the same event: a reflection in the glass beside it, or the
next piece of a track that was lost behind a tree. It changes the event only by making it longer or
surer, and that is told again under the event's id. So the first word is never held back for a
second one.

What another camera of the same building sees at the same moment is the same event too, and isn't
told a second time, unless the first camera saw too little of it for an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import ReadingBatch
from contracts.tracklets import TrackletBatch, Trait
from detectors.falling.features import describe, may_have_fallen

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32[n, features] -> float32[n], the model's output from 0 to 1."""

EVENT = 0.6
"""Scores from here on are events; the shipped rules say the same."""
TOGETHER_MS, TOGETHER_STOREYS = 700, 3.0
"""Tracklets of one camera less than this apart in time, and in height at that time, are one event
(proposals)."""
RECENT = 8
"""Events of a camera that a tracklet may still belong to."""
BESIDE_MS, BESIDE_STOREYS = 2000, 3.0
"""Events of two cameras of one building are one when they are no farther apart in time (clocks of
gateways differ) and, where both have camera files, in height (proposals)."""
ALARM_STOREYS = 2.0
"""Past more than these it is an alarm: the shipped rules say the same."""
SCORE_STEPS = 1000
STOREY_STEPS = 100
VERSION = 1


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A falling object, as known so far. first: the camera's number of the tracklet that began it.

    start_ms, end_ms: camera time. score: 0.6 is the threshold. storeys: crossed, from the highest
    point seen. start_storey: where it was let go. start, end: pixels (x, y) of the best tracklet.
    tracklets: how many make up the event. calibrated: storeys come from a camera file.
    revision: 0, then counted up with each change. beside: another camera of the building that has
    told it already, "" = none.
    """

    camera: str
    first: int
    start_ms: int
    end_ms: int
    score: float
    storeys: float
    start_storey: float
    end_storey: float
    start: tuple[float, float]
    end: tuple[float, float]
    points: int
    tracklets: int = 1
    calibrated: bool = False
    revision: int = 0
    beside: str = ""

    @property
    def is_alarm(self) -> bool:
        return self.storeys > ALARM_STOREYS


class FallingObjects:
    """State: the last events of each camera. `on_tracklets` takes them in the order of the log."""

    def __init__(self, infer: Infer, threshold: float) -> None:
        """threshold: the model's output that is to become a score of 0.6."""
        self._infer = infer
        self._threshold = threshold
        self._last: dict[str, list[Event]] = {}
        self.beside = 0
        self.into: tuple[str, int] | None = None
        """Camera and `first` of the event that the newest tracklet went into."""

    def on_tracklets(
        self, batch: TrackletBatch, buildings: Mapping[str, object] | None = None
    ) -> list[Event]:
        """New events, and known ones that have changed, in order. buildings: that of each camera
        which is known to watch one; those with the same look at the same things."""
        if not len(batch):
            return []
        scores = self.scores(batch)
        rows = np.flatnonzero(scores >= EVENT)
        if not len(rows):
            return []
        told = []
        for one in _seen(batch.take(rows), scores[rows]):
            event = self._news(one, buildings or {})
            if event is not None:
                told.append(event)
        return told

    def scores(self, batch: TrackletBatch) -> NDArray[np.float64]:
        """Of each tracklet, rounded to thousandths: what differs between machines stays out."""
        features = describe(batch)
        p = self._infer(features.matrix).astype(np.float64)
        # What physics rules out the model isn't asked about.
        return rounded_scores(np.where(may_have_fallen(features), p, 0.0), self._threshold)

    def _news(self, one: Event, buildings: Mapping[str, object]) -> Event | None:
        """What is to be told of a tracklet; None when it says nothing new."""
        known = self._last.setdefault(one.camera, [])
        at = next((n for n in reversed(range(len(known))) if _goes_on(one, known[n])), len(known))
        last = known[at] if at < len(known) else None
        event = one if last is None else _merged(one, last)
        self.into = event.camera, event.first
        if last is not None and event.revision == last.revision:
            # Longer in time, but nothing that a rule or a person would look at.
            known[at] = event
            return None
        if last is None or last.beside or event.is_alarm > last.is_alarm:
            beside = self._neighbour(event, buildings)
            event = msgspec.structs.replace(event, beside=beside)
        known[at : at + 1] = [event]
        del known[:-RECENT]
        if event.beside:
            self.beside += 1
            return None
        return event

    def _neighbour(self, event: Event, buildings: Mapping[str, object]) -> str:
        """A camera of the building that has told of this, and of no less than this."""
        here = buildings.get(event.camera)
        if here is None:
            return ""
        for camera, others in self._last.items():
            if camera == event.camera or buildings.get(camera) != here:
                continue
            for other in others:
                told_enough = not other.beside and other.is_alarm >= event.is_alarm
                if told_enough and _are_one(event, other):
                    return camera
        return ""

    def snapshot(self) -> bytes:
        return msgspec.json.encode(
            _State(version=VERSION, last=[one for known in self._last.values() for one in known])
        )

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError` when the state is of another version."""
        state = _state_decoder.decode(blob)
        if state.version != VERSION:
            raise ValueError(f"state of version {state.version}, this is {VERSION}")
        self._last = {}
        for event in state.last:
            self._last.setdefault(event.camera, []).append(event)


def _goes_on(one: Event, last: Event) -> bool:
    """Whether a tracklet is of a known event: about then, and about as high at that moment.

    What is thrown while an earlier thing lands is high up, and another event.
    """
    if one.start_ms > last.end_ms + TOGETHER_MS or one.end_ms < last.start_ms - TOGETHER_MS:
        return False
    moment = (max(one.start_ms, last.start_ms) + min(one.end_ms, last.end_ms)) / 2
    return abs(_height(one, moment) - _height(last, moment)) <= TOGETHER_STOREYS


def _height(event: Event, at_ms: float) -> float:
    """Storeys above ground then, as things fall from rest: with the square of the time."""
    span = max(event.end_ms - event.start_ms, 1)
    part = min(max((at_ms - event.start_ms) / span, 0.0), 1.0)
    return event.end_storey + event.storeys * (1.0 - part * part)


def _merged(one: Event, last: Event) -> Event:
    """The event with this tracklet in it; of the same revision when it says nothing new."""
    best = one if (one.storeys, one.score) > (last.storeys, last.score) else last
    news = best is one or one.score > last.score
    return msgspec.structs.replace(
        best,
        first=last.first,
        start_ms=min(one.start_ms, last.start_ms),
        end_ms=max(one.end_ms, last.end_ms),
        score=max(one.score, last.score),
        tracklets=last.tracklets + 1,
        revision=last.revision + news,
        beside=last.beside,
    )


def _are_one(one: Event, two: Event) -> bool:
    """Whether two cameras may have seen the same thing."""
    if one.start_ms > two.end_ms + BESIDE_MS or two.start_ms > one.end_ms + BESIDE_MS:
        return False
    if not (one.calibrated and two.calibrated):
        return True
    return (
        one.end_storey <= two.start_storey + BESIDE_STOREYS
        and two.end_storey <= one.start_storey + BESIDE_STOREYS
    )


class _State(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    last: list[Event]


_state_decoder = msgspec.json.Decoder(_State)


def rounded_scores(p: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """The model's output as scores: shifted in its odds so that the threshold becomes 0.6."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    shift = np.log(EVENT / (1 - EVENT)) - np.log(threshold / (1 - threshold))
    score = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))
    return np.asarray(np.round(score * SCORE_STEPS) / SCORE_STEPS, np.float64)


def _seen(batch: TrackletBatch, scores: NDArray[np.float64]) -> list[Event]:
    """An event for each tracklet by itself."""
    fall = describe(batch).fall
    end_ms = batch.start_ms + batch.dt_us[batch.first + batch.count - 1] // 1000
    return [
        Event(
            camera=batch.cameras[batch.camera[row]],
            first=int(batch.number[row]),
            start_ms=int(batch.start_ms[row]),
            end_ms=int(end_ms[row]),
            score=float(scores[row]),
            storeys=_storeys(max(fall.top[row] - fall.bottom[row], 0.0)),
            start_storey=_storeys(fall.start[row]),
            end_storey=_storeys(fall.bottom[row]),
            start=_place(fall.start_x[row], fall.start_y[row]),
            end=_place(fall.end_x[row], fall.end_y[row]),
            points=int(batch.count[row]),
            calibrated=bool(batch.traits[row] & Trait.CALIBRATED),
        )
        for row in range(len(batch))
    ]


def _place(x: float, y: float) -> tuple[float, float]:
    return round(float(x), 1), round(float(y), 1)


def _storeys(value: float) -> float:
    return float(round(value * STOREY_STEPS) / STOREY_STEPS)


def readings(events: Iterable[Event]) -> ReadingBatch:
    """What rules look at and tell, on the camera, at the event's end: where the thing was let go,
    the storeys that it crossed, the score. The score last: it decides, and knows the rest."""
    rows = []
    for event in events:
        for quantity, value in (
            ("falling_object.start_storey", event.start_storey),
            ("falling_object.storeys", event.storeys), ("falling_object.score", event.score),
        ):  # fmt: skip
            rows.append((event.camera, "camera", quantity, event.end_ms, value, 0))
    return ReadingBatch.of(rows)


def zeros(cameras: Iterable[str], at_ms: int) -> ReadingBatch:
    """Nothing falls before these cameras any more. Where the last thing came from stays said: an
    alert that is told late still names it."""
    return ReadingBatch.of(
        [
            (camera, "camera", quantity, at_ms, 0.0, 0)
            for camera in cameras
            for quantity in ("falling_object.storeys", "falling_object.score")
        ]
    )


@dataclass(frozen=True, slots=True)
class Collected:
    """Events of a whole clip, each as last known."""

    events: tuple[Event, ...] = ()

    def with_told(self, told: Iterable[Event]) -> Collected:
        known = {(event.camera, event.first): event for event in self.events}
        known.update({(event.camera, event.first): event for event in told})
        return replace(self, events=tuple(known.values()))
