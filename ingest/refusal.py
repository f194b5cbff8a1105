"""Refused rows and messages, as they go to the dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from contracts.batch import Flag
from contracts.rejects import Reason, Reject


@dataclass(frozen=True, slots=True)
class RowReject:
    """position: of the log record, whose topic or gateway is `source`.

    content: the row as native telemetry JSON, fit to be sent again, when `reject.row` >= 0 and
    the message as a whole was good; otherwise the whole payload.
    """

    position: int
    source: str
    reject: Reject
    content: bytes


class Problem(IntEnum):
    """What can be wrong with one row. From `WRONG_GATEWAY` on, safety signals pass all the same.

    They pass flagged: whatever is wrong with who says it or when, a life may be at stake.
    """

    NONE = 0
    BAD_ID = 1
    UNKNOWN_FAMILY = 2
    DIRECTORY_FULL = 3
    UNKNOWN_QUANTITY = 4
    WRONG_GATEWAY = 5
    WRONG_DEVICE = 6  # the topic names another device than the message
    WRONG_FAMILY = 7
    WRONG_GRID = 8
    NON_FINITE = 9
    FUTURE = 10
    IMPLAUSIBLE = 11


FIRST_SOFT = Problem.WRONG_GATEWAY

_TOLD: dict[Problem, tuple[Reason, str, str]] = {
    Problem.BAD_ID: (Reason.BAD_FIELD, "deviceId", "no device id"),
    Problem.UNKNOWN_FAMILY: (Reason.UNKNOWN_FAMILY, "family", ""),
    Problem.DIRECTORY_FULL: (Reason.UNKNOWN_DEVICE, "deviceId", "too many unregistered devices"),
    Problem.UNKNOWN_QUANTITY: (Reason.UNKNOWN_QUANTITY, "metrics", ""),
    Problem.WRONG_GATEWAY: (Reason.WRONG_GATEWAY, "gateway", "may not speak for this device"),
    Problem.WRONG_DEVICE: (Reason.BAD_FIELD, "deviceId", "the topic names another device"),
    Problem.WRONG_FAMILY: (Reason.BAD_FIELD, "family", "not the family of this device"),
    Problem.WRONG_GRID: (Reason.BAD_GRID, "topic", "not the grid of this device"),
    Problem.NON_FINITE: (Reason.NON_FINITE, "metrics", ""),
    Problem.FUTURE: (Reason.FUTURE_TIMESTAMP, "ts", ""),
    Problem.IMPLAUSIBLE: (Reason.IMPLAUSIBLE_TIMESTAMP, "ts", ""),
}

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One row as it was sent: names as on the wire, ts_ms before any repair."""

    row: int
    device: str
    family: str
    quantity: str
    ts_ms: int
    value: float
    flags: int


def refuse(position: int, source: str, problem: int, sent: RefusedRow) -> RowReject:
    reason, name, detail = _TOLD[Problem(problem)]
    told = detail or {
        Problem.UNKNOWN_FAMILY: sent.family[:80],
        Problem.UNKNOWN_QUANTITY: sent.quantity[:80],
        Problem.NON_FINITE: sent.quantity[:80],
    }.get(Problem(problem), str(sent.ts_ms))
    reject = Reject(reason=reason, field=name, detail=told, row=sent.row)
    return RowReject(position, source, reject, _native(sent))


def _native(sent: RefusedRow) -> bytes:
    # Infinity has no JSON; it goes as null, and the reject says that it wasn't finite.
    value = sent.value if abs(sent.value) < float("inf") else None
    line: dict[str, Any] = {
        "deviceId": sent.device,
        "family": sent.family,
        "ts": sent.ts_ms,
        "metrics": {sent.quantity: value},
    }
    if sent.flags & (Flag.BAD | Flag.STALE):
        line["quality"] = "bad" if sent.flags & Flag.BAD else "stale"
    for name, flag in (
        ("historical", Flag.HISTORICAL),
        ("test", Flag.TEST),
        ("alarm", Flag.ALARM),
    ):
        if sent.flags & flag:
            line[name] = True
    return _encoder.encode(line)
