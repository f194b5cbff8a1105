"""Sizes follow from costs: by hand for one city, and in the right direction for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.planning.capacity import BASE_BYTES, DAY_S, Wanted, plan
from app.planning.measured import Figure, Measured, NotMeasured, measured

COSTS = Measured(
    worker_readings_per_cpu_s=Figure(1e6, "by hand"),
    bridge_pack_cpu_s=Figure(100e-6, "by hand"),
    wire_bytes=Figure(20.0, "by hand"),
    device_bytes=Figure(1_000.0, "by hand"),
    recovery_s=Figure(10.0, "by hand"),
    store_writer_cpu_s=Figure(1e-6, "by hand"),
    store_server_cpu_s=Figure(2e-6, "by hand"),
    store_disk_bytes=Figure(1.0, "by hand"),
    store_wire_bytes=Figure(8.0, "by hand"),
    spill_bytes=Figure(8.0, "by hand"),
)
WANTED = st.builds(
    Wanted,
    devices=st.integers(1, 10**8),
    readings_per_s=st.floats(0.1, 1e8),
    peak=st.floats(1, 10),
    busy=st.floats(0.1, 0.9),
    spare_workers=st.integers(0, 5),
)


def test_a_city_by_hand() -> None:
    """1 M readings/s, twice that at the peak, 2 us each on half a core: 8 workers and a spare."""
    found = plan(Wanted(9_000_000, 1e6), COSTS)

    assert (found.workers, found.partitions, found.bridges) == (9, 64, 2)
    assert found.worker_busy_share == pytest.approx(4 / 9)
    assert found.worker_memory_bytes == BASE_BYTES + 9_000_000 // 8 * 1_000
    assert found.log_bytes_per_s == pytest.approx(2e6 * 20 * 1.1)
    assert found.brokers_disk_bytes == pytest.approx(1e6 * 20 * 1.1 * DAY_S * 7 * 3 / 0.7)
    assert found.store_disk_bytes == pytest.approx(1e6 * DAY_S * 30 / 0.7)
    assert found.store_cores == pytest.approx(2e6 * 2e-6 / 0.5)
    assert found.recovery_s == pytest.approx(9 / 8 * 10)
    assert found.catch_up_s_after_a_minute == pytest.approx(60 * 1e6 / (9 / 2e-6 - 1e6))


@given(WANTED)
def test_more_load_never_needs_less(wanted: Wanted) -> None:
    less = plan(wanted, COSTS)
    more = plan(replace(wanted, readings_per_s=wanted.readings_per_s * 2), COSTS)

    assert more.workers >= less.workers
    assert more.partitions >= less.partitions
    assert more.brokers_disk_bytes >= less.brokers_disk_bytes
    assert less.worker_busy_share <= wanted.busy + 1e-9
    assert less.partitions >= 4 * less.workers or less.partitions >= 8
    assert less.partitions & (less.partitions - 1) == 0
    assert less.catch_up_s_after_a_minute > 0


@pytest.mark.parametrize(
    ("wish", "want"),
    [
        ({"devices": 0}, "devices"),
        ({"readings_per_s": 0.0}, "readings"),
        ({"busy": 0.0}, "busy"),
        ({"busy": 1.1}, "busy"),
        ({"peak": 0.5}, "peak"),
        ({"log_days": -1.0}, "days"),
        ({"replication": 0}, "replication"),
    ],
)
def test_a_wish_that_is_none_is_refused(wish: dict[str, float], want: str) -> None:
    with pytest.raises(ValueError, match=want):
        plan(replace(Wanted(10, 10.0), **wish), COSTS)  # type: ignore[arg-type]


def test_what_was_measured_as_such_is_taken_first() -> None:
    results = {
        "e2e": {"server_cpu_s_per_million": 0.5},
        "mqtt": {"pack_cpu_us": 100.0},
        "decode": {"pack_bytes": 10_000.0},
        "registry": {"server_bytes_per_further_device": 1_000.0, "registry_load_s_1m": 11.0},
        "influx": {
            "store_cpu_s_per_million_rows": 1.0,
            "server_cpu_s_per_million_rows": 2.0,
            "server_disk_bytes_per_row": 0.9,
            "gzip_bytes_per_row": 8.0,
            "spill_bytes_per_row": 8.0,
        },
    }
    before = measured(results)
    after = measured({**results, "kafka": {"readings_per_cpu_s": 3e6}})

    assert before.worker_readings_per_cpu_s == Figure(2e6, "e2e.server_cpu_s_per_million", False)
    assert after.worker_readings_per_cpu_s == Figure(3e6, "kafka.readings_per_cpu_s", True)
    assert before.wire_bytes.value == 20
    assert before.bridge_pack_cpu_s.value == pytest.approx(100e-6)
    assert before.store_writer_cpu_s.value == pytest.approx(1e-6)


def test_what_nobody_measured_is_not_made_up() -> None:
    with pytest.raises(NotMeasured, match=r"kafka\.readings_per_cpu_s"):
        measured({})
