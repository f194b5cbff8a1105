"""A gate before a real HTTP server: it answers as it is told for some requests, else passes on."""

from __future__ import annotations

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import httpx


class Gate:
    """answers: (status, headers) for the next requests, one each. seen: (path, headers)."""

    def __init__(self, behind: str) -> None:
        """behind: the address of the real server."""
        answers: deque[tuple[int, dict[str, str]]] = deque()
        seen: list[tuple[str, dict[str, str]]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                if answers:
                    status, headers = answers.popleft()
                    self._answer(status, b'{"message":"the gate says so"}', headers)
                    return
                passed = httpx.post(
                    behind + self.path,
                    content=body,
                    headers={
                        k: self.headers[k] for k in ("Content-Encoding",) if k in self.headers
                    },
                )
                self._answer(passed.status_code, passed.content, {})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Tests don't chat."""

        self.answers, self.seen = answers, seen
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
