"""A camera at the other end of a TCP connection, which sends what it is told, then breaks off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One connection: these bytes at once, then silence if it is to stay open, else the end."""

    data: bytes = b""
    stays: bool = False


class Streamer:
    """Serves its turns one after the other, the last one again and again. Use as a context."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = list(turns)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Streamer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        for line in self._kept:
            line.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
            with contextlib.suppress(OSError):  # The other side may have hung up.
                line.sendall(turn.data)
            if turn.stays:
                self._kept.append(line)
            else:
                line.close()
