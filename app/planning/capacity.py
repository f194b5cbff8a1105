"""From devices and readings a second to partitions, workers, memory and disks. Pure.

Sizes are for the peak, with a share of each core kept free; disks are for the mean. Shares and
factors are proposals, the costs are measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.planning.measured import BRIDGE_BYTES_SLACK, Measured

DAY_S = 86_400
GIB = 1 << 30
PARTITIONS_PER_WORKER = 4
"""So that load can be spread finely, and workers can double twice (proposal)."""
LEAST_PARTITIONS = 8
BASE_BYTES = 200 << 20
"""A worker without a device: interpreter, libraries, rules (proposal, above what was measured)."""
PACK_ROWS = 500
DISK_SHARE = 0.7
"""A disk is not planned fuller than this (proposal)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """devices. readings_per_s: mean. peak: times the mean. busy: share of a core that is planned
    at the peak. spare_workers: may be gone at the peak. log_days, store_days: kept. replication: of
    Kafka. store_outage_h: that the spill holds.
    """

    devices: int
    readings_per_s: float
    peak: float = 2.0
    busy: float = 0.5
    spare_workers: int = 1
    log_days: float = 7.0
    store_days: float = 30.0
    replication: int = 3
    store_outage_h: float = 4.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Counts, bytes and shares; `_s` are seconds, `_per_s` a second at the peak."""

    partitions: int
    workers: int
    bridges: int
    worker_busy_share: float
    worker_memory_bytes: int
    devices_per_partition: int
    readings_per_s_per_partition: float
    log_bytes_per_s: float
    log_disk_bytes: int
    brokers_disk_bytes: int
    store_rows_per_s: float
    store_wire_bytes_per_s: float
    store_disk_bytes: int
    store_cores: float
    spill_bytes_per_worker: int
    recovery_s: float
    catch_up_s_after_a_minute: float


def plan(wanted: Wanted, costs: Measured) -> Plan:
    """Raises `ValueError` for a wish that is none."""
    _check(wanted)
    peak = wanted.readings_per_s * wanted.peak
    reading_cpu_s = 1 / costs.worker_readings_per_cpu_s.value + costs.store_writer_cpu_s.value
    needed = max(1, math.ceil(peak * reading_cpu_s / wanted.busy))
    workers = needed + wanted.spare_workers
    partitions = _power_of_two(max(LEAST_PARTITIONS, PARTITIONS_PER_WORKER * workers))
    # After the planned loss the others carry its devices too.
    devices_each = math.ceil(wanted.devices / max(1, workers - wanted.spare_workers))
    log_bytes = wanted.readings_per_s * costs.wire_bytes.value * BRIDGE_BYTES_SLACK
    kept = log_bytes * DAY_S * wanted.log_days
    rows = wanted.readings_per_s
    spare = workers / reading_cpu_s - wanted.readings_per_s
    return Plan(
        partitions=partitions,
        workers=workers,
        bridges=1 + max(
            1, math.ceil(peak / PACK_ROWS * costs.bridge_pack_cpu_s.value / wanted.busy)
        ),
        worker_busy_share=peak * reading_cpu_s / workers,
        worker_memory_bytes=int(BASE_BYTES + devices_each * costs.device_bytes.value),
        devices_per_partition=math.ceil(wanted.devices / partitions),
        readings_per_s_per_partition=peak / partitions,
        log_bytes_per_s=log_bytes * wanted.peak,
        log_disk_bytes=int(kept),
        brokers_disk_bytes=int(kept * wanted.replication / DISK_SHARE),
        store_rows_per_s=peak,
        store_wire_bytes_per_s=peak * costs.store_wire_bytes.value,
        store_disk_bytes=int(
            rows * DAY_S * wanted.store_days * costs.store_disk_bytes.value / DISK_SHARE
        ),
        store_cores=peak * costs.store_server_cpu_s.value / wanted.busy,
        spill_bytes_per_worker=int(
            rows * wanted.store_outage_h * 3600 * costs.spill_bytes.value / needed
        ),
        recovery_s=devices_each / 1e6 * costs.recovery_s.value,
        catch_up_s_after_a_minute=60 * wanted.readings_per_s / spare,
    )  # fmt: skip


def _check(wanted: Wanted) -> None:
    if wanted.devices < 1 or wanted.readings_per_s <= 0:
        raise ValueError(
            "devices and readings-per-s: at least one device, and more than no reading"
        )
    if not 0 < wanted.busy <= 0.9:
        raise ValueError(
            "busy: a share above 0 and up to 0.9, for a full core never makes up what waits"
        )
    if wanted.peak < 1:
        raise ValueError("peak: at least 1, the mean itself")
    if min(wanted.log_days, wanted.store_days, wanted.store_outage_h, wanted.spare_workers) < 0:
        raise ValueError("days, hours and spare workers: none below 0")
    if wanted.replication < 1:
        raise ValueError("replication: at least 1")


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
