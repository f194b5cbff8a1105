"""What stands in the records of the topics other than `log`. Pure.

Messages are changed by addition only; new fields have defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from app.stream.topics import PIECE_BYTES

MAX_PIECES = 4_096
KEPT_BYTES = 1 << 20
"""Of a refused message as much is kept; its whole length is said beside it."""


SIGNALS = "signals"
"""The `field` of letters about `tracks` and `homes`: their offset is one of those."""


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `assignments`: the partition of `log` that a gateway's or grid's records go to."""

    partition: Annotated[int, msgspec.Meta(ge=0)]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Also a value of `assignments`, under `published/{what}/{partition}`: what publishing has put
    into force in a partition last, so that it needn't be put there again.

    at_ms: Kafka's time of its record in `log`, offset: where that lies, -1 = not known.
    activate_ms: as in `contracts.messages.Installed`. Partition -1 is a plan for all, see
    `app.stream.publication`.
    """

    hash: str
    at_ms: int
    activate_ms: int | None = None
    offset: int = -1


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `asks`: a command for a gateway, which a bridge publishes over MQTT.

    at_ms: the partition's time, which Kafka's clock bounds; 0 = not told.
    """

    topic: str
    payload: msgspec.Raw
    at_ms: int = 0


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `pulses`: a partition of `log` is decided up to `offset`, accepted at `heard_ms`.

    position: in the partition's log of records. rules, registry, settings: hashes of those in
    force. coming: of rules that are taking over. refused, why: of rules that were refused last
    ("" with a reason: they don't compile). stands: why it doesn't go on. needs: hashes of all
    contents that may not be forgotten, None = not known.
    """

    partition: Annotated[int, msgspec.Meta(ge=0)]
    offset: int
    position: int
    heard_ms: int
    rules: str = ""
    registry: str = ""
    settings: str = ""
    coming: str = ""
    refused: str = ""
    why: str = ""
    stands: str = ""
    needs: tuple[str, ...] | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of `letters`: what was refused, by whom and why.

    by: `bridge` or `worker`. at_ms: when, unix ms. source: the MQTT topic, gateway or device.
    reason, field, detail: as in `contracts.rejects`. row: of the message, -1 = all of it.
    partition, offset: of the record in `log`, or in the topic `source` where field is `signals`;
    -1 = it never entered the log. nth: which one of the
    bundle at that offset, -1 = all of it. payload: the bytes, cut at `KEPT_BYTES`; size: how many
    there were.
    """

    by: str
    at_ms: int
    source: str
    reason: str
    field: str = ""
    detail: str = ""
    row: int = -1
    partition: int = -1
    offset: int = -1
    nth: int = -1
    size: int = 0
    payload: bytes = b""


class BadRecord(Exception):
    """A record that can't be what its topic holds; the text says what is wrong."""


_assigned = msgspec.json.Decoder(Assigned)
_published = msgspec.json.Decoder(Published)
_ask = msgspec.json.Decoder(Ask)
_pulse = msgspec.json.Decoder(Pulse)
_letter = msgspec.json.Decoder(DeadLetter)
encode = msgspec.json.Encoder().encode


def gateway_key(gateway: str) -> bytes:
    return f"gateway/{gateway}".encode()


def grid_key(grid: str) -> bytes:
    return f"grid/{grid}".encode()


PUBLISHED = b"published/"


def published_key(what: str, partition: int) -> bytes:
    return f"published/{what}/{partition}".encode()


def decode_published(value: bytes) -> Published:
    """Raises `BadRecord`."""
    try:
        return _published.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None


def decode_assigned(value: bytes) -> int:
    """The partition. Raises `BadRecord`."""
    try:
        return _assigned.decode(value).partition
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None


def decode_ask(value: bytes) -> Ask:
    """Raises `BadRecord`."""
    try:
        return _ask.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None


def decode_pulse(value: bytes) -> Pulse:
    """Raises `BadRecord`."""
    try:
        return _pulse.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None


def decode_letter(value: bytes) -> DeadLetter:
    """Raises `BadRecord`."""
    try:
        return _letter.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None


def pieces(name: str, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of the records of `content` that hold a content. name: its hash."""
    count = max(1, -(-len(content) // PIECE_BYTES))
    for i in range(count):
        yield f"{name}/{i}/{count}".encode(), content[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]


class Assembler:
    """Puts pieces together, in any order, repeated or not."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], dict[int, bytes]] = {}

    def add(self, key: bytes, value: bytes) -> tuple[str, bytes] | None:
        """(hash, content) when this piece made it whole. Raises `BadRecord`.

        The hash isn't looked at here: `app.content.content_hash` does.
        """
        name, index, count = piece_of(key)
        parts = self._parts.setdefault((name, count), {})
        parts[index] = value
        if len(parts) < count:
            return None
        del self._parts[name, count]
        return name, b"".join([parts[i] for i in range(count)])


def piece_of(key: bytes) -> tuple[str, int, int]:
    """(hash, number, count) of a key of `content`. Raises `BadRecord`."""
    try:
        name, index_text, count_text = key.decode().split("/")
        index, count = int(index_text), int(count_text)
    except ValueError:
        raise BadRecord(f"key {key[:80]!r} isn't hash/i/n") from None
    if not 0 <= index < count <= MAX_PIECES:
        raise BadRecord(f"key {key[:80]!r} names no piece")
    return name, index, count
