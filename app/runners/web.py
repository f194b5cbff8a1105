"""The page and the API inside the embedded runner: uvicorn in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

START_S = 15.0


class WebError(Exception):
    """The web server can't start; the text is one line with field and mend."""


class Web:
    """Listens at once, so that a port in use is found before anything else is started."""

    def __init__(self, host: str, port: int) -> None:
        """Raises `WebError`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise WebError(
                f"http.port: {host}:{port}: {error.strerror}; choose another port or address"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self.host = host
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def serve(self, api: FastAPI) -> None:
        """Start answering. Raises `WebError` when it doesn't come up."""
        config = uvicorn.Config(
            api, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise WebError(f"{self.url}: the web server didn't start")
            time.sleep(0.01)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(5)
        self._socket.close()
