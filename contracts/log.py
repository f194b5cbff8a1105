"""Records of the log and their binary form, the same in SQLite, in a dump and on Kafka.

The log is the truth: acceptance appends records in order and stamps each with `accepted_ms`;
everything later is a pure function of them. A bundle is one or more records written together:

    u8 kind, u8 0, u16 length of source, u32 length of payload, i64 accepted_ms, source, payload

Positions count records from 1; a bundle's position is that of its first record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from contracts.rejects import Reason, Refused

_HEAD = struct.Struct("<BBHIq")


class RecordKind(IntEnum):
    PACK = 1  # payload: a pack; source: the gateway whose topic it came on
    FOREIGN = 2  # payload: native JSON or SenML; source: the MQTT topic, or "" in a recording
    STATUS = 3  # payload: GatewayStatus JSON; source: the gateway
    MARK = 4  # time mark; no payload
    COMMAND = 5  # payload: OperatorCommand JSON
    INSTALLED = 6  # payload: Installed JSON; content is kept under its hash


_KINDS = frozenset(RecordKind)


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


class UnknownRecord(NamedTuple):
    """A record of a kind that this version doesn't know. nth: its place in the bundle."""

    nth: int
    kind: int
    source: bytes
    payload: bytes


def decode_bundle(data: bytes, first_position: int) -> list[LogRecord]:
    """The records of a bundle. Raises `Refused`: a log of ours that doesn't decode is damaged."""
    records, unknown = decode_known(data, first_position)
    for one in unknown[:1]:
        raise Refused(Reason.BAD_STRUCTURE, field="bundle", detail=f"{one.kind} is no kind")
    return records


def decode_known(data: bytes, first_position: int) -> tuple[list[LogRecord], list[UnknownRecord]]:
    """The same for a log that others write: records of later versions stand for themselves.

    Positions count those too. Raises `Refused`.
    """
    records: list[LogRecord] = []
    unknown: list[UnknownRecord] = []
    for nth, (kind, accepted_ms, source, payload) in enumerate(_frames(data)):
        if kind not in _KINDS:
            unknown.append(UnknownRecord(nth, kind, source, payload))
            continue
        try:
            name = source.decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.BAD_STRUCTURE, field="bundle", detail=str(error)[:80]) from None
        records.append(
            LogRecord(RecordKind(kind), accepted_ms, name, payload, first_position + nth)
        )
    return records, unknown


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(kind, accepted_ms, source, payload) of each."""
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise Refused(Reason.TRUNCATED, field="bundle", detail=f"at byte {at}")
        kind, _, source_length, length, accepted_ms = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        end = at + source_length + length
        if end > len(data):
            raise Refused(Reason.TRUNCATED, field="bundle", detail=f"at byte {at}")
        yield kind, accepted_ms, data[at : at + source_length], data[at + source_length : end]
        at = end
