"""Whether the pipeline is well, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STALLED_MS = 10_000
"""Without a step of the engine for so long the pipeline counts as stopped (proposal)."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is looked at. Times are unix ms; lag_ms is how far the engine is behind the log.
    detectors: by name why one failed just now."""

    now_ms: int
    stepped_ms: int
    lag_ms: int
    position: int
    log_position: int
    broker_connected: bool
    broker_error: str
    disk_full: bool
    sparing: bool
    dispatch: dict[str, Any]
    telemetry: dict[str, Any] | None
    quarantine: dict[str, Any]
    storage: dict[str, Any]
    detectors: Mapping[str, str] = field(default_factory=dict)


def judge(vitals: Vitals) -> dict[str, Any]:
    """The health document. ok: nothing is wrong. ready: readings are taken and decided."""
    stalled = vitals.now_ms - vitals.stepped_ms > STALLED_MS
    full = vitals.disk_full or vitals.sparing
    ready = vitals.broker_connected and not full and not stalled
    store_problem = "" if vitals.telemetry is None else vitals.telemetry.get("problem", "")
    problems = [
        text
        for wrong, text in (
            (not vitals.broker_connected, f"no broker: {vitals.broker_error or 'connecting'}"),
            (vitals.disk_full, "the log's disk is full: nothing is accepted until it has room"),
            (
                vitals.sparing and not vitals.disk_full,
                "the disk is nearly full: only alarms are accepted until it has room",
            ),
            (stalled, f"no step of the engine since {vitals.now_ms - vitals.stepped_ms} ms"),
            (not vitals.dispatch["ok"], "an urgent alert can't be delivered"),
            (bool(store_problem), f"telemetry store: {store_problem}"),
            *((True, f"the detector {name}: {why}") for name, why in vitals.detectors.items()),
        )
        if wrong
    ]
    return {
        "ok": not problems,
        "ready": ready,
        "problems": problems,
        "position": vitals.position,
        "log_position": vitals.log_position,
        "lag_ms": vitals.lag_ms,
        "dispatch": vitals.dispatch,
        "telemetry": vitals.telemetry,
        "quarantine": vitals.quarantine,
        "storage": vitals.storage,
    }
