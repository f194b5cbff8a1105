"""Windows and ages from docs/rules.md, one list of readings at a time."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from contracts.batch import Flag
from rules.entries import Entry
from rules.expr.window import Age, Window

PAST = Flag.LATE | Flag.HISTORICAL | Flag.CLOCK_UNKNOWN
NAN = math.nan
MILLIONTHS = 1_000_000
GREATEST = 2**48 / MILLIONTHS


@dataclass
class Past:
    """(ts, value) in order of event time; of equal times the newcomer is last. since: before
    that, some are gone."""

    readings: list[tuple[int, float]] = field(default_factory=list)
    since: int = -(10**18)

    def add(self, ts: int, value: float) -> int:
        at = bisect_right([r[0] for r in self.readings], ts)
        self.readings.insert(at, (ts, value))
        return at + 1

    def forget(self, longest: int) -> None:
        """The longest window behind the newest, and the reading before it, are kept."""
        newest = self.readings[-1][0]
        old = [r for r in self.readings if r[0] <= newest - longest]
        if len(old) > 1:
            self.readings = self.readings[len(old) - 1 :]
            self.since = max(self.since, self.readings[0][0])

    def ask(self, window: Window, ts: int, known: int) -> float:
        """The answer at ts, of the first `known` readings."""
        begin = ts - window.window_ms
        readings = self.readings[:known]
        inside = [r for r in readings if r[0] > begin]
        before = [r for r in readings if r[0] <= begin]
        found = answer(window, inside, before[-1:])
        if (before and self.since <= begin) or window.function == "last":
            return found
        if window.early is None or math.isnan(found):
            return NAN
        operator, limit = window.early
        more, least = operator.startswith(">"), operator.endswith("=")
        certain = (found > limit if more else found < limit) or (least and found == limit)
        return found if certain else NAN


def answer(
    window: Window, inside: list[tuple[int, float]], before: list[tuple[int, float]]
) -> float:
    function, values = window.function, [value for _, value in inside]
    if function == "count":
        return float(len(values))
    if function == "sum":
        return sum(map(millionths, values)) / MILLIONTHS
    if not values:
        return NAN
    if function == "changes":
        chain = [value for _, value in before + inside]
        return float(sum(a != b for a, b in pairwise(chain)))
    if function in ("delta", "rate"):
        old, new = (before or inside)[0], inside[-1]
        step, elapsed = millionths(new[1]) - millionths(old[1]), new[0] - old[0]
        if function == "delta":
            return step / MILLIONTHS
        return step / (elapsed * 1000) if elapsed else NAN
    if function == "quantile":
        assert window.share is not None
        return quantile(sorted(values), window.share)
    if function == "stddev":
        whole = [millionths(value) for value in values]
        mean = sum(whole) / len(whole)
        if math.isnan(mean):
            return NAN
        squares = math.fsum((one - mean) * (one - mean) for one in whole)
        return round(math.sqrt(squares / len(whole))) / MILLIONTHS
    simple = {
        "avg": sum(map(millionths, values)) / (len(values) * MILLIONTHS),
        "min": min(values),
        "max": max(values),
        "last": values[-1],
    }
    return simple[function]


def millionths(value: float) -> float:
    """A whole number; NaN, which stays NaN in every sum, when the value is too great."""
    return round(value * MILLIONTHS) if abs(value) <= GREATEST else NAN


def quantile(values: list[float], share: float) -> float:
    rank = share * (len(values) - 1)
    low = values[math.floor(rank)]
    high = values[min(math.floor(rank) + 1, len(values) - 1)]
    exact = low == high or rank == math.floor(rank)
    return low if exact else low + (high - low) * (rank - math.floor(rank))


@dataclass(frozen=True)
class Tick:
    """What time alone has made of one device: derived quantity -> value. seen: newest reading
    behind each."""

    ts: int
    device: int
    values: dict[int, float]
    seen: dict[int, int]


@dataclass
class Windows:
    """entries: those of a rule set. families, gateways: per device."""

    entries: tuple[Entry, ...]
    families: list[str]
    gateways: list[int]
    pasts: dict[tuple[int, int, str], Past] = field(default_factory=dict)
    ticked: list[int] = field(default_factory=list)

    def read(
        self, device: int, quantity: int, ts: int, value: float, flags: int
    ) -> dict[int, float]:
        """What a reading makes, by derived quantity."""
        made: dict[int, float] = {}
        if math.isnan(value) or flags & (Flag.BAD | Flag.STALE):
            return made
        for stream in ("all", "late" if flags & PAST else "live"):
            mine = self._of(device, quantity, stream)
            if mine:
                past = self.pasts.setdefault((device, quantity, stream), Past())
                known = past.add(ts, value)
                for entry in mine:
                    made[entry.index] = (
                        past.ask(entry.derived, ts, known)
                        if isinstance(entry.derived, Window)
                        else 0.0
                    )
        return made

    def ticks(
        self, rows: list[tuple[int, int, int, float, int]], watermarks: list[int]
    ) -> list[tuple[int, int, int]]:
        """(ts, device, derived quantity): when time might say something, before the mark's rows
        are read. What comes as history says nothing of the time that is over."""
        found = set()
        on_time = [row for row in rows if not row[4] & PAST]
        for (device, quantity, stream), _ in self._live(rows):
            for entry in self._of(device, quantity, stream):
                for ts in self._times(on_time, device, quantity, stream):
                    due = ts + length_of(entry)
                    if self._before(device) < due <= watermarks[self.gateways[device]]:
                        found.add((due, device, entry.index))
        return sorted(found)

    def tick(
        self,
        ts: int,
        device: int,
        asked: set[int],
        rows: list[tuple[int, int, int, float, int]],
    ) -> Tick | None:
        """What time says at ts of the derived quantities, when all readings before it are in."""
        values, seen = {}, {}
        for (owner, quantity, stream), past in self._live(rows):
            if owner != device:
                continue
            earlier = [r[0] for r in past.readings if r[0] < ts]
            now = ts in self._times(rows, device, quantity, stream)
            for entry in self._of(device, quantity, stream):
                length = length_of(entry)
                if entry.index not in asked:
                    continue
                if isinstance(entry.derived, Age):
                    if earlier and earlier[-1] + length == ts:
                        values[entry.index], seen[entry.index] = 1.0, earlier[-1]
                elif isinstance(entry.derived, Window) and not now:
                    values[entry.index] = past.ask(entry.derived, ts, len(earlier))
                    seen[entry.index] = earlier[-1]
        return Tick(ts, device, values, seen) if values else None

    def mark(self, watermarks: list[int], touched: set[tuple[int, int]]) -> None:
        """All is read up to the watermarks; touched: (device, quantity) that were read."""
        self.ticked = list(watermarks)
        for (device, quantity, stream), past in self.pasts.items():
            if past.readings and (device, quantity) in touched:
                windows = [
                    length_of(entry)
                    for entry in self._of(device, quantity, stream)
                    if isinstance(entry.derived, Window)
                ]
                past.forget(max(windows, default=0))

    def _of(self, device: int, quantity: int, stream: str) -> list[Entry]:
        return [
            entry
            for entry in self.entries
            if isinstance(entry.derived, Window | Age)
            and entry.derived.quantity == quantity
            and entry.safety == (stream == "all")
            and any(
                entry.safety == e.safety and self.families[device] in e.families
                for e in self.entries
                if e.derived.base == quantity
            )
        ]

    def _live(
        self, rows: list[tuple[int, int, int, float, int]]
    ) -> list[tuple[tuple[int, int, str], Past]]:
        for device, quantity, _, _, _ in rows:
            for stream in ("all", "live"):
                if self._of(device, quantity, stream):
                    self.pasts.setdefault((device, quantity, stream), Past())
        return [(key, past) for key, past in self.pasts.items() if key[2] != "late"]

    def _times(
        self, rows: list[tuple[int, int, int, float, int]], device: int, quantity: int, stream: str
    ) -> list[int]:
        """Of readings kept and of usable ones to be read at this mark."""
        kept = [r[0] for r in self.pasts[device, quantity, stream].readings]
        return kept + [
            ts
            for owner, read, ts, value, flags in rows
            if (owner, read) == (device, quantity)
            and not math.isnan(value)
            and not flags & (Flag.BAD | Flag.STALE)
            and (stream == "all" or not flags & PAST)
        ]

    def _before(self, device: int) -> int:
        return self.ticked[self.gateways[device]] if self.ticked else -(10**18)


def length_of(entry: Entry) -> int:
    derived = entry.derived
    assert isinstance(derived, Window | Age)
    return derived.window_ms if isinstance(derived, Window) else derived.limit_ms
