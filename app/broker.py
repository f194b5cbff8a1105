"""The broker as a child process on loopback: Mosquitto when it is installed, otherwise rumqttd
from the iotcore wheel.

What either forgets is of no consequence: agents forget a pack only when ingest has confirmed it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.children import start_child

START_S = 15.0
PAYLOAD_BYTES = 4 << 20
"""At least `contracts.pack.MAX_BYTES`."""


class BrokerError(Exception):
    """The broker didn't start; the text says why and what to do."""


@dataclass(slots=True)
class Broker:
    """A running child. `kind` names the program, host and port say where it listens."""

    kind: str
    host: str
    port: int
    process: subprocess.Popen[bytes]

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(kind: Literal["auto", "builtin", "mosquitto"], port: int, folder: Path) -> Broker:
    """Start a broker on 127.0.0.1. `port` 0 takes a free one. Raises `BrokerError`."""
    mosquitto = find_mosquitto()
    if kind == "mosquitto" and mosquitto is None:
        raise BrokerError(
            "mqtt.broker: mosquitto is not installed; apt-get install mosquitto, or use builtin"
        )
    port = port or _free_port()
    if _answers(port):
        raise BrokerError(f"mqtt.port: {port} is in use; stop that program or choose another port")
    folder.mkdir(parents=True, exist_ok=True)
    if kind != "builtin" and mosquitto is not None:
        return _started("mosquitto", port, _mosquitto(mosquitto, port, folder), folder)
    return _started("rumqttd", port, _rumqttd(port, folder), folder)


def find_mosquitto() -> str | None:
    """Debian puts it into /usr/sbin, which isn't on everybody's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def _mosquitto(program: str, port: int, folder: Path) -> list[str]:
    """Persistence on every change and no silent limit on queues; see docs/adr/0007."""
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder.resolve()}/",
        "autosave_interval 30",
        "autosave_on_changes false",
        "max_queued_messages 0",
        "max_queued_bytes 268435456",
        "max_inflight_messages 2000",
        "log_type error",
        "log_type warning",
    ]
    if _is_root():
        lines.append("user root")
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [program, "-c", str(config)]


def _rumqttd(port: int, folder: Path) -> list[str]:
    """MQTT 5 wants its own listener. Small segments keep its memory at about 100 MB."""
    config = folder / "rumqttd.toml"
    config.write_text(
        f"""id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 8388608
max_segment_count = 4
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {PAYLOAD_BYTES}
max_inflight_count = 100
dynamic_filters = true
""",
        encoding="utf-8",
    )
    program = (
        "import logging, sys\n"
        "logging.basicConfig(level=logging.WARNING)\n"
        # Its tracing reports every packet at ERROR: a log that only grows.
        "logging.getLogger('rumqttd').setLevel(logging.CRITICAL)\n"
        "from iotcore import IotCoreBroker\n"
        "IotCoreBroker(config_path=sys.argv[1]).run_forever()\n"
    )
    return [sys.executable, "-c", program, str(config)]


def _started(kind: str, port: int, command: list[str], folder: Path) -> Broker:
    log = folder / "broker.log"
    process = start_child(command, log)
    broker = Broker(kind, "127.0.0.1", port, process)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if not broker.alive():
            broker.stop()
            raise BrokerError(f"{kind} ended with status {process.returncode}; see {log}")
        if _answers(port):
            return broker
        time.sleep(0.02)
    broker.stop()
    raise BrokerError(f"{kind} doesn't listen on port {port} after {START_S:.0f} s; see {log}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_root() -> bool:
    return os.geteuid() == 0
