"""A sender that is not the limit: MQTT 5 PUBLISH packets made beforehand, written to a socket.

A client library costs more to publish a small message than ingest needs to take it. This one
keeps a window of unacknowledged packets, as QoS 1 asks, and nothing else.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator

WINDOW = 1_000


class WireError(Exception):
    """The broker answered something else than was expected."""


class WireSender:
    """One connection; `send` blocks while the window is full."""

    def __init__(self, host: str, port: int, client: str) -> None:
        self._socket = socket.create_connection((host, port), 5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_connect(client))
        answer = self._socket.recv(256)
        if len(answer) < 4 or answer[0] != 0x20 or answer[3] != 0:
            raise WireError(f"no CONNACK: {answer[:8].hex()}")
        self._packet, self.sent, self.acknowledged = 0, 0, 0
        self._rest = b""

    def send_all(self, messages: Iterator[tuple[bytes, bytes]], until_s: float) -> None:
        """Send (topic, payload) until the iterator ends or the monotonic time `until_s`."""
        buffer: list[bytes] = []
        for topic, payload in messages:
            buffer.append(self._publish(topic, payload))
            if len(buffer) >= 50:
                self._flush(buffer)
                if time.monotonic() >= until_s:
                    break
        self._flush(buffer)

    def settle(self, timeout_s: float = 10.0) -> None:
        """Wait for all acknowledgements. Raises `WireError` when they don't come."""
        deadline = time.monotonic() + timeout_s
        while self.acknowledged < self.sent:
            if time.monotonic() > deadline:
                raise WireError(f"{self.sent - self.acknowledged} messages unacknowledged")
            self._read(0.2)

    def close(self) -> None:
        self._socket.sendall(b"\xe0\x00")
        self._socket.close()

    def _publish(self, topic: bytes, payload: bytes) -> bytes:
        self._packet = self._packet % 65_535 + 1
        rest = struct.pack(">H", len(topic)) + topic + struct.pack(">H", self._packet) + b"\0"
        return b"\x32" + _length(len(rest) + len(payload)) + rest + payload

    def _flush(self, buffer: list[bytes]) -> None:
        if not buffer:
            return
        while self.sent - self.acknowledged > WINDOW:
            self._read(1.0)
        self._socket.sendall(b"".join(buffer))
        self.sent += len(buffer)
        buffer.clear()
        self._read(0.0)

    def _read(self, wait_s: float) -> None:
        readable, _, _ = select.select([self._socket], [], [], wait_s)
        if not readable:
            return
        data = self._rest + self._socket.recv(65_536)
        at = 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            if data[at] == 0x40:
                self.acknowledged += 1
            elif data[at] == 0xE0:
                raise WireError("the broker disconnected")
            at += 2 + data[at + 1]
        self._rest = data[at:]


def _length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, byte = divmod(number, 128)
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _connect(client: str) -> bytes:
    name = client.encode()
    body = b"\0\x04MQTT\x05\x02\0\x3c\0" + struct.pack(">H", len(name)) + name
    return b"\x10" + _length(len(body)) + body
