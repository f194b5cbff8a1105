"""The telemetry store: everything while it is little, else the last values, and it says so."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITY_INDEX
from contracts.registry import Registry
from ingest.telemetry import Sample, SqliteTelemetry
from ingest.telemetry.day import DAY_MS, days_of, path_of
from tests.ingest.packs import T0

STORES = 100


class Bench:
    """A store whose thread sleeps for long: the test flushes."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.now_ms = T0
        self.directory = DeviceDirectory(Registry())
        self.devices = [self.directory.intern_device(f"d{i}", "smoke", 0) for i in range(300)]
        self.store = SqliteTelemetry(folder, clock=lambda: self.now_ms, **settings)

    def write(
        self, rows: list[tuple[int, str, int, float]], *, flags: int = 0, heard_ms: int = T0
    ) -> None:
        batch = TaggedBatch.of(rows, flags=flags, heard_ms=heard_ms)
        self.store.write(batch, self.directory)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("ingest.telemetry.store.FLUSH_MS", 3_600_000)
    bench = Bench(tmp_path, max_rows_per_s=STORES, interval_ms=3_600_000, keep_days=3)
    # With the long period the allowance of a period is set by hand.
    bench.store._period_ms = 1000
    yield bench
    bench.store.close()


def test_few_rows_are_all_kept(bench: Bench) -> None:
    bench.write([(0, "battery", T0 + i, i / 2) for i in range(50)])
    bench.write([(1, "rssi", T0, float("nan"))], flags=int(Flag.BAD))
    bench.store.flush()
    samples = bench.store.range("d0", "battery", T0 + 10, T0 + 20)
    assert samples == [Sample(T0 + i, i / 2, 0) for i in range(10, 20)]
    assert bench.store.latest("d0") == {"battery": Sample(T0 + 49, 24.5, 0)}
    assert bench.store.latest("d1") == {"rssi": Sample(T0, None, int(Flag.BAD))}
    assert bench.store.latest("nobody") == {}
    assert bench.store.range("d9", "battery", 0, 2 * T0) == []
    state = bench.store.state()
    assert (state.mode, state.handed_rows, state.stored_rows, state.thinned_rows) == (
        "full",
        51,
        51,
        0,
    )
    assert state.lag_ms == 0
    assert state.kept_from_ms == T0 // DAY_MS * DAY_MS


def test_too_many_rows_are_thinned_to_the_last_and_it_says_so(bench: Bench) -> None:
    for second in range(20):
        rows = [(d, q, T0 + second, float(second)) for d in range(50) for q in ("battery", "rssi")]
        bench.write(rows, heard_ms=T0 + second)
    bench.write([(7, "fire", T0 + 3, 1.0)], flags=int(Flag.ALARM), heard_ms=T0 + 20)
    bench.write([(7, "fire", T0 + 4, 0.0)], heard_ms=T0 + 20)
    assert bench.store.state().mode == "thinned"
    bench.store.flush()

    assert bench.store.latest("d49") == {
        "battery": Sample(T0 + 19, 19.0, 0),
        "rssi": Sample(T0 + 19, 19.0, 0),
    }
    # Two batches went in whole before the bound, then the last of each series.
    assert [s.ts_ms - T0 for s in bench.store.range("d3", "rssi", T0, T0 + 99)] == [0, 1, 19]
    fire = bench.store.range("d7", "fire", T0, T0 + 99)
    assert fire == [Sample(T0 + 3, 1.0, int(Flag.ALARM)), Sample(T0 + 4, 0.0, 0)]
    state = bench.store.state()
    assert state.mode == "thinned"
    assert state.handed_rows == 2002
    assert state.stored_rows == 302
    assert state.thinned_rows == 1700
    assert state.interval_ms == 3_600_000


def test_thinning_lasts_while_there_is_too_much_and_then_ends(bench: Bench) -> None:
    many = [(d, "battery", T0, 1.0) for d in range(150)] * 2
    bench.write(many)
    bench.store.flush()
    bench.store._period_ms = 1000
    bench.write([(0, "rssi", T0 + i, float(i)) for i in range(5)])
    bench.store.flush()
    assert [s.value for s in bench.store.range("d0", "rssi", 0, 2 * T0)] == [4.0]
    bench.write([(0, "rssi", T0 + i, float(i)) for i in range(5, 9)])
    bench.store.flush()
    assert [s.value for s in bench.store.range("d0", "rssi", 0, 2 * T0)] == [
        4.0,
        5.0,
        6.0,
        7.0,
        8.0,
    ]
    assert bench.store.state().mode == "full"


