"""The telemetry store in SQLite, written by a thread of its own.

SQLite takes 70 000 to 90 000 rows a second with a whole core; the store stays far below that
and thins what is more, because the pack log is the history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from ingest.storage import StoreError, bytes_of, make_folder, remove
from ingest.telemetry.buffer import Buffer, Drained
from ingest.telemetry.contract import Sample, TelemetryState
from ingest.telemetry.day import (
    DAY_MS,
    Day,
    days_of,
    path_of,
    read_history,
    read_latest,
    read_range,
)

INTERVAL_MS = 10_000
FLUSH_MS = 1_000
MAX_ROWS_PER_S = 20_000
KEEP_DAYS = 30
MAX_SAMPLES = 100_000


class SqliteReader:
    """Reads a folder with one file a day, also while another process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def range(self, device: str, quantity: str, from_ms: int, to_ms: int) -> list[Sample]:
        """Samples with from_ms <= ts < to_ms in time order, at most `MAX_SAMPLES`."""
        found: list[Sample] = []
        for day in self._days(from_ms):
            span = (from_ms, to_ms)
            found += read_range(self.folder, day, device, quantity, span, MAX_SAMPLES)
        # The same row can be in two days' files: heard again on the next day.
        return sorted(set(found), key=_by_time)[:MAX_SAMPLES]

    def latest(self, device: str) -> dict[str, Sample]:
        """Quantity -> newest stored sample."""
        found: dict[str, Sample] = {}
        for day in self._days(None):
            for quantity, sample in read_latest(self.folder, day, device).items():
                known = found.get(quantity)
                if known is None or sample.ts_ms >= known.ts_ms:
                    found[quantity] = sample
        return found

    def history(self, device: str, from_ms: int, to_ms: int) -> list[tuple[str, Sample]]:
        """(quantity, sample) of a device with from_ms <= ts < to_ms, in time order."""
        found = {
            one
            for day in self._days(from_ms)
            for one in read_history(self.folder, day, device, (from_ms, to_ms))
        }
        return sorted(found, key=lambda one: (_by_time(one[1]), one[0]))

    def close(self) -> None:
        """Nothing is kept open."""

    def _days(self, from_ms: int | None) -> list[int]:
        """Days whose files may hold something of that time or later."""
        if not self.folder.is_dir():
            return []
        # Nothing is stored before it happened, but for clocks that are ahead by some hours.
        days = days_of(self.folder)
        return [day for day in days if from_ms is None or (day + 2) * DAY_MS > from_ms]


