"""The log in SQLite, and its dumps."""

from ingest.log.index import Snapshot
from ingest.log.reader import LogReader, PositionShed
from ingest.log.store import SealedSegment, Shed, SqliteLog

__all__ = ["LogReader", "PositionShed", "SealedSegment", "Shed", "Snapshot", "SqliteLog"]
