"""A test as a small picture in text: its readings over time, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.batch import Flag
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from rules.testing.case import Case, Series
from rules.testing.notation import Sample
from rules.testing.times import offset_text

WIDTH = 72
_BARS = "▁▂▃▄▅▆▇█"
_DOUBTED = int(Flag.BAD | Flag.STALE)
LETTERS = {
    "raised": "R", "again": "A", "cleared": "C", "unknown": "U", "known": "K", "latched": "L",
    "level": "V", "reset": "X", "inhibited": "I", "released": "D",
}  # fmt: skip
LEGEND = (
    "R raised, A again, V level, U unknown, K known, L latched, C cleared, X reset, "
    "I inhibited, D delivered after that, * other, + several"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A change of an alert. device: or group, as it shall be named."""

    rule: str
    device: str
    at_ms: int
    change: str

    @property
    def alert(self) -> str:
        return f"{self.rule} of {self.device}"


def timeline(
    case: Case,
    devices: Iterable[str],
    expected: Sequence[Shown],
    came: Sequence[Shown],
) -> list[str]:
    """Lines of at most `WIDTH` columns and a head."""
    drawn = set(devices)
    series = [one for one in case.series if one.device in drawn]
    last_ms = max([case.until_ms, *(one.at_ms for one in (*expected, *came))])
    cell_ms = max(1, -(-(last_ms + 1) // WIDTH))
    shortest_ms = min((one.interval_ms for one in series), default=case.interval_ms)
    cell_ms = -(-cell_ms // shortest_ms) * shortest_ms
    cells = last_ms // cell_ms + 1
    lines = []
    for one in series:
        lines.append(_head(one))
        lines.append(f"    readings  {_readings(one, cells, cell_ms)}")
    for alert in dict.fromkeys(one.alert for one in (*expected, *came)):
        lines.append(f"    {alert}")
        for head, shown in (("expected", expected), ("came", came)):
            mine = [one for one in shown if one.alert == alert]
            lines.append(f"    {head:8}  {_letters(mine, cells, cell_ms)}".rstrip())
    lines.append(f"              {_axis(cells, cell_ms)}")
    lines.append(f"    one column is {offset_text(cell_ms)}; · no reading, ? bad or stale")
    lines.append(f"    {LEGEND}")
    return lines


def _head(series: Series) -> str:
    values = _values(series)
    unit = QUANTITIES[QUANTITY_INDEX[series.quantity]].unit
    named = "" if unit == "1" else f" {unit}"
    span = f"{min(values):g} to {max(values):g}{named}" if values else "no values"
    return f"    {series.device} {series.quantity}: {span}"


def _values(series: Series) -> list[float]:
    return [s.value for s in series.samples if s is not None and not math.isnan(s.value)]


def _readings(series: Series, cells: int, cell_ms: int) -> str:
    last: list[Sample | None] = [None] * cells
    for tick, sample in enumerate(series.samples):
        at = (series.from_ms + tick * series.interval_ms) // cell_ms
        if sample is not None and at < cells:
            last[at] = sample
    values = _values(series)
    low, high = min(values, default=0.0), max(values, default=0.0)
    return "".join(_glyph(sample, low, high) for sample in last)


def _glyph(sample: Sample | None, low: float, high: float) -> str:
    if sample is None:
        return "·"
    if math.isnan(sample.value) or sample.flags & _DOUBTED:
        return "?"
    if high == low:
        return _BARS[0]
    return _BARS[round((sample.value - low) / (high - low) * (len(_BARS) - 1))]


def _letters(changes: Sequence[Shown], cells: int, cell_ms: int) -> str:
    row = [" "] * cells
    for one in changes:
        at = min(max(one.at_ms // cell_ms, 0), cells - 1)
        row[at] = LETTERS.get(one.change, "*") if row[at] == " " else "+"
    return "".join(row)


def _axis(cells: int, cell_ms: int) -> str:
    row = ""
    for at in range(0, cells, 12):
        row = row.ljust(at) + f"|{offset_text(at * cell_ms)}"
    return row
