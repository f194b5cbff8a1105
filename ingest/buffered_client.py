"""paho's client, reading and writing its socket in large pieces.

paho asks for the parts of a packet one by one and sends each acknowledgement by itself, each a
system call that gives up the interpreter and waits to get it back: with other threads at work
that wait, not the call, is what a small message costs. Here the pieces come from memory, and
what is to be sent gathers until `flush`. The overridden methods are paho's own seam to the socket
but not public: the lock file pins paho, and the subscriber's tests run through them.
"""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as mqtt

PIECE_BYTES = 1 << 16
_DISCONNECT = 0xE0


class BufferedClient(mqtt.Client):
    """Use as `mqtt.Client` under one thread; call `forget` before each connection, and `flush`
    whenever something may have been sent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._piece = b""
        self._at = 0
        self._unsent = bytearray()

    @property
    def buffered(self) -> bool:
        """Whether bytes wait to be read here, which no poll of the socket shows."""
        return self._at < len(self._piece)

    @property
    def unsent(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._unsent)

    def forget(self) -> None:
        """Throw away what an old connection left."""
        self._piece, self._at = b"", 0
        self._unsent.clear()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises `OSError` when it is gone."""
        while self._unsent and self.socket() is not None:
            try:
                sent: int = super()._sock_send(bytes(self._unsent))
            except BlockingIOError:
                return
            del self._unsent[:sent]

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

    def _sock_send(self, buf: Any) -> int:
        self._unsent += buf
        # After a DISCONNECT paho closes the socket at once.
        if len(self._unsent) >= PIECE_BYTES or (buf and buf[0] & 0xF0 == _DISCONNECT):
            self.flush()
        return len(buf)
