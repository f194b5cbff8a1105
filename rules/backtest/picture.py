"""A timeline of what changed, as SVG: one line a rule and device, old above new.

Only lines on which something changed are drawn, the busiest rules first; the legend says how
many there are beyond that. Colours are told apart by position and label too.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rules.backtest.compare import Comparison
from rules.backtest.episode import Episode
from rules.zones import DEFAULT_ZONE, Zone, zone

MAX_LINES = 60
_LEFT, _RIGHT, _TOP, _LINE, _WIDTH = 330, 30, 84, 20, 1_240
_COLOURS = {"lost": "#c62828", "added": "#2e7d32", "moved": "#ef8f00", "same": "#9e9e9e"}
_NAMES = {
    "lost": "消失 lost",
    "added": "新增 added",
    "moved": "变动 moved",
    "same": "不变 unchanged",
}
_Bar = tuple[Episode, str, bool]


def picture(
    comparison: Comparison,
    *,
    title: str,
    span_ms: tuple[int, int],
    local: Zone | None = None,
) -> str:
    """The whole SVG document. span_ms: first and last event time of the input. local: the zone of
    its times, None = that of rules that name none."""
    local = local or zone(DEFAULT_ZONE)
    lines = _lines(comparison)
    shown = sorted(lines.items(), key=lambda line: (-_weight(line[1]), line[0]))[:MAX_LINES]
    shown.sort(key=lambda line: line[0])
    start, end = span_ms
    scale = _Scale(start, max(end, start + 1))
    height = _TOP + _LINE * max(1, len(shown)) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, Noto Sans CJK SC, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="600">{escape(title)}</text>',
        *_legend(comparison),
        *_axis(scale, height, local),
    ]
    if not shown:
        parts.append(f'<text x="16" y="{_TOP + 14}">没有变化 nothing changed</text>')
    for number, ((rule, device), bars) in enumerate(shown):
        parts.extend(_row(number, f"{rule} · {device}", bars, scale, local))
    if len(lines) > len(shown):
        more = len(lines) - len(shown)
        parts.append(
            f'<text x="16" y="{height - 12}" fill="#555">'
            f"另有 {more} 行未画出 {more} more lines are not drawn</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _lines(comparison: Comparison) -> dict[tuple[str, str], list[_Bar]]:
    """(rule, device) -> its bars, of lines on which something changed. The flag: of the old."""
    lines: dict[tuple[str, str], list[_Bar]] = {}

    def put(episode: Episode, verdict: str, old: bool) -> None:
        lines.setdefault((episode.rule, episode.device), []).append((episode, verdict, old))

    for lost in comparison.lost:
        put(lost, "lost", True)
    for added in comparison.added:
        put(added, "added", False)
    for moved in comparison.moved:
        put(moved.old, "moved", True)
        put(moved.new, "moved", False)
    for same in comparison.same:
        if (same.rule, same.device) in lines:
            put(same, "same", True)
            put(same, "same", False)
    return lines


def _weight(bars: list[_Bar]) -> int:
    return sum(verdict != "same" for _, verdict, _ in bars)


class _Scale:
    """Event time to horizontal position."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self._per_ms = (_WIDTH - _LEFT - _RIGHT) / (end - start)

    def x(self, at_ms: int | None) -> float:
        at = self.end if at_ms is None else min(max(at_ms, self.start), self.end)
        return round(_LEFT + (at - self.start) * self._per_ms, 1)


def _legend(comparison: Comparison) -> Iterator[str]:
    counts = {
        "lost": len(comparison.lost),
        "added": len(comparison.added),
        "moved": len(comparison.moved),
        "same": len(comparison.same),
    }
    for number, (verdict, count) in enumerate(counts.items()):
        x = 16 + number * 190
        yield f'<rect x="{x}" y="40" width="14" height="10" fill="{_COLOURS[verdict]}"/>'
        yield f'<text x="{x + 20}" y="50">{_NAMES[verdict]}: {count}</text>'
    yield (
        f'<text x="{16 + 4 * 190}" y="50" fill="#555">'
        "每行上为旧规则，下为新规则 above: old rules, below: new</text>"
    )


def _axis(scale: _Scale, height: int, local: Zone) -> Iterator[str]:
    steps = 6
    for number in range(steps + 1):
        at = scale.start + (scale.end - scale.start) * number // steps
        x = scale.x(at)
        told = f"{local.at(at):%m-%d %H:%M}"
        yield f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 34}" stroke="#e5e5e5"/>'
        yield f'<text x="{x}" y="{_TOP - 12}" text-anchor="middle" fill="#555">{told}</text>'
    name = f"{local.name} (UTC{local.told(scale.end)[-6:]})"
    yield f'<text x="16" y="{_TOP - 12}" fill="#555">{escape(name)}</text>'


def _row(number: int, label: str, bars: list[_Bar], scale: _Scale, local: Zone) -> Iterator[str]:
    y = _TOP + number * _LINE
    short = label if len(label) <= 50 else label[:49] + "…"
    yield f'<text x="16" y="{y + 13}"><title>{escape(label)}</title>{escape(short)}</text>'
    for episode, verdict, old in bars:
        x = scale.x(episode.raised_ms)
        width = max(2.0, round(scale.x(episode.ended_ms) - x, 1))
        top = y + (2 if old else 10)
        yield (
            f'<rect x="{x}" y="{top}" width="{width}" height="7" fill="{_COLOURS[verdict]}">'
            f"<title>{escape(_told(episode, verdict, old, local))}</title></rect>"
        )


def _told(episode: Episode, verdict: str, old: bool, local: Zone) -> str:
    raised = local.told(episode.raised_ms)
    side = "旧 old" if old else "新 new"
    return f"{episode.rule} {episode.device} {side} {_NAMES[verdict]} {raised}"
