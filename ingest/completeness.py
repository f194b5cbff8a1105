"""Which hours of a gateway are whole: "data", "quiet" or "data missing".

An hour is whole when the agent is known to have been alive through it and no sequence of that
time is missing. Two signs of life of the same boot cover all the time between them, however long
the connection was cut: what the agent read meanwhile has come since, or is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

HOUR_MS = 3_600_000
TOLERANCE_MS = 60_000
"""Time without a sign of life that doesn't yet make an hour incomplete (proposal: two
heartbeats of 30 s)."""
KEPT_HOURS = 62 * 24
"""How far back hours are kept and event times believed (proposal)."""

HourState = Literal["data", "quiet", "data missing"]


class HourRow(NamedTuple):
    """What is known of one hour: hour = unix ms // HOUR_MS; covered_ms: agent known as alive."""

    gateway: str
    hour: int
    packs: int
    readings: int
    covered_ms: int


class Hour(NamedTuple):
    """The judgement on one hour. from_ms: its first moment."""

    from_ms: int
    state: HourState
    packs: int
    readings: int


class Hours:
    """Counts of hours since they were last cleared; bounded by what is touched between."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], list[int]] = {}

    def count(self, gateway: str, at_ms: int, readings: int) -> None:
        row = self._row(gateway, at_ms // HOUR_MS)
        row[0] += 1
        row[1] += readings

    def cover(self, gateway: str, from_ms: int, to_ms: int) -> None:
        """The agent was alive from `from_ms` to `to_ms`; at most the kept hours before the end."""
        at = max(from_ms, to_ms - KEPT_HOURS * HOUR_MS)
        while at < to_ms:
            hour = at // HOUR_MS
            end = min(to_ms, (hour + 1) * HOUR_MS)
            self._row(gateway, hour)[2] += end - at
            at = end

    def _row(self, gateway: str, hour: int) -> list[int]:
        row = self._rows.get((gateway, hour))
        if row is None:
            row = self._rows[gateway, hour] = [0, 0, 0]
        return row

    def rows(self) -> list[HourRow]:
        """What came since the last `clear`, to be added to what is stored."""
        return [HourRow(*key, *row) for key, row in self._rows.items()]

    def clear(self) -> None:
        self._rows.clear()


def summed(rows: Iterable[HourRow]) -> dict[int, HourRow]:
    """Hour -> sum of the rows of one gateway."""
    total: dict[int, HourRow] = {}
    for row in rows:
        known = total.get(row.hour)
        total[row.hour] = (
            row
            if known is None
            else HourRow(
                row.gateway,
                row.hour,
                known.packs + row.packs,
                known.readings + row.readings,
                known.covered_ms + row.covered_ms,
            )
        )
    return total


def judge(
    rows: Mapping[int, HourRow],
    missing: Iterable[tuple[int, int]],
    *,
    first_ms: int,
    last_ms: int,
    now_ms: int,
) -> Iterator[Hour]:
    """Each hour from a gateway's first sign of life to now, at most the kept ones.

    missing: (from_ms, to_ms) of losses and open gaps, in any order of the two. last_ms: the last
    sign of life: an hour that begins in a silence is not quiet, however young it is.
    """
    spans = [(min(pair), max(pair)) for pair in missing]
    silent = now_ms - last_ms > TOLERANCE_MS
    first_hour = max(first_ms // HOUR_MS, now_ms // HOUR_MS - KEPT_HOURS)
    for hour in range(first_hour, now_ms // HOUR_MS + 1):
        start, end = hour * HOUR_MS, (hour + 1) * HOUR_MS
        row = rows.get(hour)
        packs, readings, covered = (row.packs, row.readings, row.covered_ms) if row else (0, 0, 0)
        expected = min(end, now_ms) - max(start, first_ms)
        holed = any(a < end and b >= start for a, b in spans)
        state: HourState
        if holed or expected - covered > TOLERANCE_MS or (silent and start > last_ms):
            state = "data missing"
        else:
            state = "data" if readings else "quiet"
        yield Hour(start, state, packs, readings)
