"""What a worker tells of one of its partitions: in records, in metrics and in health."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.stream.lane import Lane
from app.stream.post import Record
from app.stream.records import Ask, Pulse, encode
from app.stream.topics import Topics
from app.stream.worker_metrics import WorkerMetrics
from contracts import topics as mqtt_topics
from contracts.messages import Resend


def pulse_record(topics: Topics, lane: Lane) -> Record:
    engine, refused, needs = lane.partition.engine, lane.partition.refused, lane.needs()
    pulse = Pulse(
        partition=lane.number,
        offset=lane.offset,
        position=lane.position,
        heard_ms=lane.heard_ms,
        rules=engine.content.get("rules", ""),
        registry=engine.content.get("registry", ""),
        settings=engine.content.get("settings", ""),
        coming=engine.coming.content if engine.coming else "",
        refused=refused.hash,
        why=refused.why,
        stands=lane.stands,
        needs=None if needs is None else tuple(sorted(needs)),
    )
    return topics.pulses.name, 0, str(lane.number).encode(), encode(pulse)


def ask_record(topics: Topics, lane: Lane, gateway: str, resend: Resend) -> Record:
    ask = Ask(
        topic=mqtt_topics.cmd(gateway),
        payload=msgspec.Raw(msgspec.json.encode(resend)),
        at_ms=lane.heard_ms,
    )
    return topics.asks.name, 0, gateway.encode(), encode(ask)


def show(metrics: WorkerMetrics, lane: Lane, lag: int, now_ms: int) -> None:
    name = str(lane.number)
    metrics.lag.labels(name).set(lag)
    metrics.behind.labels(name).set(max(0, now_ms - lane.heard_ms) / 1000)
    metrics.stands.labels(name).set(bool(lane.stands))
    metrics.undecidable.labels(name).set(lane.undecidable)
    metrics.rules_refused.labels(name).set(bool(lane.partition.refused.why))
    metrics.missing.labels(name).set(lane.partition.log.ledger.open_gaps)


def health_line(lane: Lane, lag: int) -> dict[str, Any]:
    """unsaved_s: for how long there has been something to save."""
    engine = lane.partition.engine
    unsaved_s = time.monotonic() - lane.safe_s if lane.offset > lane.saved_offset else 0.0
    return {
        "partition": lane.number,
        "offset": lane.offset,
        "lag": lag,
        "waiting_bytes": lane.waiting_bytes,
        "heard_ms": lane.heard_ms,
        "snapshot_offset": lane.saved_offset,
        "stands": lane.stands,
        "undecidable": lane.undecidable,
        "open_gaps": lane.partition.log.ledger.open_gaps,
        "rules_refused": lane.partition.refused.why,
        "recovered_s": round(lane.recovered_s, 3),
        "unsaved_s": round(unsaved_s, 1),
        "rules": engine.content.get("rules", ""),
        "registry": engine.content.get("registry", ""),
        "devices": len(engine.registry.devices),
    }
