"""What Prometheus sees of a bridge."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.stream.outlet import Outlet
from ingest.subscriber import Subscriber

TOOK_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
SIZES = (1 << 10, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 1 << 20, 8 << 20)


class BridgeMetrics:
    """All collectors of one bridge, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "gridwarden_bridge_messages",
            "MQTT messages that Kafka has: logged, or refused and kept as letters",
            ["outcome"],
            registry=self.registry,
        )
        self.refused = Counter(
            "gridwarden_bridge_refused", "Letters by reason", ["reason"], registry=self.registry
        )
        self.asks = Counter(
            "gridwarden_bridge_asks",
            "Workers' commands for gateways by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.bad_records = Counter(
            "gridwarden_bridge_bad_records",
            "Records of Kafka that could not be understood",
            ["topic"],
            registry=self.registry,
        )
        self.took = Histogram(
            "gridwarden_bridge_kafka_seconds",
            "First message of a bundle to Kafka's acknowledgement",
            buckets=TOOK_S,
            registry=self.registry,
        )
        self.bundle_bytes = Histogram(
            "gridwarden_bridge_bundle_bytes",
            "Sizes of bundles",
            buckets=SIZES,
            registry=self.registry,
        )
        self.state = Gauge(
            "gridwarden_bridge_state",
            "What it is like now: 1 = mqtt_connected, kafka_connected; waiting_bytes, "
            "oldest_seconds, queued_messages, assignments, unassigned_gateways",
            ["what"],
            registry=self.registry,
        )
        self.inner = Gauge(
            "gridwarden_bridge_inner_total",
            "What its parts have counted since the start: connections, faults, repeats",
            ["part", "what"],
            registry=self.registry,
        )

    def exposition(
        self, outlet: Outlet, subscriber: Subscriber, assignments: int, unassigned: int
    ) -> bytes:
        """Prometheus's text, with the parts as they are now."""
        for what, number in (
            ("mqtt_connected", subscriber.connected),
            ("kafka_connected", outlet.connected),
            ("waiting_bytes", outlet.waiting_bytes),
            ("oldest_seconds", outlet.oldest_s()),
            ("queued_messages", subscriber.queued),
            ("assignments", assignments),
            ("unassigned_gateways", unassigned),
        ):
            self.state.labels(what).set(number)
        for part, counts in (("mqtt", subscriber.counts), ("kafka", outlet.counts)):
            for what in counts.__slots__:
                self.inner.labels(part, what).set(getattr(counts, what))
        return generate_latest(self.registry)
