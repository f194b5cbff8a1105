"""The pipeline's parts as users start them: child processes that may be killed at any moment."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from app.cli.root import build
from app.main import _run
from tests.parts.mosquitto import free_port

STOP_S = 60.0

T = TypeVar("T")


class PartFailed(Exception):
    """A part didn't do what it should have; the text ends with its log."""


def until(look: Callable[[], T], wait_s: float, what: str) -> T:
    """Look until it is true; gives what was seen. Raises `PartFailed` after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise PartFailed(f"not within {wait_s:.0f} s: {what}")
        time.sleep(0.05)


def gridwarden(*arguments: str | Path) -> str:
    """Run a verb to its end, within this process: those asked here only read what a server has
    left, and a new interpreter costs more than their work. Gives standard output. Raises
    `PartFailed`."""
    told = [str(argument) for argument in arguments]
    said, complained = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            status = _run(build(told[0]), told)
        except SystemExit as left:
            status = left.code
    if status:
        raise PartFailed(f"{told}: status {status}\n{complained.getvalue()}")
    return said.getvalue()


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "app", *map(str, arguments)]


def _environment() -> dict[str, str]:
    """A part starts dozens of times: where nothing may be compiled beside the sources, compiled
    code goes into a folder of its own, or each start compiles everything again."""
    found = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "gridwarden-compiled")
    return found


class Part:
    """One process with its log, started again and again; each life has a log of its own."""

    def __init__(self, name: str, folder: Path, *arguments: str | Path) -> None:
        self.name, self.folder, self.arguments = name, folder, arguments
        self.lives = self.kills = 0
        self.limits: Callable[[], None] | None = None
        """Run in the child before it begins, to take resources away from it."""
        self.module = "app"
        self._child: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self.lives += 1
        with self._log_file.open("wb") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self.module, *map(str, self.arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_environment(),
                preexec_fn=self.limits,
            )

    @property
    def _log_file(self) -> Path:
        return self.folder / f"{self.name}-{self.lives}.log"

    @property
    def log(self) -> str:
        """What this life has said."""
        return self._log_file.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.kills += 1
        self._end(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; gives its status."""
        return self._end(how)

    def _end(self, how: signal.Signals) -> int:
        assert self._child is not None
        self._child.send_signal(how)
        try:
            return self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise PartFailed(f"{self.name} didn't end:\n{self.log[-3000:]}") from None

    def discard(self) -> None:
        """However it is: it is gone after this."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def fail_if_ended(self) -> None:
        if self.status is not None:
            raise PartFailed(f"{self.name} ended with {self.status}:\n{self.log[-3000:]}")


class Server(Part):
    """`gridwarden up` with an external broker and one webhook. mqtt: more TOML for the broker."""

    def __init__(
        self,
        folder: Path,
        *,
        broker_port: int,
        registry: Path,
        rules: Path,
        receiver: Receiver,
        data: Path | None = None,
        dispatch: str = "heartbeat_s = 2\nremind_s = 3600",
        engine: str = "",
        mqtt: str = "",
        retention: str = "min_free_bytes = 0\nreserve_bytes = 1048576",
    ) -> None:
        super().__init__("server", folder, "up", "--config", folder / "server.toml")
        self.data = data or folder / "data"
        (folder / "server.toml").write_text(
            f"""data = "{self.data}"
