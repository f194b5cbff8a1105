"""What Prometheus sees. One object owns the collectors; rooms report numbers, never metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ingest.telemetry import TelemetryState

LATENCY_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)


class StoreMetrics:
    """What is seen of the telemetry store, in whichever process writes it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Gauge(
            "gridwarden_telemetry_store_lag_seconds",
            "How far the queryable store is behind the log",
            registry=registry,
        )
        self.thinned = Gauge(
            "gridwarden_telemetry_store_thinned_rows",
            "Readings that the queryable store left out, the log has them",
            registry=registry,
        )
        self.lost = Gauge(
            "gridwarden_telemetry_store_lost_rows",
            "Readings that the queryable store could not keep, the log has them",
            registry=registry,
        )
        self.refused = Gauge(
            "gridwarden_telemetry_store_refused_rows",
            "Readings that the queryable store will never take, kept as dead letters",
            registry=registry,
        )
        self.spilled = Gauge(
            "gridwarden_telemetry_store_spilled_rows",
            "Readings that wait on this disk until the store can be reached",
            registry=registry,
        )
        self.spilled_bytes = Gauge(
            "gridwarden_telemetry_store_spilled_bytes",
            "Bytes of the readings that wait on this disk",
            registry=registry,
        )
        self.retries = Gauge(
            "gridwarden_telemetry_store_retries",
            "Writes to the queryable store that had to be made again",
            registry=registry,
        )
        self.up = Gauge(
            "gridwarden_telemetry_store_up",
            "0 while the queryable store has a problem that /health tells",
            registry=registry,
        )
        # Where there is no store, none is missed.
        self.up.set(1)

    def show(self, state: TelemetryState) -> None:
        self.up.set(not state.problem)
        self.lag.set(state.lag_ms / 1000)
        self.thinned.set(state.thinned_rows)
        self.lost.set(state.lost_rows)
        self.refused.set(state.refused_rows)
        self.spilled.set(state.spilled_rows)
        self.spilled_bytes.set(state.spilled_bytes)
        self.retries.set(state.retries)


class Metrics:
    """All collectors of one server process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.readings = Counter(
            "gridwarden_readings",
            "Rows by what became of them: accepted, duplicate, late, repaired, unverified, ...",
            ["outcome"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "gridwarden_rejected",
            "Rows and messages refused and kept as dead letters",
            ["reason"],
            registry=self.registry,
        )
        self.messages = Counter(
            "gridwarden_messages",
            "MQTT messages by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.events = Counter(
            "gridwarden_alert_events",
            "Alert events made",
            ["family", "phase"],
            registry=self.registry,
        )
        self.repeats = Counter(
            "gridwarden_alert_events_repeated",
            "Alert events made again with the same id after a restart, without effect",
            registry=self.registry,
        )
        self.rules_changes = Counter(
            "gridwarden_rules_changes",
            "Rule sets named in the log by what became of them: begun, done, refused",
            ["state"],
            registry=self.registry,
        )
        self.rules_refused = Gauge(
            "gridwarden_rules_refused",
            "1 while the rules folder holds what was refused: older rules are in force",
            registry=self.registry,
        )
        self.missing = Gauge(
            "gridwarden_boots_with_gaps",
            "Boots of gateways with packs known to exist and neither here nor given up",
            registry=self.registry,
        )
        self.watermark_lag = Gauge(
            "gridwarden_watermark_lag_seconds",
            "Time of acceptance minus the least watermark of a gateway heard in the last minute",
            registry=self.registry,
        )
        self.store = StoreMetrics(self.registry)
        self.position = Gauge(
            "gridwarden_log_position", "Last position of the log", registry=self.registry
        )
        self.commit = Histogram(
            "gridwarden_commit_seconds",
            "Group commit to the log",
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.step = Histogram(
            "gridwarden_engine_step_seconds",
            "One step of the engine",
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.heard = Histogram(
            "gridwarden_sensor_to_log_seconds",
            "Event time of the deciding reading to its acceptance, for alerts raised",
            ["family"],
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.delivered = Histogram(
            "gridwarden_sensor_to_delivery_seconds",
            "Event time of an alert to the receiver's answer",
            ["receiver"],
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.judged = Gauge(
            "gridwarden_alerts_judged",
            "Alerts by rule and what people said they were; `false` is the count of false alarms",
            ["rule", "disposition"],
            registry=self.registry,
        )

        self.inner = Gauge(
            "gridwarden_inner_total",
            "What a part has counted since the start: everything dropped, refused or odd",
            ["part", "what"],
            registry=self.registry,
        )

    def show(self, part: str, counts: Mapping[str, float]) -> None:
        """Totals that a part keeps itself."""
        for what, number in counts.items():
            self.inner.labels(part, what).set(number)

    def show_judged(self, judged: Iterable[tuple[str, str, int]]) -> None:
        """(rule, disposition, alerts) as they are now: one that is judged anew moves."""
        self.judged.clear()
        for rule, disposition, number in judged:
            self.judged.labels(rule, disposition).set(number)

    def count_rows(self, counts: Mapping[str, int]) -> None:
        for outcome, number in counts.items():
            self.readings.labels(outcome).inc(number)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
