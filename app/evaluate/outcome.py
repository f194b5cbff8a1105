"""What one method came to, with intervals: counts by Poisson, delays by drawing days anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluate.poisson import interval

MONTH_DAYS = 30.0
DRAWS = 1_000
SEED = 1
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Outcome:
    """Of one method at one setting, pooled.

    delays: hours, one a collapse; of all methods in the same order. block: the home and day of
    each. apart: what is counted apart, by name.
    """

    delays: Floats
    block: NDArray[np.int64]
    false_alarms: int
    days: float
    knob: float
    apart: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.false_alarms / self.days * MONTH_DAYS

    def document(self) -> dict[str, Any]:
        low, high = interval(self.false_alarms)
        return {
            "knob": round(self.knob, 6),
            "median_delay_h": _quantile(self.delays, 0.5),
            "median_interval_95": _interval([float(np.median(d)) for d in _drawn(self)]),
            "p90_delay_h": _quantile(self.delays, 0.9),
            "false_alarms": self.false_alarms,
            "false_alarms_per_30d": round(self.rate, 3),
            "interval_95": [
                round(low / self.days * MONTH_DAYS, 3),
                round(high / self.days * MONTH_DAYS, 3),
            ],
            "apart": self.apart,
        }


def ratio_interval(own: Outcome, other: Outcome) -> list[float]:
    """95 % of the ratio of medians, both over the same days drawn anew."""
    pairs = zip(_drawn(own), _drawn(other), strict=True)
    return _interval([float(np.median(a) / max(np.median(b), 1e-9)) for a, b in pairs])


def _drawn(outcome: Outcome) -> list[Floats]:
    """Delays with whole days of homes drawn anew: collapses of one day aren't independent
    (Efron 1979, in blocks). The same days for every method."""
    if not len(outcome.delays):
        return []
    blocks, place = np.unique(outcome.block, return_inverse=True)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    rng = np.random.default_rng(SEED)
    days = rng.integers(len(blocks), size=(DRAWS, len(blocks)))
    return [outcome.delays[np.concatenate([members[k] for k in draw])] for draw in days]


def _interval(values: list[float]) -> list[float]:
    if not values:
        return [float("nan")] * 2
    return [round(float(one), 3) for one in np.quantile(values, [0.025, 0.975])]


def _quantile(delays: Floats, q: float) -> float:
    return round(float(np.quantile(delays, q)), 3) if len(delays) else float("nan")
