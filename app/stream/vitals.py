"""/health, /ready, /metrics and what else a process without a page of its own has to tell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from app.settings import SettingsError
from app.stream.settings import StreamHttpSettings

Health = Callable[[], Mapping[str, Any]]
Page = Callable[[Mapping[str, str]], Mapping[str, Any] | None]
"""What was asked -> a document; None = there is no such thing."""


class Vitals:
    """Serves in a thread until `stop`. health: a document with `ok` and `ready`, quickly made;
    called from other threads. metrics: Prometheus's text. pages: further documents by path."""

    def __init__(
        self,
        settings: StreamHttpSettings,
        health: Health,
        metrics: Callable[[], bytes],
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """Raises `SettingsError` when the port is taken."""
        try:
            self._server = _Server((settings.host, settings.port), health, metrics, pages or {})
        except OSError as error:
            raise SettingsError(
                f"http: {settings.host}:{settings.port}: {error.strerror}; set http.port"
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="vitals", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        health: Health,
        metrics: Callable[[], bytes],
        pages: Mapping[str, Page],
    ) -> None:
        self.health, self.metrics, self.pages = health, metrics, pages
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # A client that says nothing must not hold a thread for ever.

    def do_GET(self) -> None:
        if self.path == "/health":
            found = self.server.health()
            self._answer(200 if found["ok"] else 503, msgspec.json.encode(found))
        elif self.path == "/ready":
            ready = bool(self.server.health()["ready"])
            self._answer(200 if ready else 503, msgspec.json.encode({"ready": ready}))
        elif self.path == "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            self._answer(200, self.server.metrics(), kind)
        else:
            self._page()

    def _page(self) -> None:
        asked = urlsplit(self.path)
        page = self.server.pages.get(asked.path)
        if page is None:
            known = ", ".join(["/health", "/ready", "/metrics", *self.server.pages])
            self._answer(404, msgspec.json.encode({"error": f"known are {known}"}))
            return
        found = page(dict(parse_qsl(asked.query)))
        if found is None:
            self._answer(404, b'{"error": "nothing is known of that here"}')
        else:
            self._answer(200, msgspec.json.encode(found))

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a probe each second is no news."""
