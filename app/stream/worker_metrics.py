"""What Prometheus sees of a worker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.metrics import LATENCY_S, StoreMetrics
from app.stream.partition import Outputs


class WorkerMetrics:
    """All collectors of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.store = StoreMetrics(registry)
        self.records = Counter(
            "gridwarden_worker_records",
            "Log records by kind, and duplicate packs",
            ["kind"],
            registry=registry,
        )
        self.readings = Counter(
            "gridwarden_readings",
            "Rows by what became of them: accepted, duplicate, late, repaired, unverified, ...",
            ["outcome"],
            registry=registry,
        )
        self.rejected = Counter(
            "gridwarden_rejected",
            "Rows and messages refused and kept as dead letters",
            ["reason"],
            registry=registry,
        )
        self.events = Counter(
            "gridwarden_alert_events",
            "Alert events sent; after a crash some again, with the same ids",
            ["family", "phase"],
            registry=registry,
        )
        self.asks = Counter(
            "gridwarden_worker_asks", "Gateways asked for missing packs", registry=registry
        )
        self.step = Histogram(
            "gridwarden_engine_step_seconds",
            "One step of the engine",
            buckets=LATENCY_S,
            registry=registry,
        )
        self.lag = Gauge(
            "gridwarden_worker_lag_records",
            "Records of the log that are not worked off yet",
            ["partition"],
            registry=registry,
        )
        self.behind = Gauge(
            "gridwarden_worker_behind_seconds",
            "Now minus the time of the last record worked off",
            ["partition"],
            registry=registry,
        )
        self.stands = Gauge(
            "gridwarden_worker_partition_stands",
            "1 while a partition can't go on: /health says why",
            ["partition"],
            registry=registry,
        )
        self.undecidable = Gauge(
            "gridwarden_worker_undecidable_records",
            "Records that the engine failed on and that are dead letters, since it was taken over",
            ["partition"],
            registry=registry,
        )
        self.rules_refused = Gauge(
            "gridwarden_rules_refused",
            "1 while the rules named last were refused: older rules are in force",
            ["partition"],
            registry=registry,
        )
        self.missing = Gauge(
            "gridwarden_boots_with_gaps",
            "Boots of gateways with packs known to exist and neither here nor given up",
            ["partition"],
            registry=registry,
        )
        self.of_partitions = (
            self.lag, self.behind, self.stands, self.undecidable, self.rules_refused, self.missing,
        )  # fmt: skip
        self.rules_changes = Counter(
            "gridwarden_rules_changes",
            "Rule sets named in the log by what became of them: begun, done, refused",
            ["state"],
            registry=registry,
        )
        self.partitions = Gauge(
            "gridwarden_worker_partitions", "Partitions at work here", registry=registry
        )
        self.rebalances = Counter(
            "gridwarden_worker_rebalances", "Divisions of the partitions", registry=registry
        )
        self.snapshot_s = Gauge(
            "gridwarden_worker_snapshot_seconds", "The last snapshot took", registry=registry
        )
        self.snapshot_bytes = Gauge(
            "gridwarden_worker_snapshot_bytes", "The last snapshot had", registry=registry
        )
        self.recovery_s = Gauge(
            "gridwarden_worker_recovery_seconds",
            "Loading the last partition's snapshot took",
            registry=registry,
        )

    def count(self, outputs: Outputs) -> None:
        for kind, number in outputs.records.items():
            self.records.labels(kind).inc(number)
        for outcome, number in outputs.rows.items():
            self.readings.labels(outcome).inc(number)
        for news in outputs.news:
            self.rules_changes.labels(news.state).inc()
        for letter in outputs.letters:
            self.rejected.labels(letter.reason).inc()
        for event in outputs.events:
            _, _, family, _, phase = event.type.split(".")
            self.events.labels(family, phase).inc()

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
