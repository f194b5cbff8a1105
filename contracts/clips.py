"""Evidence clips: how one is named, asked for, and sent in parts.

A clip stays at its gateway until somebody asks for it. The reference on an alert says of which
camera and which moment it is; who may fetch it is a matter of the broker's access list.

A part on the wire: 2 bytes length of the head (little-endian), the head as JSON, then the bytes.
"""

from __future__ import annotations

import re
import struct
from typing import Annotated, Literal

import msgspec

from contracts.rejects import Reason, Refused

PART_BYTES = 128 << 10
MOST_BYTES = 32 << 20
NEAR_MS = 10_000
"""A clip is of a moment when it is no farther from it. The clip bears the gateway's own time, the
alert the true one."""

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]
_REFERENCE = re.compile(r"urn:gridwarden:clip:([A-Za-z0-9_-]{1,64}):([0-9]{1,15})")
_HEAD = struct.Struct("<H")


class ClipAsk(msgspec.Struct, frozen=True, kw_only=True):
    """On `gw/v1/{gateway}/ask`. ask: of the asker's making, repeated in each answer.

    clip: the one of this camera nearest to `at_ms`. list: what is kept, of one camera or ("") all.
    now_ms: the asker's clock, by which `at_ms` counts; 0 = not told, the gateway's own is meant.
    """

    ask: Id
    kind: Literal["clip", "list"]
    camera: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$(?!\n)")] = ""
    at_ms: int = 0
    now_ms: int = 0


class ClipPart(msgspec.Struct, frozen=True, kw_only=True):
    """Head of an answer on `gw/v1/{gateway}/clip`. why: there is none, and the reason.

    size, sha256: of the whole clip. A list is one part: JSON, an array of `KeptClip`.
    """

    ask: Id
    part: Annotated[int, msgspec.Meta(ge=0)] = 0
    parts: Annotated[int, msgspec.Meta(ge=1, le=MOST_BYTES // PART_BYTES)] = 1
    camera: str = ""
    start_ms: int = 0
    end_ms: int = 0
    size: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 0
    sha256: str = ""
    why: str = ""


class KeptClip(msgspec.Struct, frozen=True, kw_only=True):
    camera: str
    start_ms: int
    end_ms: int
    size: int


_head = msgspec.json.Decoder(ClipPart)


def reference(camera: str, at_ms: int) -> str:
    """What an alert says: a clip of this camera at this moment."""
    return f"urn:gridwarden:clip:{camera}:{at_ms}"


def read_reference(text: str) -> tuple[str, int]:
    """(camera, at_ms). Raises `ValueError`."""
    found = _REFERENCE.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:120]!r} is no clip; give urn:gridwarden:clip:CAMERA:MILLISECONDS")
    return found[1], int(found[2])


def encode(head: ClipPart, body: bytes = b"") -> bytes:
    text = msgspec.json.encode(head)
    return _HEAD.pack(len(text)) + text + body


def decode(data: bytes) -> tuple[ClipPart, bytes]:
    """Raises `Refused`."""
    if len(data) < _HEAD.size:
        raise Refused(Reason.TRUNCATED, field="clip", detail="too short")
    (length,) = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    try:
        return _head.decode(data[_HEAD.size : end]), data[end:]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(Reason.BAD_JSON, field="clip", detail=str(error)[:200]) from None
