"""Alert events as CloudEvents 1.0, in structured JSON.

`id` = base32 of a hash of (rule, device, onset, lane) + "-" + revision, so the same log gives
the same ids, and none holds a "." (Standard Webhooks sign `id.timestamp.body`). The grid code
is text: 15 digits overflow the 32-bit Integer of CloudEvents.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Phase = Literal["raised", "updated", "cleared"]

SEVERITY: dict[int, tuple[int, str, str]] = {
    1: (21, "FATAL", "Ⅰ"),
    2: (17, "ERROR", "Ⅱ"),
    3: (13, "WARN", "Ⅲ"),
    4: (9, "INFO", "Ⅳ"),
}
"""Level -> (OpenTelemetry severity number, its text, the Roman level)."""


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One CloudEvent. Times are RFC 3339 in UTC with milliseconds."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    gridcode: str
    partitionkey: str
    sequence: str
    severitynumber: int
    severitytext: str
    correlationid: str
    data: dict[str, Any]
    causationid: str = ""
    recordedtime: str = ""
    traceparent: str = ""
    expirytime: str = ""
    dataref: str = ""


def is_for_receivers(event: AlertEvent) -> bool:
    """Whether the event is to be delivered; others are recorded only, and `data.delivery` says
    why. Events of before there was a choice are.

    A replay and a live run ask this alike: what is delivered is decided where the event is made.
    """
    delivery = event.data.get("delivery")
    return delivery is None or delivery["state"] == "deliver"


NOT_COMPARED = ("recordedtime", "traceparent")
"""The attributes that comparisons of two runs leave out."""


def alert_id(rule: str, device: str, onset_ms: int, lane: int) -> str:
    """The episode's id: 26 characters of base32, the same for the same episode for ever."""
    digest = hashlib.sha256(f"{rule}\0{device}\0{onset_ms}\0{lane}".encode()).digest()
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def timestamp(ms: int) -> str:
    """RFC 3339 with milliseconds, UTC. Defined for the years 1 to 9999."""
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at.year:04d}-{at:%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


_encoder = msgspec.json.Encoder(order="deterministic")


def encode_event(event: AlertEvent) -> bytes:
    """The exact bytes that are signed, sent, stored and compared: fields in their order, the
    keys of mappings sorted, no white space."""
    return _encoder.encode(event)
