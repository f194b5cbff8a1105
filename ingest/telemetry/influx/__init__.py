"""The telemetry store of many workers: InfluxDB, and what speaks its line protocol.

Needs the extra `stream`; nothing else imports it before it is asked for.
"""

from ingest.telemetry.influx.lines import Refusal
from ingest.telemetry.influx.reader import InfluxReader
from ingest.telemetry.influx.store import SPILL_BYTES, InfluxTelemetry
from ingest.telemetry.influx.wire import Address, TokenUnreadable

__all__ = [
    "SPILL_BYTES",
    "Address",
    "InfluxReader",
    "InfluxTelemetry",
    "Refusal",
    "TokenUnreadable",
]
