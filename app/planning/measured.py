"""What one core, one reading and one device cost, from the recorded benchmarks. Pure.

Each figure names where it comes from; a figure that nobody has measured yet is taken from the next
best one, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Results = Mapping[str, Mapping[str, float]]
"""Benchmark -> figure -> value, as in benchmarks/results/*.json."""

BRIDGE_BYTES_SLACK = 1.10
"""A bundle's heads and Kafka's batch heads over the packs (proposal)."""


class NotMeasured(Exception):
    """None of the figures that would do is among the results."""


@dataclass(frozen=True, slots=True)
class Figure:
    """value, and the benchmark's figure it was made of, for people. direct: measured as such."""

    value: float
    source: str
    direct: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """worker_readings_per_cpu_s: decided by one core. bridge_pack_cpu_s: of a pack of 500.
    wire_bytes: of a reading in a pack. device_bytes: of memory, a device that has spoken.
    recovery_s: per million device states. store_*: of a reading in the telemetry store.
    """

    worker_readings_per_cpu_s: Figure
    bridge_pack_cpu_s: Figure
    wire_bytes: Figure
    device_bytes: Figure
    recovery_s: Figure
    store_writer_cpu_s: Figure
    store_server_cpu_s: Figure
    store_disk_bytes: Figure
    store_wire_bytes: Figure
    spill_bytes: Figure

    def figures(self) -> dict[str, Figure]:
        return {name: getattr(self, name) for name in self.__slots__}


def measured(results: Results) -> Measured:
    """Raises `NotMeasured`."""
    return Measured(
        worker_readings_per_cpu_s=_first(
            results,
            # With as many devices as a worker of a city has.
            ("kafka.devices_300000_readings_per_cpu_s", 1.0, True),
            ("kafka.readings_per_cpu_s", 1.0, True),
            # The whole embedded server: log, engine, stores. A worker does about the same.
            ("e2e.server_cpu_s_per_million", -1e6, False),
        ),
        bridge_pack_cpu_s=_first(
            results,
            ("kafka.bridge_cpu_s_per_million_readings", 500e-6, True),
            # Broker to log without engine: the same work up to the write.
            ("mqtt.pack_cpu_us", 1e-6, False),
        ),
        wire_bytes=_first(results, ("decode.pack_bytes", 1 / 500, True)),
        device_bytes=_first(results, ("registry.server_bytes_per_further_device", 1.0, True)),
        recovery_s=_first(
            results,
            ("kafka.recovery_s_per_million_states", 1.0, True),
            # Building an engine's registry is the greater part of coming back.
            ("registry.registry_load_s_1m", 1.0, False),
        ),
        store_writer_cpu_s=_first(results, ("influx.store_cpu_s_per_million_rows", 1e-6, True)),
        store_server_cpu_s=_first(results, ("influx.server_cpu_s_per_million_rows", 1e-6, False)),
        store_disk_bytes=_first(results, ("influx.server_disk_bytes_per_row", 1.0, False)),
        store_wire_bytes=_first(results, ("influx.gzip_bytes_per_row", 1.0, True)),
        spill_bytes=_first(results, ("influx.spill_bytes_per_row", 1.0, True)),
    )


def _first(results: Results, *ways: tuple[str, float, bool]) -> Figure:
    """The first of (figure, factor, direct) that was measured. A negative factor divides."""
    for name, factor, direct in ways:
        benchmark, _, figure = name.partition(".")
        value = results.get(benchmark, {}).get(figure)
        if value:
            return Figure(value * factor if factor > 0 else -factor / value, name, direct)
    raise NotMeasured(f"none of {', '.join(name for name, _, _ in ways)} was measured")