def test_every_alarm_row_is_kept_while_thinning(bench: Bench) -> None:
    bench.write([(d, "battery", T0, 1.0) for d in range(250)])
    for i in range(10):
        bench.write([(5, "fire", T0 + i, 1.0)], flags=int(Flag.ALARM))
    bench.store.flush()
    assert len(bench.store.range("d5", "fire", 0, 2 * T0)) == 10


def test_rows_that_come_again_change_nothing(bench: Bench) -> None:
    rows = [(0, "fire", T0, 1.0), (0, "fire", T0, 0.0), (0, "fire", T0, 1.0)]
    for _ in range(2):
        bench.write(rows)
        bench.store.flush()
    assert [s.value for s in bench.store.range("d0", "fire", 0, 2 * T0)] == [0.0, 1.0]


def test_many_quantities_and_devices_find_their_cells(bench: Bench) -> None:
    names = list(QUANTITY_INDEX)[:40]
    bench.write([(d, "battery", T0, 0.0) for d in range(250)])
    for start in (0, 10, 20, 30):
        rows = [
            (d, names[q], T0 + 1, d * 100.0 + q) for d in (0, 299) for q in range(start, start + 10)
        ]
        bench.write(rows)
    bench.store.flush()
    for d in (0, 299):
        latest = bench.store.latest(f"d{d}")
        assert {n: latest[n].value for n in names} == {
            n: d * 100.0 + q for q, n in enumerate(names)
        }


def test_another_registry_means_other_devices(bench: Bench) -> None:
    bench.write([(0, "battery", T0, 1.0)])
    other = DeviceDirectory(Registry())
    other.intern_device("e0", "smoke", 0)
    bench.store.write(TaggedBatch.of([(0, "battery", T0, 2.0)]), other)
    bench.store.flush()
    assert bench.store.latest("d0")["battery"].value == 1.0
    assert bench.store.latest("e0")["battery"].value == 2.0


def test_days_are_files_that_expire(bench: Bench, tmp_path: Path) -> None:
    for day in range(6):
        bench.now_ms = T0 + day * DAY_MS
        bench.write([(0, "battery", T0 + day * DAY_MS, float(day))], heard_ms=bench.now_ms)
        bench.store.flush()
    first = T0 // DAY_MS
    assert days_of(tmp_path) == [first + d for d in (2, 3, 4, 5)]
    values = [s.value for s in bench.store.range("d0", "battery", 0, 2 * T0)]
    assert values == [2.0, 3.0, 4.0, 5.0]
    assert bench.store.latest("d0")["battery"].value == 5.0
    assert bench.store.sheddable() < bench.store.bytes()
    assert bench.store.shed(1) > 0
    assert bench.store.shed(10**9) > 0
    assert days_of(tmp_path) == [first + 5]
    assert bench.store.shed(10**9) == 0
    assert bench.store.state().kept_from_ms == (first + 5) * DAY_MS


def test_a_full_disk_is_counted_and_stops_nobody(bench: Bench, tmp_path: Path) -> None:
    bench.write([(0, "battery", T0, 1.0)])
    bench.store.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        bench.write([(d, "rssi", T0, 1.0) for d in range(90)])
        bench.store.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.store.state().lost_rows == 90
    bench.write([(d, "rssi", T0, 2.0) for d in range(90)])
    bench.store.flush()
    assert bench.store.latest("d80")["rssi"].value == 2.0
    assert bench.store.latest("d0")["battery"].value == 1.0


def test_lag_is_stated_until_rows_are_stored(bench: Bench) -> None:
    bench.write([(0, "battery", T0, 1.0)])
    bench.store.flush()
    bench.write([(0, "battery", T0 + 7000, 1.0)], heard_ms=T0 + 7000)
    assert bench.store.state().lag_ms == 7000
    bench.store.flush()
    assert bench.store.state().lag_ms == 0


def test_what_waits_is_stored_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write([(0, "battery", T0, 1.0)])
    bench.store.close()
    db = sqlite3.connect(path_of(tmp_path, T0 // DAY_MS))
    assert db.execute("SELECT COUNT(*) FROM readings").fetchone() == (1,)
    db.close()


def test_the_own_thread_stores_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.telemetry.store.FLUSH_MS", 5)
    bench = Bench(tmp_path)
    bench.write([(0, "battery", T0, 1.0)])
    deadline = time.monotonic() + 20
    while not bench.store.latest("d0"):
        assert time.monotonic() < deadline, bench.store.state()
        time.sleep(0.01)
    bench.store.close()
