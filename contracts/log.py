"""Records of the log and their binary form, the same in SQLite, in a dump and on Kafka.

The log is the truth: acceptance appends records in order and stamps each with `accepted_ms`;
everything later is a pure function of them. A bundle is one or more records written together:

    u8 kind, u8 0, u16 length of source, u32 length of payload, i64 accepted_ms, source, payload

Positions count records from 1; a bundle's position is that of its first record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from contracts.rejects import Reason, Refused

_HEAD = struct.Struct("<BBHIq")


class RecordKind(IntEnum):
    PACK = 1  # payload: a pack; source: the gateway whose topic it came on
    FOREIGN = 2  # payload: native JSON or SenML; source: the MQTT topic, or "" in a recording
    STATUS = 3  # payload: GatewayStatus JSON; source: the gateway
    MARK = 4  # time mark; no payload
    COMMAND = 5  # payload: OperatorCommand JSON
    INSTALLED = 6  # payload: Installed JSON; content is kept under its hash


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record. accepted_ms: unix ms, never falls from one record to the next."""

    kind: RecordKind
    accepted_ms: int
    source: str
    payload: bytes
    position: int = 0


def encode_bundle(records: Iterable[LogRecord]) -> bytes:
    parts: list[bytes] = []
    for record in records:
        source = record.source.encode()
        parts.append(
            _HEAD.pack(record.kind, 0, len(source), len(record.payload), record.accepted_ms)
        )
        parts.append(source)
        parts.append(record.payload)
    return b"".join(parts)


def decode_bundle(data: bytes, first_position: int) -> list[LogRecord]:
    """The records of a bundle. Raises `Refused`: a log of ours that doesn't decode is damaged."""
    records: list[LogRecord] = []
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise Refused(Reason.TRUNCATED, field="bundle", detail=f"at byte {at}")
        kind, _, source_length, length, accepted_ms = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        end = at + source_length + length
        if end > len(data):
            raise Refused(Reason.TRUNCATED, field="bundle", detail=f"at byte {at}")
        try:
            known = RecordKind(kind)
            source = data[at : at + source_length].decode()
        except ValueError as error:
            raise Refused(Reason.BAD_STRUCTURE, field="bundle", detail=str(error)[:80]) from None
        payload = data[at + source_length : end]
        records.append(
            LogRecord(known, accepted_ms, source, payload, first_position + len(records))
        )
        at = end
    return records
