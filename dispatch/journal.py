"""What the delivering copy of dispatch tells the others, so that one of them can take over. Pure.

Alert events reach every copy by themselves. What only the delivering one knows are marks: what a
receiver has got, which reminders went out, which receivers are switched off. They are hints: a
mark that is lost costs a repeat under the same id, never a delivery.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.alerts import AlertEvent


class Over(msgspec.Struct, frozen=True, kw_only=True, tag="over"):
    """One delivery is over. event: the id that was sent. status: the receiver's answer."""

    receiver: str
    event: str
    state: Literal["done", "exhausted"]
    at_ms: int
    status: int | None = None


class Switched(msgspec.Struct, frozen=True, kw_only=True, tag="switched"):
    """A receiver gets nothing more (`disabled` says why), or again ("")."""

    receiver: str
    disabled: str
    at_ms: int


class Added(msgspec.Struct, frozen=True, kw_only=True, tag="added"):
    """A receiver is delivered to from now on: what was over by then isn't for it."""

    receiver: str
    at_ms: int


class Reminded(msgspec.Struct, frozen=True, kw_only=True, tag="reminded"):
    """A reminder went out: its event as it was recorded, and its number."""

    event: AlertEvent
    number: int
    at_ms: int


Mark = Over | Switched | Added | Reminded


class BadMark(Exception):
    """Bytes that are no mark of this version."""


_decoder = msgspec.json.Decoder(Mark)
_encoder = msgspec.json.Encoder(order="deterministic")


def encode(mark: Mark) -> bytes:
    return _encoder.encode(mark)


def decode(data: bytes) -> Mark:
    """Raises `BadMark`."""
    try:
        mark: Mark = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMark(str(error)[:200]) from None
    return mark


def key(mark: Mark) -> bytes:
    """What a later mark of the same key makes out of date."""
    if isinstance(mark, Over):
        return f"over/{mark.receiver}/{mark.event}".encode()
    if isinstance(mark, Switched):
        return f"switched/{mark.receiver}".encode()
    if isinstance(mark, Added):
        return f"added/{mark.receiver}".encode()
    return f"reminded/{mark.event.id}".encode()
