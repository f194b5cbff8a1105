"""Real stores for telemetry as child processes, each with its own folder on a loopback port.

VictoriaMetrics takes InfluxDB's v2 write API (any token, no Flux, no InfluxQL; malformed lines are
skipped with an answer of 204; a point that is written again is kept twice). InfluxDB 1 is from the
maker of the protocol: it refuses what doesn't fit, and answers InfluxQL.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.parts.mosquitto import free_port
from tests.parts.tools import find_tool

START_S = 30.0
STOP_S = 20.0


class ServerFailed(Exception):
    """The server didn't start; the text ends with its log."""


class _Server:
    """`start`, `stop`, `kill`; the port and the data are kept over restarts."""

    tool = ""

    def __init__(self, folder: Path, *extra: str) -> None:
        self.folder, self.extra = folder, extra
        self.port = free_port()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers. Raises `ServerFailed`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._child = subprocess.Popen(
                [find_tool(self.tool), *self._command(), *self.extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not self._pings():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.tool} didn't start:\n{self.log}")
            time.sleep(0.02)

    def _pings(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ping", timeout=2).status_code == 204
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.send_signal(how)
            child.send_signal(signal.SIGCONT)
            child.wait(STOP_S)

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class VictoriaMetrics(_Server):
    tool = "victoria-metrics"

    def _command(self) -> list[str]:
        return [
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-loggerLevel=WARN",
        ]

    def save(self) -> None:
        """Have everything that it took readable, and on disk."""
        httpx.get(f"{self.url}/internal/force_flush", timeout=30).raise_for_status()

    def points(self, match: str = '{__name__!=""}') -> list[tuple[dict[str, str], int, float]]:
        """(labels, ts_ms, value) of every stored point, sorted."""
        self.save()
        answer = httpx.get(f"{self.url}/api/v1/export", params={"match[]": match}, timeout=60)
        answer.raise_for_status()
        found = []
        for line in answer.text.splitlines():
            series = json.loads(line)
            for ts_ms, value in zip(series["timestamps"], series["values"], strict=True):
                found.append((series["metric"], ts_ms, value))
        return sorted(found, key=lambda one: (one[1], sorted(one[0].items()), one[2]))


class Influx1(_Server):
    tool = "influxd"

    def start(self) -> None:
        super().start()
        self.ask("CREATE DATABASE gridwarden")

    def _command(self) -> list[str]:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "influxdb.conf"
        config.write_text(
            "reporting-disabled = true\n"
            f'bind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\n'
            "[monitor]\nstore-enabled = false\n"
        )
        return ["-config", str(config)]

    def ask(self, question: str) -> list[dict[str, Any]]:
        """The series of one InfluxQL statement."""
        query = urlencode({"db": "gridwarden", "epoch": "ms", "q": question})
        answer = httpx.post(f"{self.url}/query?{query}", timeout=60)
        answer.raise_for_status()
        (result,) = answer.json()["results"]
        assert "error" not in result, result
        found: list[dict[str, Any]] = result.get("series", [])
        return found

    def points(self) -> list[tuple[str, str, int, str, float]]:
        """(device, flags, ts_ms, field, value) of every stored field, sorted."""
        found = []
        for series in self.ask('SELECT * FROM "reading" GROUP BY *'):
            tags = series["tags"]
            for row in series["values"]:
                for field, value in zip(series["columns"][1:], row[1:], strict=True):
                    if value is not None:
                        found.append((tags["device"], tags.get("flags", ""), row[0], field, value))
        return sorted(found)
