"""What admission tolerates, as one frozen object that `app` builds. All figures are proposals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """slack_ms: how far behind a gateway's greatest event time its watermark stays.

    idle_ms: a gateway whose watermark nothing moved for so long is quiet: marks move it on.
    future_ms: an event time further ahead than this is a clock fault (interchange.md section 2).
    skew_ms: error of a gateway's wall clock that is left alone. floor_ms: no reading is older
    (2015-01-01). dedup_depth: how many last rows of a series a row is compared with.
    settle_ms: how long a boot's clock offset must hold before it outweighs a plausible wall
    clock. drift_ppm: how fast a monotonic clock may drift against ours. clock_boots: boots of
    one gateway whose clocks are remembered.
    """

    slack_ms: int = 2000
    idle_ms: int = 3000
    future_ms: int = 120_000
    skew_ms: int = 2000
    floor_ms: int = 1_420_070_400_000
    dedup_depth: int = 8
    settle_ms: int = 10_000
    drift_ppm: int = 100
    clock_boots: int = 8
