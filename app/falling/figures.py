"""Outcomes as figures: shares with Wilson intervals, rates with their upper bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.falling.outcomes import Outcome, Throw
from detectors.falling.operator import ALARM_STOREYS

Z = 1.959964
"""Of a 95 % interval."""
SIZES = ((2, 3), (3, 5), (5, 10), (10, 40))
CONTRASTS = ((10, 15), (15, 35), (35, 60), (60, 121))


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); all there is when nothing was tried."""
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, Z * Z
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * np.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def upper_rate(count: int, hours: float) -> float:
    """Upper 95 % bound of a Poisson rate: 3 / hours when nothing was seen (rule of three).

    By bisection of the Poisson distribution's lower tail at 5 %.
    """
    if hours <= 0:
        return float("inf")
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(60):
        mean = (low + high) / 2
        term = tail = float(np.exp(-mean))
        for k in range(1, count + 1):
            term *= mean / k
            tail += term
        low, high = (mean, high) if tail > 0.05 else (low, mean)
    return high / hours


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Those that are named, and their intervals."""
    made: dict[str, float] = {}
    for cell in ("clear", "faint", "tiny", "dim"):
        throws = [throw for one in outcomes if one.cell == cell for throw in one.throws]
        made |= _share(f"recall_{cell}", throws, lambda throw: throw.told > 0)
        made[f"events_{cell}"] = float(len(throws))
    promised = [t for one in outcomes if one.cell in ("clear", "faint") for t in one.throws]
    told = [throw for throw in promised if throw.told]
    made |= _share("storey_within_one", told, _is_near)
    if told:
        latency = np.array([throw.latency_s for throw in told])
        errors = np.array([abs(throw.told_storey - throw.start_storey) for throw in told])
        made["latency_p50_s"], made["latency_p99_s"] = np.percentile(latency, [50, 99]).tolist()
        made["storey_error_p50"], made["storey_error_p90"] = np.percentile(
            errors, [50, 90]
        ).tolist()
    empty = [one for one in outcomes if one.cell == "negative"]
    hours = sum(one.seconds for one in empty) / 3600
    alarms = sum(len(one.false) for one in empty)
    made["negative_hours"] = hours
    made["false_alarms"] = float(alarms)
    made["false_alarms_per_hour"] = alarms / hours if hours else 0.0
    made["false_alarms_per_hour_upper"] = upper_rate(alarms, hours) if hours else 0.0
    past = sum(alarm.storeys > ALARM_STOREYS for one in empty for alarm in one.false)
    made["false_past_two_storeys"] = float(past)
    made["false_past_two_storeys_per_hour"] = past / hours if hours else 0.0
    made["false_past_two_storeys_per_hour_upper"] = upper_rate(past, hours) if hours else 0.0
    thrown = [one for one in outcomes if one.cell != "negative"]
    beside = sum(len(one.false) for one in thrown)
    twice = sum(max(throw.told - 1, 0) for one in thrown for throw in one.throws)
    spent = sum(one.seconds for one in thrown) / 3600
    made["duplicates"] = float(twice)
    made["false_beside_throws_per_hour"] = (beside + twice) / spent if spent else 0.0
    count = sum(one.tracklets for one in empty)
    made["tracklets_per_negative_hour"] = count / hours if hours else 0.0
    made["scenes"] = float(len(outcomes))
    return made


def _share(name: str, throws: Sequence[Throw], hit: Callable[[Throw], bool]) -> dict[str, float]:
    hits = sum(map(hit, throws))
    low, high = wilson(hits, len(throws))
    share = hits / len(throws) if throws else 0.0
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def _is_near(throw: Throw) -> bool:
    return abs(throw.told_storey - throw.start_storey) <= 1.0


def tables(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, object]]]:
    """Recall by size, contrast and distractor; false alarms by what was near."""
    thrown = [one for one in outcomes if one.cell != "negative"]
    throws = [throw for one in thrown for throw in one.throws]
    by_size = [
        _row(f"{low}-{high} px", [t for t in throws if low <= t.size < high]) for low, high in SIZES
    ]
    by_contrast = [
        _row(f"{low}-{high}", [t for t in throws if low <= t.contrast < high])
        for low, high in CONTRASTS
    ]
    both = [
        _row(f"{a}-{b} px, {c}-{d}",
             [t for t in throws if a <= t.size < b and c <= t.contrast < d])
        for a, b in SIZES for c, d in CONTRASTS
    ]  # fmt: skip
    names = sorted({name for one in thrown for name in one.distractors})
    promised = [one for one in thrown if one.cell in ("clear", "faint")]
    by_distractor = [
        _row(name, [t for one in promised if name in one.distractors for t in one.throws])
        for name in names
    ]
    near = Counter(alarm.near for one in outcomes for alarm in one.false)
    missed = [t for t in throws if not t.told]
    return {
        "by_size": by_size,
        "by_contrast": by_contrast,
        "by_size_and_contrast": both,
        "by_distractor": by_distractor,
        "false_alarms_near": [{"near": name, "count": n} for name, n in near.most_common()],
        "missed": [
            {
                "seen_by_front_end": sum(t.seen for t in missed),
                "not_seen": sum(not t.seen for t in missed),
            }
        ],
    }


def _row(name: str, throws: Iterable[Throw]) -> dict[str, object]:
    listed = list(throws)
    hits = sum(throw.told > 0 for throw in listed)
    low, high = wilson(hits, len(listed))
    return {
        "of": name, "events": len(listed), "told": hits,
        "recall": round(hits / len(listed), 4) if listed else None,
        "low": round(low, 4), "high": round(high, 4),
    }  # fmt: skip
