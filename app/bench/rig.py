"""The pipeline as users run it, for a benchmark: broker, server and agents as processes.

The broker is Mosquitto where it is installed. The server runs the shipped rules with dedup on,
`synchronous=FULL` and all stores. Nothing is switched off for the measurement.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import broker as brokers
from app.bench.processes import Usage, usage

START_S = 60.0


class RigError(Exception):
    """A part didn't start or ended; the text holds the end of its log."""


@dataclass(slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def usage(self) -> Usage:
        return usage(self.process.pid)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RigError(f"{self.name} ended with {self.process.returncode}: {_tail(self.log)}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(slots=True)
class Rig:
    """folder: of everything. mqtt_port, http_port: on loopback."""

    folder: Path
    broker: brokers.Broker
    server: Child
    mqtt_port: int
    http_port: int
    key: str

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            headers={"Authorization": f"Bearer {self.key}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return bytes(answer.read())

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/health"))
        return found

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the server's own metrics; 0 when it has none yet."""
        wanted = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(name + wanted + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def readings(self) -> float:
        """Rows that the engine has let in and decided upon."""
        return self.metric("gridwarden_readings_total", outcome="accepted")

    def agent(self, name: str, config: str) -> Child:
        """Start a gateway agent with a configuration text."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "agent.toml").write_text(config, encoding="utf-8")
        return _spawn(name, ["edge", "run", "--config", str(folder / "agent.toml")], folder)


@contextmanager
def rig(registry: Path, *, settings: str = "", folder: Path | None = None) -> Iterator[Rig]:
    """Start broker and server; both end with the context. `settings`: more TOML."""
    with tempfile.TemporaryDirectory(prefix="gridwarden-bench-", dir=folder) as name:
        home = Path(name)
        broker = brokers.start("auto", 0, home / "broker")
        server = None
        try:
            (home / "server.toml").write_text(
                f"""data = "data"
registry = "{registry}"
{settings}
[mqtt]
broker = "external"
port = {broker.port}
[http]
port = 0
""",
                encoding="utf-8",
            )
            server = _spawn("server", ["up", "--config", str(home / "server.toml")], home)
            port = _port(server)
            key = (home / "data" / "keys" / "console.key").read_text(encoding="ascii").strip()
            yield Rig(home, broker, server, broker.port, port, key)
        finally:
            if server is not None:
                server.stop()
            broker.stop()


def _spawn(name: str, arguments: list[str], folder: Path) -> Child:
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments],
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    return Child(name, process, log)


def _port(server: Child) -> int:
    """The web port, from the line that the server prints when it is up."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        server.check()
        for line in server.log.read_text(encoding="utf-8").splitlines():
            if line.startswith("open "):
                return int(line.split()[1].rsplit(":", 1)[1])
        time.sleep(0.05)
    raise RigError(f"{server.name} is not up after {START_S:.0f} s: {_tail(server.log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