class SqliteTelemetry(SqliteReader):
    """Writes the folder too. `write` is for one thread; the rest may be called by any."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], int],
        interval_ms: int = INTERVAL_MS,
        max_rows_per_s: int = MAX_ROWS_PER_S,
        keep_days: int = KEEP_DAYS,
    ) -> None:
        """clock: unix ms. interval_ms: thinned rows are the last of a series in so long.

        max_rows_per_s: more than this is thinned.
        """
        make_folder(folder)
        super().__init__(folder)
        self._clock = clock
        self._interval_ms = interval_ms
        self._period_ms = FLUSH_MS
        self._max_rows_per_s = max_rows_per_s
        self._keep_days = keep_days
        self._lock = threading.Lock()
        self._buffer = Buffer(2 * max_rows_per_s)
        self._directory: DeviceDirectory | None = None
        self._pending: list[tuple[Drained, DeviceDirectory]] = []
        self._day: Day | None = None
        self._flushing = threading.Lock()
        self._handed = self._stored = self._thinned = self._lost = 0
        self._heard_ms = self._stored_ms = 0
        self._mode_thinned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def write(self, batch: TaggedBatch, directory: DeviceDirectory) -> None:
        """Hand rows over; they are stored within the interval, thinned where they are too many."""
        if not len(batch):
            return
        with self._lock:
            if directory is not self._directory:
                self._change_directory(directory)
            self._buffer.put(batch, directory.family)
            self._handed += len(batch)
            self._heard_ms = self._buffer.heard_ms

    def _change_directory(self, directory: DeviceDirectory) -> None:
        """Rows of the old directory mean other devices: what waits goes first."""
        if self._directory is not None:
            drained = self._buffer.drain(self._directory.family, thin_next=False)
            self._pending.append((drained, self._directory))
        self._directory = directory
        self._buffer = Buffer(2 * self._max_rows_per_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._period_ms / 1000):
            self.flush()

    def flush(self) -> None:
        """Store all that waits now."""
        with self._flushing:
            with self._lock:
                work, self._pending = self._pending, []
                if self._directory is not None:
                    allowed = self._max_rows_per_s * self._period_ms // 1000
                    self._mode_thinned = self._buffer.thinning
                    over = self._buffer.put_rows > allowed
                    drained = self._buffer.drain(self._directory.family, thin_next=over)
                    work.append((drained, self._directory))
            written = sum(self._store(drained, directory) for drained, directory in work)
            self._period_ms = self._next_period_ms(written)

    def _next_period_ms(self, written: int) -> int:
        """Thinning has its interval, longer where even that gives more rows than are allowed."""
        if not self._buffer.thinning:
            return FLUSH_MS
        return max(self._interval_ms, written * 1000 // self._max_rows_per_s)

    def _store(self, drained: Drained, directory: DeviceDirectory) -> int:
        rows = sum(len(part.ts_ms) for part in drained.parts)
        self._thinned += drained.thinned
        try:
            if rows:
                day = self._day_of(drained.heard_ms)
                for part in drained.parts:
                    day.write(part, directory)
            self._stored += rows
        except StoreError:
            # This store may miss rows and says so; acceptance and rules go on.
            self._lost += rows
        self._stored_ms = max(self._stored_ms, drained.heard_ms)
        return rows

    def _day_of(self, heard_ms: int) -> Day:
        day = heard_ms // DAY_MS
        if self._day is None or self._day.day != day:
            if self._day is not None:
                self._day.close()
                self._day = None
            self._day = Day(self.folder, day)
            self.expire(self._clock())
        return self._day

    def state(self) -> TelemetryState:
        days = days_of(self.folder)
        thinned = self._mode_thinned or self._buffer.thinning
        return TelemetryState(
            mode="thinned" if thinned else "full",
            interval_ms=self._period_ms,
            lag_ms=max(0, self._heard_ms - self._stored_ms) if self._stored_ms else 0,
            kept_from_ms=days[0] * DAY_MS if days else None,
            handed_rows=self._handed,
            stored_rows=self._stored,
            thinned_rows=self._thinned,
            lost_rows=self._lost,
        )

    def expire(self, now_ms: int) -> int:
        """Delete the files of days beyond the kept ones; returns the bytes that came free."""
        oldest = now_ms // DAY_MS - self._keep_days
        return sum(remove(path_of(self.folder, d)) for d in self._closed_days() if d < oldest)

    def shed(self, wanted_bytes: int) -> int:
        """Delete whole days, oldest first, never the one being written; returns the bytes."""
        freed = 0
        for day in self._closed_days():
            if freed >= wanted_bytes:
                break
            freed += remove(path_of(self.folder, day))
        return freed

    def _closed_days(self) -> list[int]:
        current = None if self._day is None else self._day.day
        return [day for day in days_of(self.folder) if day != current]

    def sheddable(self) -> int:
        """Bytes on disk of all days but the one being written."""
        return sum(bytes_of(path_of(self.folder, day)) for day in self._closed_days())

    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(bytes_of(path_of(self.folder, day)) for day in days_of(self.folder))

    def close(self) -> None:
        """Store what waits and end."""
        self._stopping.set()
        self._thread.join()
        self.flush()
        if self._day is not None:
            self._day.close()


def _by_time(sample: Sample) -> tuple[int, int, float]:
    return sample.ts_ms, sample.flags, 0.0 if sample.value is None else sample.value
