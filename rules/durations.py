"""Durations as rule files write them: whole numbers with a unit, largest first."""

from __future__ import annotations

import re

_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PARTS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
PATTERN = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"

LONGEST_MS = 366 * _UNIT_MS["d"]
"""Longer ones are slips of the pen."""


def parse_duration(text: str) -> int | None:
    """Milliseconds, or None when the text is no duration of 1 ms to 366 days.

    >>> parse_duration("1m30s"), parse_duration("90"), parse_duration("0s")
    (90000, None, None)
    """
    found = _PARTS.fullmatch(text)
    if found is None or not text:
        return None
    sizes = zip(found.groups(), _UNIT_MS.values(), strict=True)
    total = sum(int(number) * size for number, size in sizes if number)
    return total if 0 < total <= LONGEST_MS else None


def duration_text(ms: int) -> str:
    """The shortest spelling.

    >>> duration_text(90_000)
    '1m30s'
    """
    parts = []
    for unit, size in _UNIT_MS.items():
        number, ms = divmod(ms, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)
