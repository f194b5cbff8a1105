"""Times of a test: durations from its start."""

from __future__ import annotations

from datetime import datetime

from rules.durations import duration_text, parse_duration

_ZERO = ("0", "0s", "0m", "0h", "0ms")


def parse_offset(text: str) -> int | None:
    """Milliseconds from the start of the test; None when the text is none.

    >>> parse_offset("1m30s"), parse_offset("0"), parse_offset("90")
    (90000, 0, None)
    """
    return 0 if text in _ZERO else parse_duration(text)


def offset_text(ms: int) -> str:
    """The inverse, for people.

    >>> offset_text(90_000), offset_text(0), offset_text(-1000)
    ('1m30s', '0s', '-1s')
    """
    return f"-{duration_text(-ms)}" if ms < 0 else duration_text(ms) or "0s"


def parse_start(text: str) -> int | None:
    """Unix ms of an RFC 3339 time with its offset; None when it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else round(at.timestamp() * 1000)
