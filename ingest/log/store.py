"""The log in SQLite: group commits into segments, one sync each.

The log is the truth and holds no second copy of anything derived from it: the gap ledger is
rebuilt from it, so that one transaction of one file is all that a commit needs.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.log import LogRecord
from ingest.log.index import Index, Snapshot
from ingest.log.reader import READ_BYTES, LogReader
from ingest.log.segment import Segment, SegmentReader, first_positions, path_of
from ingest.storage import StoreDamaged, StoreError, bytes_of, make_folder, remove, take_lock

SEGMENT_BYTES = 256 << 20
SEGMENT_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment that is no longer written to. last_accepted_ms: of its last record."""

    first_position: int
    last_position: int
    last_accepted_ms: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Shed:
    """What a call of `shed` removed."""

    segments: int = 0
    bytes: int = 0


class SqliteLog:
    """The log of one process. Any thread may call; commits happen one at a time, in order."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_ms: int = SEGMENT_MS,
    ) -> None:
        """Open or make. Raises `StoreBusy`, `StoreTooNew`, `StoreFull`, `StoreDamaged`."""
        make_folder(folder)
        self.folder = folder
        self._segment_bytes, self._segment_ms = segment_bytes, segment_ms
        self._write = threading.Lock()
        self._sealed: dict[int, SealedSegment] = {}
        self._lock_file = take_lock(folder / "lock")
        try:
            self._index = Index(folder)
            self._reader = LogReader(folder, self._index)
            self._firsts = first_positions(folder)
            _remove_orphans(folder)
            self._active = self._open_last()
            self._floor_ms = self._last_accepted_ms()
            positions = self._index.snapshot_positions()
            if positions and positions[0] > self._active.last_position:
                raise StoreDamaged(
                    folder,
                    f"a snapshot is at position {positions[0]}, but the log ends at "
                    f"{self._active.last_position}: segments are missing",
                )
        except BaseException:
            os.close(self._lock_file)
            raise

    def _open_last(self) -> Segment:
        if not self._firsts:
            self._firsts.append(1)
        active = Segment(self.folder, self._firsts[-1])
        if len(self._firsts) > 1:
            before = SegmentReader(self.folder, self._firsts[-2])
            try:
                ends = before.ends()
            finally:
                before.close()
            if ends is None or ends[0] != active.first_position - 1:
                active.close()
                raise StoreDamaged(before.path, "does not lead up to the segment after it")
        return active

    def _last_accepted_ms(self) -> int:
        if self._active.last_accepted_ms is not None:
            return self._active.last_accepted_ms
        sealed = self.sealed()
        return sealed[-1].last_accepted_ms if sealed else 0

    @property
    def first_position(self) -> int:
        return self._firsts[0]

    @property
    def last_position(self) -> int:
        """0 for an empty log."""
        return self._active.last_position

    @property
    def last_accepted_ms(self) -> int:
        """No record will be accepted before this; 0 for an empty log."""
        return self._floor_ms

    def append(self, records: Sequence[LogRecord]) -> int:
        """Commit; returns the position of the first record. See `commit`."""
        return self.commit(records)[0].position

    def commit(self, records: Sequence[LogRecord]) -> list[LogRecord]:
        """Write records as one group; they survive any crash once this returns.

        Returns them with their positions, and with accepted_ms raised where it would fall.
        Raises `StoreFull` or `StoreFailed`: then none of them counts as written.
        """
        if not records:
            return []
        with self._write:
            stamped = self._stamped(records)
            self._roll(stamped[0].accepted_ms)
            self._active.append(stamped)
            self._floor_ms = stamped[-1].accepted_ms
            return stamped

    def _stamped(self, records: Sequence[LogRecord]) -> list[LogRecord]:
        position, floor = self._active.last_position, self._floor_ms
        stamped = []
        for record in records:
            position += 1
            floor = max(floor, record.accepted_ms)
            stamped.append(LogRecord(record.kind, floor, record.source, record.payload, position))
        return stamped

    def _roll(self, now_ms: int) -> None:
        """Begin a new segment when the active one is big or old enough."""
        active = self._active
        if active.first_accepted_ms is None:
            return
        aged = now_ms - active.first_accepted_ms >= self._segment_ms
        if active.bytes < self._segment_bytes and not aged:
            return
        try:
            fresh = Segment(self.folder, active.last_position + 1)
        except StoreError:
            # A half-made file would be taken for the active segment at the next start.
            remove(path_of(self.folder, active.last_position + 1))
            raise
        self._firsts.append(fresh.first_position)
        self._active = fresh
        active.close()

    def read(self, from_position: int, limit_bytes: int = READ_BYTES) -> Iterator[list[LogRecord]]:
        """As `LogReader.read`; may run in another thread than the one that writes."""
        return self._reader.read(from_position, limit_bytes)

    def installed_before(self, position: int) -> list[LogRecord]:
        return self._reader.installed_before(position)

    def put_content(self, content_hash: str, data: bytes) -> None:
        self._index.put_content(content_hash, data)

    def get_content(self, content_hash: str) -> bytes:
        return self._index.get_content(content_hash)

    def save_snapshot(self, position: int, chunks: Mapping[str, bytes]) -> None:
        """Only after every output up to `position` is safe. The last two are kept."""
        if position > self.last_position:
            raise ValueError(f"snapshot at {position}, but the log ends at {self.last_position}")
        self._index.save_snapshot(position, chunks)

    def load_snapshot(self) -> Snapshot | None:
        return self._reader.load_snapshot()

    def sealed(self) -> list[SealedSegment]:
        """All segments but the active one, oldest first."""
        return [self._seal(a, b) for a, b in itertools.pairwise(list(self._firsts))]

    def _seal(self, first: int, following: int) -> SealedSegment:
        known = self._sealed.get(first)
        if known is not None:
            return known
        segment = SegmentReader(self.folder, first)
        try:
            ends = segment.ends()
        finally:
            segment.close()
        if ends is None:
            raise StoreDamaged(segment.path, "is empty, but a segment follows")
        sealed = SealedSegment(first, following - 1, ends[1], bytes_of(segment.path))
        self._sealed[first] = sealed
        return sealed

    def sheddable(self, before_position: int) -> tuple[tuple[int, int], ...]:
        """(bytes, accepted_ms of the last record) of what `shed` could delete, oldest first."""
        return tuple(
            (segment.bytes, segment.last_accepted_ms)
            for segment in self.sealed()
            if segment.last_position < before_position
        )

    @property
    def needed_from(self) -> int:
        """The first position that a restart reads: behind the older of the two snapshots.

        1 while there is none. The newer one may turn out to be damaged.
        """
        positions = self._index.snapshot_positions()
        return positions[-1] + 1 if positions else 1

    def bytes(self) -> int:
        """Bytes on disk, all files of the log."""
        segments = sum(bytes_of(path_of(self.folder, first)) for first in self._firsts)
        return segments + self._index.bytes()

    def shed(self, before_position: int, limit_bytes: int | None = None) -> Shed:
        """Delete sealed segments that lie wholly before a position, oldest first.

        Stops when `limit_bytes` have come free. The caller passes a position that neither the
        last snapshot nor the ledger needs any more. Control records are kept.
        """
        segments = freed = 0
        with self._write:
            while len(self._firsts) > 1 and self._firsts[1] <= before_position:
                if limit_bytes is not None and freed >= limit_bytes:
                    break
                reader = SegmentReader(self.folder, self._firsts[0])
                try:
                    controls = reader.installed()
                finally:
                    reader.close()
                if controls:
                    self._index.keep_installed(controls)
                freed += remove(reader.path)
                segments += 1
                self._sealed.pop(self._firsts[0], None)
                del self._firsts[0]
        return Shed(segments, freed)

    def close(self) -> None:
        with self._write:
            self._active.close()
            self._index.close()
            os.close(self._lock_file)


def _remove_orphans(folder: Path) -> None:
    """A crash between the deletes of `shed` leaves a WAL without its database."""
    for file in folder.glob("log-*.db-*"):
        if not file.with_name(file.name.rpartition("-")[0]).exists():
            file.unlink(missing_ok=True)
