"""Ranges of sequences that were given up: merging, cutting, and what is left of a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from contracts.pack import Evicted

UNKNOWN_MS = 0
"""Event time of a tombstone whose contents nobody remembers."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """Sequences first..last, closed."""

    first: int
    last: int


def merge(ranges: Iterable[Evicted]) -> list[Evicted]:
    """Sorted by (boot, first), neighbours joined. Readings of ranges that overlap are not added:
    an overlap tells of the same loss twice."""
    merged: list[Evicted] = []
    for row in sorted(ranges, key=lambda e: (e.boot, e.first, -e.last)):
        if merged and merged[-1].boot == row.boot and row.first <= merged[-1].last + 1:
            merged[-1] = _joined(merged[-1], row)
        else:
            merged.append(row)
    return merged


def _joined(a: Evicted, b: Evicted) -> Evicted:
    if b.last <= a.last:
        return a
    from_ms, to_ms = min(a.from_ms, b.from_ms), max(a.to_ms, b.to_ms)
    # A range without readings (a tombstone given up itself) covers no time.
    if not a.readings:
        from_ms, to_ms = b.from_ms, b.to_ms
    elif not b.readings:
        from_ms, to_ms = a.from_ms, a.to_ms
    return Evicted(a.boot, a.first, b.last, from_ms, to_ms, a.readings + b.readings)


def without(spans: Iterable[Span], held: Sequence[int]) -> list[Span]:
    """The spans less the sequences of `held` (sorted)."""
    left: list[Span] = []
    for span in spans:
        start = span.first
        for seq in held:
            if start <= seq <= span.last:
                if seq > start:
                    left.append(Span(start, seq - 1))
                start = seq + 1
        if start <= span.last:
            left.append(Span(start, span.last))
    return left


def answer(boot: int, spans: Iterable[Span], known: Iterable[Evicted]) -> list[Evicted]:
    """What to say about sequences that are gone: what is known of them, else that they are."""
    rows: list[Evicted] = []
    remembered = [row for row in known if row.boot == boot]
    for span in spans:
        met = [r for r in remembered if r.first <= span.last and r.last >= span.first]
        rows += met
        start = span.first
        for row in sorted(met, key=lambda r: r.first):
            if row.first > start:
                rows.append(Evicted(boot, start, row.first - 1, UNKNOWN_MS, UNKNOWN_MS, 0))
            start = max(start, row.last + 1)
        if start <= span.last:
            rows.append(Evicted(boot, start, span.last, UNKNOWN_MS, UNKNOWN_MS, 0))
    return merge(rows)
