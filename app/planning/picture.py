"""How long readings wait after failures, as SVG: simulated, and it says so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from app.planning.simulation import City, Failure

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 420, 80, 76, 30, 60
_COLOURS = ("#1565c0", "#2e7d32", "#ef8f00", "#c62828", "#6a1b9a")
_TICKS = 6


def picture(city: City, failures: Sequence[Failure]) -> str:
    """The whole SVG document. Time goes as far as anybody waits."""
    most_s = max(1.0, *(failure.longest_s for failure in failures))
    span = max(60, *(int(failure.over_s or len(failure.wait_s)) for failure in failures)) + 10
    title = (
        f"Simulated: {city.devices:,} devices, {city.workers} workers, {city.partitions} "
        f"partitions, {city.busy:.0%} busy"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, Noto Sans CJK SC, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
        '<text x="16" y="46" fill="#555">longest wait of a reading, seconds, after workers '
        "failed at 0 · 工作进程失效后读数的最长等待（模拟）</text>",
    ]
    for tick in range(_TICKS + 1):
        wait = most_s * tick / _TICKS
        x, y = _x(span * tick / _TICKS, span), _y(wait, most_s)
        parts += [
            f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#e0e0e0"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{wait:.0f}</text>',
            f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{span * tick / _TICKS:.0f} s</text>",
        ]
    for number, failure in enumerate(failures):
        colour = _COLOURS[number % len(_COLOURS)]
        seconds = np.arange(min(span, len(failure.wait_s)))
        line = " ".join(
            f"{_x(second, span)},{_y(wait, most_s)}"
            for second, wait in zip(seconds.tolist(), failure.wait_s.tolist(), strict=False)
        )
        over = "not over" if failure.over_s is None else f"over after {failure.over_s:.0f} s"
        x = _LEFT + 200 * number
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{x}" y="{_HEIGHT - 24}" width="14" height="4" fill="{colour}"/>',
            f'<text x="{x + 20}" y="{_HEIGHT - 18}">{failure.failed} failed: {over}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _x(second: float, span: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * second / span, 1)


def _y(wait_s: float, most_s: float) -> float:
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * wait_s / most_s, 1)
