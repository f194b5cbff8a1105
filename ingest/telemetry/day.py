"""One day's readings in one SQLite file, so that expiry is a delete that gives the space back.

The day is that of acceptance, not of the event: event times can claim anything.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITIES
from ingest.storage import StoreError, faults, open_reader, open_store, transaction
from ingest.telemetry.buffer import Rows
from ingest.telemetry.contract import Sample

VERSION = 1
DAY_MS = 86_400_000
ROWS_A_STATEMENT = 2_000
"""Many rows a statement: the interpreter lock is let go once a statement, and a thread that asks
for it back once a row hardly gets anywhere beside a busy one. Four values a row must stay below
SQLite's limit of 32 766."""
NO_VALUE = 1 << 16
"""Added to the flags of a row without a value: a column of a key can't be NULL."""

_SCHEMA = """
CREATE TABLE series(
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, quantity TEXT NOT NULL,
    UNIQUE(device, quantity));
CREATE TABLE readings(
    series INTEGER NOT NULL, ts_ms INTEGER NOT NULL, flags INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY(series, ts_ms, flags, value)) WITHOUT ROWID
"""
_NAME = re.compile(r"telemetry-(\d{8})\.db")


def path_of(folder: Path, day: int) -> Path:
    """day: days since 1970, UTC."""
    return folder / f"telemetry-{datetime.fromtimestamp(day * 86_400, UTC):%Y%m%d}.db"


def days_of(folder: Path) -> list[int]:
    """Days that have a file, in order."""
    names = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    dates = (datetime.strptime(name[1] + "+0000", "%Y%m%d%z") for name in names if name)
    return sorted(int(date.timestamp()) // 86_400 for date in dates)


class Day:
    """The file of the day that is written to. One thread."""

    def __init__(self, folder: Path, day: int) -> None:
        self.day = day
        self.path = path_of(folder, day)
        # A power cut may take the last moments: this store is only ever a copy of the log.
        self._db = open_store(
            self.path, schema=_SCHEMA, version=VERSION, page_bytes=8192, synchronous="NORMAL"
        )
        self._directory: DeviceDirectory | None = None
        self._series: dict[int, int] = {}

    def write(self, rows: Rows, directory: DeviceDirectory) -> None:
        """Rows that are there already are left as they are."""
        if directory is not self._directory:
            self._directory, self._series = directory, {}
        key = rows.device.astype(np.int64) << 16 | rows.quantity
        empty = np.isnan(rows.value)
        flags = rows.flags.astype(np.int64) | np.where(empty, NO_VALUE, 0)
        try:
            with transaction(self._db, self.path):
                self._insert(key, directory, rows.ts_ms, flags, np.where(empty, 0.0, rows.value))
        except StoreError:
            # Series that were added in this transaction are gone with it.
            self._series = {}
            raise

    def _insert(
        self,
        key: NDArray[np.int64],
        directory: DeviceDirectory,
        ts_ms: NDArray[np.int64],
        flags: NDArray[np.int64],
        value: NDArray[np.float64],
    ) -> None:
        series = self._series_of(key, directory)
        order = np.lexsort((ts_ms, series))
        columns = [column[order].tolist() for column in (series, ts_ms, flags, value)]
        for at in range(0, len(key), ROWS_A_STATEMENT):
            part = [column[at : at + ROWS_A_STATEMENT] for column in columns]
            flat = [number for row in zip(*part, strict=True) for number in row]
            marks = ",".join(["(?,?,?,?)"] * len(part[0]))
            self._db.execute(f"INSERT OR IGNORE INTO readings VALUES{marks}", flat)

    def _series_of(self, key: NDArray[np.int64], directory: DeviceDirectory) -> NDArray[np.int64]:
        unique, inverse = np.unique(key, return_inverse=True)
        ids = [self._series.get(one) or self._intern(one, directory) for one in unique.tolist()]
        return np.array(ids, np.int64)[inverse]

    def _intern(self, key: int, directory: DeviceDirectory) -> int:
        names = directory.ids[key >> 16], QUANTITIES[key & 0xFFFF].name
        self._db.execute("INSERT OR IGNORE INTO series(device, quantity) VALUES(?,?)", names)
        found = self._db.execute("SELECT id FROM series WHERE device=? AND quantity=?", names)
        self._series[key] = int(found.fetchone()[0])
        return self._series[key]

    def close(self) -> None:
        with faults(self.path):
            self._db.close()


def read_range(
    folder: Path, day: int, device: str, quantity: str, span: tuple[int, int], limit: int
) -> list[Sample]:
    """Samples of one day's file with from_ms <= ts < to_ms, in time order."""
    db = open_reader(path_of(folder, day), VERSION)
    if db is None:
        return []
    try:
        with faults(path_of(folder, day)):
            rows = db.execute(
                "SELECT ts_ms, value, readings.flags FROM readings JOIN series ON id = series "
                "WHERE device=? AND quantity=? AND ts_ms >= ? AND ts_ms < ? "
                "ORDER BY ts_ms LIMIT ?",
                (device, quantity, *span, limit),
            ).fetchall()
    finally:
        db.close()
    return [_sample(*row) for row in rows]


def read_history(
    folder: Path, day: int, device: str, span: tuple[int, int]
) -> list[tuple[str, Sample]]:
    """(quantity, sample) of one day's file with from_ms <= ts < to_ms, in time order."""
    db = open_reader(path_of(folder, day), VERSION)
    if db is None:
        return []
    try:
        with faults(path_of(folder, day)):
            rows = db.execute(
                "SELECT quantity, ts_ms, value, readings.flags FROM readings "
                "JOIN series ON id = series WHERE device=? AND ts_ms >= ? AND ts_ms < ? "
                "ORDER BY ts_ms",
                (device, *span),
            ).fetchall()
    finally:
        db.close()
    return [(quantity, _sample(*rest)) for quantity, *rest in rows]


def read_latest(folder: Path, day: int, device: str) -> dict[str, Sample]:
    """Quantity -> newest sample of one day's file."""
    db = open_reader(path_of(folder, day), VERSION)
    if db is None:
        return {}
    try:
        with faults(path_of(folder, day)):
            names = db.execute("SELECT quantity, id FROM series WHERE device=?", (device,))
            found = {
                quantity: db.execute(
                    "SELECT ts_ms, value, flags FROM readings WHERE series=? "
                    "ORDER BY ts_ms DESC LIMIT 1",
                    (series,),
                ).fetchone()
                for quantity, series in names.fetchall()
            }
    finally:
        db.close()
    return {quantity: _sample(*row) for quantity, row in found.items() if row}


def _sample(ts_ms: int, value: float, flags: int) -> Sample:
    return Sample(ts_ms, None if flags & NO_VALUE else value, flags & (NO_VALUE - 1))
