"""A home's days as a picture: one line a day, midnight to midnight by its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any

import numpy as np

from app.homes import RecordedHome
from app.runners.home_line import LearntLine
from detectors.inactivity.layout import Kind

LEFT, TOP, WIDE, ROW = 78, 34, 720, 7
PANEL = 180
COLOURS = {"away": "#cfe3f7", "unknown": "#dddddd", "asleep": "#efe9f7"}
MARKS = {"call": "#e08000", "visit": "#cc0000", "contact": "#3070c0"}
FIVE_MIN = 300_000


def picture(
    home: RecordedHome, lines: list[dict[str, Any]], learnt: Sequence[LearntLine] = ()
) -> str:
    """SVG. lines: as `app.runners.home.watch` gives them. learnt: drawn below the days, with the
    silences that were told of as marks."""
    zone = home.layout.zones[0]
    first = _local(int(home.ts_ms[0]), zone)[0]
    days = _local(int(home.ts_ms[-1]), zone)[0] - first + 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="10" '
        f'viewBox="0 0 {LEFT + WIDE + 20} {TOP + days * ROW + (PANEL + 70 if learnt else 12)}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="12">{home.name}: black = activity, blue = away, violet = asleep, '
        "grey = unknown; marks: orange = call, red = visit, blue = question</text>",
    ]
    for hour in range(0, 25, 3):
        at_x = LEFT + hour * WIDE // 24
        parts.append(
            f'<text x="{at_x}" y="{TOP - 6}" text-anchor="middle">{hour}</text>'
            f'<path d="M{at_x} {TOP}v{days * ROW}" stroke="#bbbbbb" stroke-width="0.5"/>'
        )
    parts += _bands(lines, int(home.ts_ms[-1]), zone, first)
    shows = (home.layout.kind < Kind.HEARTBEAT)[home.sensor] & (home.value > 0)
    strokes = []
    for at in np.unique(home.ts_ms[shows] // FIVE_MIN).tolist():
        day, minute = _local(at * FIVE_MIN, zone)
        strokes.append(f"M{LEFT + minute // 2} {TOP + (day - first) * ROW}v{ROW - 2}")
    parts.append(f'<path stroke="black" stroke-width="2" d="{"".join(strokes)}"/>')
    for line in lines:
        if line["type"] == "alarm":
            day, minute = _local(_ms(line["time"]), zone)
            x, y = LEFT + minute / 2, TOP + (day - first) * ROW + ROW / 2
            colour = MARKS[line["level"]]
            parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{colour}"/>')
    for day in range(0, days, 7):
        shown = datetime.fromordinal(first + day).date().isoformat()
        parts.append(f'<text x="6" y="{TOP + day * ROW + ROW}">{shown}</text>')
    if learnt:
        parts += _panel(lines, learnt, zone, TOP + days * ROW + 50)
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    lines: list[dict[str, Any]], learnt: Sequence[LearntLine], zone: tzinfo, top: int
) -> list[str]:
    """Across: when a silence begins; upwards: how many hours it may last, and alarms came after."""

    def y_of(hours: float) -> float:
        return top + PANEL - min(hours, 24.0) * PANEL / 24.0

    parts = [
        f'<text x="{LEFT}" y="{top - 12}">the line: hours of silence until the home is told of, by '
        "the time at which the silence begins; grey = earlier, black = learnt last; marks = told"
        "</text>"
    ]
    parts += [
        f'<text x="{LEFT - 8}" y="{y_of(hours) + 3:g}" text-anchor="end">{hours} h</text>'
        f'<path d="M{LEFT} {y_of(hours):g}h{WIDE}" stroke="#bbbbbb" stroke-width="0.5"/>'
        for hours in (0, 6, 12, 18, 24)
    ]
    for one in learnt:
        minute = _local(one.begin_ms, zone)[1]
        at = (minute // 30 + np.arange(len(one.hours))) % 48
        by_clock = np.empty(48)
        by_clock[at] = one.hours
        steps = [
            f"{LEFT + k * WIDE / 48:g} {y_of(h):g}h{WIDE / 48:g}" for k, h in enumerate(by_clock)
        ]
        colour = "#000000" if one is learnt[-1] else "#bbbbbb"
        parts.append(f'<path d="M{"L".join(steps)}" fill="none" stroke="{colour}"/>')
    told = [line for line in lines if line["type"] == "alarm"]
    return parts + [_mark(line, zone, y_of(line["minutes"] / 60)) for line in told]


def _mark(line: dict[str, Any], zone: tzinfo, y: float) -> str:
    """An alarm, at the time at which its silence began."""
    began = _ms(line["time"]) - round(line["minutes"] * 60_000)
    x = LEFT + _local(began, zone)[1] / 2
    return f'<circle cx="{x:g}" cy="{y:g}" r="3" fill="{MARKS[line["level"]]}"/>'


def _bands(lines: list[dict[str, Any]], end_ms: int, zone: tzinfo, first: int) -> list[str]:
    """What the home was taken for, as a colour behind each day."""
    states = [(_ms(one["time"]), one["state"]) for one in lines if one["type"] == "state"]
    parts = []
    for (begin, state), (end, _) in pairwise([*states, (end_ms, "")]):
        at = begin
        while state in COLOURS and at < end:
            day, minute = _local(at, zone)
            rest = min(end - at, (1440 - minute) * 60_000)
            x, y = LEFT + minute / 2, TOP + (day - first) * ROW
            parts.append(
                f'<path d="M{x:g} {y}h{rest / 120_000:.1f}v{ROW - 1}H{x:g}z" '
                f'fill="{COLOURS[state]}"/>'
            )
            at += max(rest, 60_000)
    return parts


def _local(at_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The day as an ordinal and the minute of it, by the home's clock."""
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    return at.toordinal(), at.hour * 60 + at.minute


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
