"""What came from the broker."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One MQTT message. mid, connection: what its acknowledgement needs; 0 = wants none."""

    topic: str
    payload: bytes
    mid: int = 0
    connection: int = 0
