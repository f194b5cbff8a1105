"""What an answer of the server to a write means, and how long to wait then. Pure.

Sources: InfluxDB API v2, "Write data": 204; 400 and 422 for lines that are malformed or don't fit
(the good ones of a partial write are stored); 401, 403, 404 for token and bucket; 413 for too
much at once; 429 and 503 with Retry-After. InfluxDB 1.6 and VictoriaMetrics answer 400 alike.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
LONGEST_ASKED_S = 600.0
"""A server that asks for more patience than this is asked again all the same."""
_DETAIL = 300


class Fate(Enum):
    """What became of a body."""

    STORED = "stored"
    REFUSED = "refused"  # a line in it will never be taken
    TOO_LARGE = "too_large"
    BUSY = "busy"  # the server is there and wants less
    DENIED = "denied"  # token, bucket or rights: for a person to mend
    AWAY = "away"  # no answer, or none of its own


class Answer(NamedTuple):
    """retry_after_s: as the server asked, 0 = it didn't. detail: one line for people."""

    fate: Fate
    detail: str = ""
    retry_after_s: float = 0.0

    @property
    def stays(self) -> bool:
        """Whether the body has to be sent again, as it is."""
        return self.fate in (Fate.BUSY, Fate.DENIED, Fate.AWAY)


def judge(status: int, text: str, retry_after: str | None) -> Answer:
    """An HTTP answer. text: its body, of which a bit is kept for people."""
    detail = " ".join(f"{status} {text}".split())[:_DETAIL]
    if 200 <= status < 300:
        return Answer(Fate.STORED)
    if status in (400, 422):
        return Answer(Fate.REFUSED, detail)
    if status == 413:
        return Answer(Fate.TOO_LARGE, detail)
    if status in (429, 503):
        return Answer(Fate.BUSY, detail, asked_s(retry_after))
    if 400 <= status < 500:
        return Answer(Fate.DENIED, detail)
    return Answer(Fate.AWAY, detail, asked_s(retry_after))


def asked_s(retry_after: str | None) -> float:
    """Seconds of a Retry-After header; 0 where it has none (a date counts as none: it would need
    the two clocks to agree)."""
    text = (retry_after or "").strip()
    if not (text.isascii() and text.isdigit()):
        return 0.0
    return min(float(text[:9]), LONGEST_ASKED_S)


def wait_s(failures: int, asked: float, jitter: float) -> float:
    """How long to wait after so many failures in a row, at least as long as the server asked.

    jitter: in [0, 1), drawn by the caller, so that many writers don't come back together.
    """
    step = min(FIRST_WAIT_S * 2.0 ** min(failures - 1, 20), LONGEST_WAIT_S)
    return max(step * (0.5 + jitter / 2), asked * (1 + jitter / 10))
