"""Reading a log's folder, also while another process or thread writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contracts.log import LogRecord
from ingest.log.index import Index, Snapshot
from ingest.log.segment import SegmentReader, first_positions
from ingest.storage import StoreDamaged, StoreError

READ_BYTES = 8 << 20


class PositionShed(StoreError):
    """Records that were asked for are history that was shed. `first` is the first one held."""

    def __init__(self, path: Path, position: int, first: int) -> None:
        super().__init__(path, f"position {position} was shed; the log begins at {first}")
        self.position, self.first = position, first


class LogReader:
    """A log's folder, read-only. Each `read` has its own connections, so threads may share this."""

    def __init__(self, folder: Path, index: Index | None = None) -> None:
        """Raises `StoreDamaged` where there is no log, `StoreTooNew` for one of a newer version."""
        if not folder.is_dir():
            raise StoreDamaged(folder, "no log here; is this the data folder?")
        self.folder = folder
        self.index = index or Index(folder, read_only=True)

    @property
    def first_position(self) -> int:
        """The first position held; 1 for an empty log."""
        return next(iter(first_positions(self.folder)), 1)

    @property
    def last_position(self) -> int:
        """0 for an empty log."""
        firsts = first_positions(self.folder)
        if not firsts:
            return 0
        segment = SegmentReader(self.folder, firsts[-1])
        try:
            ends = segment.ends()
        finally:
            segment.close()
        return firsts[-1] - 1 if ends is None else ends[0]

    def read(self, from_position: int, limit_bytes: int = READ_BYTES) -> Iterator[list[LogRecord]]:
        """Lists of records in order, of about `limit_bytes` each, up to the end of the log.

        Raises `PositionShed`, `StoreDamaged`.
        """
        at = max(1, from_position)
        while True:
            firsts = first_positions(self.folder)
            if firsts and at < firsts[0]:
                raise PositionShed(self.folder, at, firsts[0])
            holding = [first for first in firsts if first <= at]
            if not holding:
                return
            before = at
            for records in self._read_segment(holding[-1], at, limit_bytes):
                yield records
                at = records[-1].position + 1
            # Nothing more here, and no later segment begins where this one ends: the end.
            if at == before or at not in first_positions(self.folder):
                return

    def _read_segment(self, first: int, at: int, limit_bytes: int) -> Iterator[list[LogRecord]]:
        segment = SegmentReader(self.folder, first)
        try:
            while records := segment.read(at, limit_bytes):
                if records[0].position != at:
                    raise StoreDamaged(segment.path, f"position {at} is missing")
                yield records
                at = records[-1].position + 1
        finally:
            segment.close()

    def installed_before(self, position: int) -> list[LogRecord]:
        """Control records below a position, those of shed segments among them."""
        found = {record.position: record for record in self.index.installed()}
        for first in first_positions(self.folder):
            if first >= position:
                break
            segment = SegmentReader(self.folder, first)
            try:
                found.update((record.position, record) for record in segment.installed())
            finally:
                segment.close()
        return [found[at] for at in sorted(found) if at < position]

    def get_content(self, content_hash: str) -> bytes:
        return self.index.get_content(content_hash)

    def load_snapshot(self) -> Snapshot | None:
        """The newest snapshot that is whole. Raises `StoreDamaged` where none of them is."""
        positions = self.index.snapshot_positions()
        for position in positions[:-1]:
            try:
                return self.index.load_snapshot(position)
            except StoreDamaged:
                # The one before it is as good: only more of the log must be read again.
                continue
        return self.index.load_snapshot(positions[-1]) if positions else None

    def close(self) -> None:
        self.index.close()