registry = "{registry}"
rules = "{rules}"
[mqtt]
broker = "external"
port = {broker_port}
{mqtt}
[http]
port = 0
[engine]
{engine}
[dispatch]
{dispatch}
[retention]
{retention}
[[webhook]]
name = "desk"
url = "{receiver.url}"
secret_file = "{receiver.secret}"
"""
        )

    @property
    def port(self) -> int:
        """Of page and API; 0 as long as it isn't up."""
        found = re.search(r"^open  http://127\.0\.0\.1:(\d+)", self.log, re.MULTILINE)
        return int(found[1]) if found else 0

    def up(self, wait_s: float = 60) -> None:
        """Wait until it serves."""

        def look() -> bool:
            self.fail_if_ended()
            return self.port > 0

        until(look, wait_s, "the server is up")

    def ask(self, path: str, *, method: str = "GET", body: Any = None) -> bytes:
        key = (self.data / "keys" / "console.key").read_text().strip()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            content = answer.read()
            # /health answers 503 with its document when it isn't well.
            if answer.status >= 400 and path != "/health":
                raise PartFailed(f"{path}: {answer.status} {content[:300]!r}")
            return content
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/health"))
        return found

    def metric(self, name: str, **labels: str) -> float:
        """One sample; without labels the sum of all of that name."""
        total = 0.0
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        for line in self.ask("/metrics").decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and wanted in head:
                total += float(value)
        return total

    def drained(self) -> bool:
        """Everything accepted is decided, everything decided is delivered."""
        health = self.health()
        waiting = sum(one["waiting"] for one in health["dispatch"]["receivers"])
        return bool(health["position"] == health["log_position"] and not waiting)


class Agent(Part):
    """`gridwarden edge run` replaying one recording for one gateway; ends when all is confirmed."""

    def __init__(
        self,
        folder: Path,
        gateway: str,
        recording: Path,
        *,
        broker_port: int,
        speed: float = 1.0,
        stop_at_end: bool = True,
        outbox: str = "",
        broker: str = "",
        pack: str = "rows = 200\nage_ms = 200",
        path: Path | None = None,
    ) -> None:
        super().__init__(gateway, folder, "edge", "run", "--config", folder / f"{gateway}.toml")
        self.gateway = gateway
        self.outbox = path or folder / f"{gateway}.db"
        (folder / f"{gateway}.toml").write_text(
            f"""[agent]
gateway = "{gateway}"
heartbeat_ms = 1000
stop_at_end = {str(stop_at_end).lower()}
[broker]
host = "127.0.0.1"
port = {broker_port}
reconnect_ms = 200
reconnect_most_ms = 1000
{broker}
[window]
resend_ms = 2000
[pack]
{pack}
[outbox]
path = "{self.outbox}"
{outbox}
[source]
kind = "replay"
recordings = ["{recording}"]
speed = {speed}
rejects_file = "{folder / gateway}.rejects"
"""
        )

    @property
    def finished(self) -> bool:
        """It has ended by itself: everything is confirmed."""
        if self.status is not None and self.status > 0:
            self.fail_if_ended()
        return self.status == 0


class Receiver(Part):
    """`gridwarden receiver`: the dispatch platform's end."""

    def __init__(self, folder: Path) -> None:
        self.secret, self.out = folder / "webhook.secret", folder / "received.jsonl"
        self.port = free_port()
        super().__init__(
            "receiver", folder, "receiver", "--secret-file", self.secret,
            "--out", self.out, "--port", str(self.port), "--json",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def up(self) -> None:
        def look() -> bool:
            self.fail_if_ended()
            return "receiving on" in self.log

        until(look, 60, "the receiver is up")

    def events(self) -> list[dict[str, Any]]:
        """Received events in order of arrival, each with `received_ms` put in."""
        if not self.out.exists():
            return []
        lines = self.out.read_bytes()
        lines = lines[: lines.rfind(b"\n") + 1]
        found = [json.loads(line) for line in lines.splitlines()]
        return [one["event"] | {"received_ms": one["received_ms"]} for one in found]

    def raised(self, rule: str = "", device: str = "") -> list[dict[str, Any]]:
        """Raised events, of one rule or device if named."""
        return [
            event
            for event in self.events()
            if event["type"].endswith(".raised")
            and rule in ("", event["data"]["rule"]["id"])
            and device in ("", event["data"]["device"])
        ]

    def finish(self) -> dict[str, int]:
        """Stop it; gives its counts."""
        self.stop()
        last = [line for line in self.log.splitlines() if line.startswith("{")][-1]
        counts: dict[str, int] = json.loads(last)
        return counts
