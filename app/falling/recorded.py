"""Recorded clips with their labels: read in place, for evaluation only, never copied."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.falling.clip import Seen, detect
from app.falling.figures import upper_rate
from app.falling.session import SHIPPED, detector
from detectors.falling.operator import Collected, Event
from edge.camera import CameraError

SAME_EVENT_FRAMES = 15
"""How far from the marks of a fall an event may begin or end and still be of it."""
REFLECTION = "reflection"


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip's outcome. falls: marked. told: of them. false: events of nothing marked.

    duplicates: further events of a fall that was told already.
    """

    name: str
    kind: str
    seconds: float
    falls: int
    told: int
    duplicates: int
    false: int
    events: tuple[Event, ...]


def evaluate(
    folder: Path, *, model: Path = SHIPPED, say: Callable[[str], None] = lambda _: None
) -> list[Clip]:
    """Every clip that `clips.csv` names. Raises `CameraError`, `ModelError`."""
    clips, marks = _rows(folder / "clips.csv"), _rows(folder / "gt.csv")
    found = []
    for row in clips:
        seen = Seen()
        events = Collected()
        for event in detect(str(folder / row["file"]), detector(model), seen=seen):
            events = events.with_told([event])
        spans = _spans([mark for mark in marks if mark["clip"] == row["clip"]])
        clip = _matched(row, seen, events.events, spans)
        say(
            f"{clip.name}: {clip.told} of {clip.falls} falls told, {clip.duplicates} twice, "
            f"{clip.false} false in {clip.seconds:.0f} s"
        )
        found.append(clip)
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise CameraError(f"{path}: {error.strerror}; name the folder of recorded clips") from None


def _spans(marks: list[dict[str, str]]) -> list[tuple[int, int]]:
    """(first, last) frame of each fall. Marks of things that share frames are one fall, and so
    is a thing with its reflection."""
    of: dict[str, list[int]] = {}
    for mark in marks:
        of.setdefault(mark["object"], []).append(int(mark["frame"]))
    spans = sorted((min(frames), max(frames)) for frames in of.values())
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def _matched(
    row: dict[str, str], seen: Seen, events: tuple[Event, ...], spans: list[tuple[int, int]]
) -> Clip:
    told: dict[int, int] = {}
    false = 0
    for event in events:
        first, last = seen.frame_at(event.start_ms), seen.frame_at(event.end_ms)
        at = [
            n
            for n, (begin, end) in enumerate(spans)
            if first <= end + SAME_EVENT_FRAMES and last >= begin - SAME_EVENT_FRAMES
        ]
        if at:
            told[at[0]] = told.get(at[0], 0) + 1
        else:
            false += 1
    seconds = seen.frame_us[-1] / 1e6 if seen.frame_us else 0.0
    twice = sum(count - 1 for count in told.values())
    return Clip(row["clip"], row["kind"], seconds, len(spans), len(told), twice, false, events)


def figures(clips: list[Clip]) -> dict[str, float]:
    """Recorded clips by themselves; nothing of them is mixed with generated scenes."""
    if not clips:
        return {}
    negative = [clip for clip in clips if clip.kind != "positive"]
    hours = sum(clip.seconds for clip in negative) / 3600
    alarms = sum(clip.false for clip in negative)
    positive = [clip for clip in clips if clip.kind == "positive"]
    return {
        "recorded_falls": float(sum(clip.falls for clip in positive)),
        "recorded_told": float(sum(clip.told for clip in positive)),
        "recorded_duplicates": float(sum(clip.duplicates for clip in positive)),
        "recorded_false_beside_falls": float(sum(clip.false for clip in positive)),
        "recorded_negative_hours": hours,
        "recorded_false_alarms": float(alarms),
        "recorded_false_alarms_per_hour_upper": upper_rate(alarms, hours) if hours else 0.0,
    }


def table(clips: list[Clip]) -> list[dict[str, object]]:
    return [
        {
            "clip": clip.name, "kind": clip.kind, "seconds": round(clip.seconds, 1),
            "falls": clip.falls, "told": clip.told, "duplicates": clip.duplicates,
            "false": clip.false,
        }
        for clip in clips
    ]  # fmt: skip
