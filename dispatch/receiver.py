"""A webhook receiver for integrators to start from, and the other end in our own tests.

Standard library only. It checks the signature over the exact bytes, takes each webhook-id once,
writes events as JSON lines, synced before it answers 204, and counts repeats. Heartbeats are
counted and timed, not written.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dispatch.signature import SignatureRefused, verify

MOST_BODY = 1 << 20
_HEARTBEATS = "io.gridwarden.pipeline."

Answer = tuple[int, Mapping[str, str]]
"""Status and headers."""


class _Server(ThreadingHTTPServer):
    """Counts senders that vanish in the middle of a request; they come again."""

    counts: Counter[str]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if isinstance(sys.exc_info()[1], ConnectionError):
            self.counts["cut_off"] += 1
        else:
            super().handle_error(request, client_address)


class Receiver:
    """Listens on 127.0.0.1:`port` (0 = any free one) from the start of `run` or `start`.

    out: JSON lines `{"id", "received_ms", "event"}`, one for each new event; ids in it are known
    after a restart. rehearse: asked for each verified event before it is taken; an answer it
    gives is sent instead, to rehearse failures. on_event: told of each new event.
    counts: received, repeats, heartbeats, stalled, refused, rehearsed,
    cut_off.
    """

    def __init__(
        self,
        secrets: Sequence[bytes],
        out: Path,
        *,
        port: int = 0,
        rehearse: Callable[[dict[str, Any]], Answer | None] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._rehearse = rehearse
        self._on_event = on_event
        self._lock = threading.Lock()
        self._known = _known_ids(out)
        self._out = out.open("ab")
        self.counts: Counter[str] = Counter()
        self.last_heartbeat_ms: int | None = None
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._server.counts = self.counts
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/events"

    def run(self) -> None:
        """Serve until interrupted or closed."""
        self._server.serve_forever(poll_interval=0.1)

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        with self._lock:
            self._out.close()

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request; headers with lower-case names."""
        try:
            message_id = verify(self._secrets, headers, body, now_s=time.time())
            event = json.loads(body)
        except SignatureRefused as error:
            self.counts["refused"] += 1
            return 401, {"x-reason": str(error)}
        except ValueError:
            self.counts["refused"] += 1
            return 400, {"x-reason": "not JSON"}
        if str(event.get("type", "")).startswith(_HEARTBEATS):
            return self._heartbeat(event)
        if self._rehearse is not None:
            answer = self._rehearse(event)
            if answer is not None:
                self.counts["rehearsed"] += 1
                return answer
        with self._lock:
            return self._write(message_id, event)

    def _write(self, message_id: str, event: dict[str, Any]) -> Answer:
        if message_id in self._known:
            self.counts["repeats"] += 1
            return 204, {}
        line = {"id": message_id, "received_ms": time.time_ns() // 1_000_000, "event": event}
        self._out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._out.flush()
        os.fsync(self._out.fileno())
        # Known only now: an answer of 204 says that the event is safe here.
        self._known.add(message_id)
        self.counts["received"] += 1
        if self._on_event is not None:
            self._on_event(event)
        return 204, {}

    def _heartbeat(self, event: dict[str, Any]) -> Answer:
        stalled = bool(event.get("data", {}).get("stalled"))
        self.counts["stalled" if stalled else "heartbeats"] += 1
        if not stalled:
            self.last_heartbeat_ms = time.time_ns() // 1_000_000
        return 204, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 300

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if not length.isdigit() or int(length) > MOST_BODY:
                    self._answer(413, {"connection": "close"})
                    return
                body = self.rfile.read(int(length))
                if len(body) < int(length):
                    receiver.counts["cut_off"] += 1
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._answer(*receiver.take(headers, body))

            def _answer(self, status: int, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Events are what is written, not requests."""

        return Handler


def _known_ids(out: Path) -> set[str]:
    """The ids in an earlier file; a last line that a kill cut off is removed."""
    if not out.exists():
        return set()
    content = out.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with out.open("r+b") as file:
            file.truncate(len(whole))
    return {json.loads(line)["id"] for line in whole.splitlines()}
