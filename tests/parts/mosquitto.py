"""Debian's Mosquitto as a child process on a free loopback port, with storage that lasts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from tests.parts.tools import find_tool

START_S = 20.0
STOP_S = 20.0
TRIES = 5


class BrokerFailed(Exception):
    """The broker didn't start or didn't stop; the text ends with its log."""


class Mosquitto:
    """One broker in its own folder: `start`, `stop`, `kill`, `restart`; a context manager.

    port: chosen free unless given, and kept over restarts. lasting: sessions, queued and
    retained messages survive `kill` (Mosquitto saves its whole store after every change, which
    costs speed); without it nothing is saved. Even so it acknowledges first and saves then, so
    a kill may cost the last messages that it acknowledged, unless `save` came between.
    extra: further lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        lasting: bool = True,
        max_inflight: int = 100,
        extra: Iterable[str] = (),
    ) -> None:
        self.folder = folder
        self.lasting = lasting
        self.max_inflight = max_inflight
        self.extra = tuple(extra)
        self.port = port or 0
        self._given = port is not None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def pid(self) -> int:
        assert self._child is not None, "the broker isn't running"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def log(self) -> str:
        path = self.folder / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Mosquitto:
        """Start it and wait until it takes connections. Raises `BrokerFailed`."""
        assert not self.running, "the broker is running already"
        self.folder.mkdir(parents=True, exist_ok=True)
        for last in range(TRIES, 0, -1):
            if not self.port:
                self.port = free_port()
            try:
                self._start_once()
            except BrokerFailed:
                # Somebody took the free port between the look and the start.
                if last == 1 or "Address already in use" not in self.log:
                    raise
                if not self._given:
                    self.port = 0
            else:
                self._given = True
                return self
        raise AssertionError("unreachable")

    def _start_once(self) -> None:
        config = self.folder / "mosquitto.conf"
        config.write_text(self._config())
        with (self.folder / "mosquitto.log").open("wb") as log:
            self._child = subprocess.Popen(
                [find_tool("mosquitto"), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        # Its own word, written when all listeners are open: a connection alone could be somebody
        # else's server on that port.
        deadline = time.monotonic() + START_S
        while not (" running" in self.log and answers(self.port)):
            status = self._child.poll()
            if status is not None or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise BrokerFailed(f"mosquitto didn't start (status {status}):\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, which saves its store."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: what isn't saved is lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port with the same store; stops it first when it runs."""
        if self.running:
            self.stop()
        self.start()

    def save(self) -> None:
        """Have everything that it has acknowledged on disk. Raises `BrokerFailed`."""
        assert self._child is not None, "the broker isn't running"
        store = self.folder / "mosquitto.db"
        before = _version(store)
        self._child.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + STOP_S
        # It writes a new file and renames it. It has one thread, so a store that is renamed
        # after this moment holds all that was acknowledged before.
        while _version(store) in (None, before):
            if not self.running or time.monotonic() > deadline:
                raise BrokerFailed(f"mosquitto didn't save:\n{self.log}")
            time.sleep(0.005)

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(how)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise BrokerFailed(f"mosquitto didn't stop in {STOP_S} s:\n{self.log}") from None

    def _config(self) -> str:
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            # Unless told, it acknowledges and then drops beyond 1 000 queued messages.
            "max_queued_messages 0",
            "max_queued_bytes 0",
            f"max_inflight_messages {self.max_inflight}",
            "set_tcp_nodelay true",
            "log_dest stderr",  # its standard output is buffered until it ends
            "log_type error",
            "log_type warning",
            "log_type notice",
            "log_type information",
        ]
        if os.geteuid() == 0:
            # Else it drops to its own user, can't write the folder, and says nothing.
            lines.append("user root")
        if self.lasting:
            lines += [
                "persistence true",
                f"persistence_location {self.folder}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        return "\n".join([*lines, *self.extra]) + "\n"

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _version(path: Path) -> tuple[int, int] | None:
    """Differs for every file that was renamed to `path`; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something takes connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
