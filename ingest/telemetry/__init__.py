"""The queryable store of readings, written behind the log: it may lag, thin out or expire, and
says so."""

from ingest.telemetry.contract import (
    Sample,
    TelemetryReader,
    TelemetryState,
    TelemetryStore,
    Unreadable,
)
from ingest.telemetry.store import SqliteReader, SqliteTelemetry

__all__ = [
    "Sample",
    "SqliteReader",
    "SqliteTelemetry",
    "TelemetryReader",
    "TelemetryState",
    "TelemetryStore",
    "Unreadable",
]
