"""`gridwarden` as a process of its own, and what a visitor of its API sees."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.parts.tools import ROOT

DEADLINE_S = 60.0


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until `condition` gives something true, and return that; fail with `what`."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)
    return found


def gridwarden(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


class Child:
    """A running verb; its output goes into two files. A context manager that kills."""

    def __init__(self, folder: Path, name: str, *arguments: str | Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out_file, self.err_file = folder / f"{name}.out", folder / f"{name}.err"
        with self.out_file.open("wb") as out, self.err_file.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", *map(str, arguments)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self.out_file.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self.err_file.read_text(encoding="utf-8")

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def told(self, pattern: str) -> str:
        """Wait for a line; gives the pattern's first group."""

        def look() -> re.Match[str] | None:
            assert self.status is None, f"ended with {self.status}:\n{self.out}\n{self.err}"
            return re.search(pattern, self.out, re.MULTILINE)

        found: re.Match[str] = until(look, f"a line {pattern!r} in\n{self.out}\n{self.err}")
        return found[1]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, which is a matter of seconds; the exit status."""
        self.process.send_signal(how)
        return self.process.wait(15)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(family(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)


def family(pid: int) -> list[int]:
    """The process and all its descendants that are alive; [] when it is gone."""
    if not alive(pid):
        return []
    found = [pid]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Server(Child):
    """`gridwarden up`, or another verb with page and API; made when it answers."""

    def __init__(
        self, folder: Path, name: str, data: Path, *arguments: str | Path, verb: str = "up"
    ) -> None:
        super().__init__(folder, name, verb, *arguments)
        try:
            self.url = self.told(r"^open  (http://[^/#\s]+)")
        except BaseException:
            self.__exit__()
            raise
        self.key = (data / "keys" / "console.key").read_text(encoding="ascii").strip()
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=20
        )

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if hasattr(self, "client"):
            self.client.close()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, alert: str, action: str) -> None:
        answer = self.client.post(f"/api/v1/alerts/{alert}/{action}", json={})
        assert answer.status_code == 202, answer.text

    def alerts(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/alerts", limit=500, **query)["alerts"]
        return found


def listening(pids: list[int]) -> list[str]:
    """Addresses (hexadecimal, as in /proc/net/tcp) on which these processes listen."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            part = line.split()
            if part[3] == "0A" and part[9] in inodes:
                found.append(part[1])
    return found


def _sockets(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(link)
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
