"""paho's client, reading its socket in large pieces.

paho asks for the parts of a packet one by one, each a system call that gives up the interpreter
and waits to get it back: with other threads at work that wait, not the call, is what a small
message costs. Here the pieces come from memory. The overridden method is paho's own seam to the
socket but not public: the lock file pins paho, and the subscriber's tests run through it.
"""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as mqtt

PIECE_BYTES = 1 << 16


class BufferedClient(mqtt.Client):
    """Use as `mqtt.Client`; call `forget` before each connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._piece = b""
        self._at = 0

    @property
    def buffered(self) -> bool:
        """Whether bytes wait here, which no poll of the socket shows."""
        return self._at < len(self._piece)

    def forget(self) -> None:
        """Throw away what an old connection left."""
        self._piece, self._at = b"", 0

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.buffered:
            # A large packet goes around the buffer, without a copy.
            if bufsize >= PIECE_BYTES:
                return self._from_socket(bufsize)
            self._piece, self._at = self._from_socket(PIECE_BYTES), 0
        start = self._at
        self._at = min(start + bufsize, len(self._piece))
        return self._piece[start : self._at]

    def _from_socket(self, size: int) -> bytes:
        """b"" at the end of the connection. Raises `BlockingIOError` when nothing is there."""
        data: bytes = super()._sock_recv(size)
        return data
