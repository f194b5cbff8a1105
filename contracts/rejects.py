"""Bad input is data: what was refused, why, and where. Nothing is dropped without one of these."""

from __future__ import annotations

from enum import Enum

import msgspec


class Reason(Enum):
    """Why input was refused. The value is the label of the counter and of the dead letter."""

    TRUNCATED = "truncated"
    BAD_MAGIC = "bad_magic"
    BAD_VERSION = "bad_version"
    BAD_CHECKSUM = "bad_checksum"
    BAD_STRUCTURE = "bad_structure"
    TOO_LARGE = "too_large"
    BAD_JSON = "bad_json"
    BAD_FIELD = "bad_field"
    BAD_TOPIC = "bad_topic"
    UNKNOWN_FAMILY = "unknown_family"
    UNKNOWN_QUANTITY = "unknown_quantity"
    UNKNOWN_UNIT = "unknown_unit"
    NON_FINITE = "non_finite"
    FUTURE_TIMESTAMP = "future_timestamp"
    IMPLAUSIBLE_TIMESTAMP = "implausible_timestamp"
    WRONG_GATEWAY = "wrong_gateway"
    UNKNOWN_DEVICE = "unknown_device"
    BAD_GRID = "bad_grid"
    DUPLICATE_READING = "duplicate_reading"
    BAD_RECORDING = "bad_recording"
    STORE_REFUSED = "store_refused"
    UNDECIDABLE = "undecidable"


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal. `row` is the row inside the message, -1 for the whole message."""

    reason: Reason
    field: str = ""
    detail: str = ""
    row: int = -1


class Refused(Exception):
    """A whole message was refused; carries the `Reject`. Raised by codecs, caught by ingest."""

    def __init__(self, reason: Reason, *, field: str = "", detail: str = "") -> None:
        super().__init__(f"{reason.value}: {field} {detail}".strip())
        self.reject = Reject(reason=reason, field=field, detail=detail)
