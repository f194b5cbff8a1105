"""Latency from publish to webhook: probes sent beside a load, and a webhook that notes arrivals.

Both ends are in one process, so one clock stamps both. A probe is a pack of a gateway of its
own, published as an agent publishes it; the answer is the POST of its alert.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts import pack, topics
from contracts.batch import Flag, ReadingBatch

GATEWAY = "gw-probe"
BEATING = "probe-beat"
BEAT_S = 0.05


class Webhook:
    """Answers every POST with 204 and keeps (device, phase) -> seconds of its arrival."""

    def __init__(self, secret_file: Path) -> None:
        secret_file.write_text(
            "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() + "\n", encoding="ascii"
        )
        arrivals: dict[tuple[str, str], float] = {}
        events: dict[tuple[str, str], dict[str, Any]] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                now = time.time()
                event = json.loads(self.rfile.read(int(self.headers["content-length"])))
                key = event.get("source", "").rsplit("/", 1)[-1], event["type"].rsplit(".", 1)[-1]
                arrivals.setdefault(key, now)
                events.setdefault(key, event)
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """A line for each request would cost more than the request."""

        self.arrivals, self.events = arrivals, events
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(slots=True)
class Prober:
    """A gateway that speaks for many devices, each used for one probe."""

    port: int
    sent: dict[str, float] = field(default_factory=dict)
    _seq: int = 0
    _client: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)

    def connect(self) -> None:
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="bench-probe", protocol=mqtt.MQTTv5
        )
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        """An ordinary reading every `BEAT_S`: a gateway of many devices is never quiet."""
        while not self._ending.wait(BEAT_S):
            self.send([(BEATING, "efire", "cable_temperature", 20.0)], alarm=False)

    def close(self) -> None:
        self._ending.set()
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, rows: list[tuple[str, str, str, float]], *, alarm: bool) -> int:
        """Publish (device, family, quantity, value) as of now; returns their event time in ms."""
        with self._lock:
            return self._send(rows, alarm=alarm)

    def _send(self, rows: list[tuple[str, str, str, float]], *, alarm: bool) -> int:
        at_ms = time.time_ns() // 1_000_000
        flags = int(Flag.ALARM) if alarm else 0
        batch = ReadingBatch.of([(d, f, q, at_ms, v, flags) for d, f, q, v in rows])
        self._seq += 1
        header = pack.PackHeader(
            GATEWAY, 1 << 32, self._seq, at_ms, time.monotonic_ns() // 1_000_000, alarm=alarm
        )
        data = pack.encode(pack.Pack(header, batch))
        for device, *_ in rows:
            self.sent.setdefault(device, time.time())
        self._client.publish(topics.pack(GATEWAY), data, qos=1)
        return at_ms
