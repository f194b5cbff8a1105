"""Rows, places and stores for the tests of the InfluxDB store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX, QUANTITY_INDEX
from contracts.registry import DeviceTable, Grid, Registry
from ingest.telemetry.buffer import Rows
from ingest.telemetry.influx import Address, InfluxTelemetry, Refusal
from tests.ingest.packs import T0

GRID = "340111002015001"
WAIT_S = 60.0


def rows(listed: Sequence[tuple[int, str, int, float, int]]) -> Rows:
    """From (device row, quantity, ts_ms, value, flags)."""
    columns = list(zip(*listed, strict=True)) or [()] * 5
    return Rows(
        np.array(columns[0], np.int32),
        np.array([QUANTITY_INDEX[q] for q in columns[1]], np.int16),
        np.array(columns[2], np.int64),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.uint16),
    )


def town(devices: int = 4, **grid: int | bool) -> DeviceDirectory:
    """Registered devices d0..., the even ones in the one grid, all of gateway g1."""
    table = DeviceTable(
        ids=tuple(f"d{i}" for i in range(devices)),
        family=np.full(devices, FAMILY_INDEX["firewater"], np.int8),
        gateways=("g1",),
        gateway=np.zeros(devices, np.int32),
        grid=np.where(np.arange(devices) % 2 == 0, 0, -1).astype(np.int32),
        lon=np.full(devices, np.nan),
        lat=np.full(devices, np.nan),
    )
    place = Grid(code=GRID, name="x", kind="residential", **grid)  # type: ignore[arg-type]
    return DeviceDirectory(Registry(grids=(place,), devices=table))


class Letters:
    """Takes what is refused."""

    def __init__(self) -> None:
        self.refused: list[Refusal] = []
        self.heard_ms = 0

    def __call__(self, refused: Sequence[Refusal], heard_ms: int) -> None:
        self.refused += refused
        self.heard_ms = heard_ms


@contextmanager
def opened(
    folder: Path, url: str, letters: Letters | None = None, *, version: int = 2, **named: object
) -> Iterator[InfluxTelemetry]:
    """A store that tries again at once."""
    settings = {name: value for name, value in named.items() if name in ("spill_bytes", "settle_s")}
    place = {name: value for name, value in named.items() if name not in settings}
    store = InfluxTelemetry(
        folder,
        Address(url, "gridwarden", version=version, **place),  # type: ignore[arg-type]
        refused=letters or Letters(),
        jitter=lambda: 0.0,
        **settings,  # type: ignore[arg-type]
    )
    try:
        yield store
    finally:
        store.close()


def batch(first: int, count: int, *, devices: int = 4, heard_ms: int = T0) -> TaggedBatch:
    """Rows of distinct times; the value of a row is its number."""
    listed = [
        (i % devices, "static_pressure", T0 + i, float(i)) for i in range(first, first + count)
    ]
    return TaggedBatch.of(listed, heard_ms=heard_ms)


def until(what: Callable[[], bool], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
