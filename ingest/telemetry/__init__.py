"""The queryable store of readings, written behind the log: it may lag, thin out or expire, and
says so."""

from ingest.telemetry.contract import Sample, TelemetryState, TelemetryStore, Unreadable
from ingest.telemetry.store import SqliteTelemetry

__all__ = ["Sample", "SqliteTelemetry", "TelemetryState", "TelemetryStore", "Unreadable"]
