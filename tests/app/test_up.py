"""`gridwarden up` as a process: it starts, is killed and reads on, stops, and tells no secret."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli.up import _fail_loud
from app.runners.threads import Failure
from tests.app.running import Server, alive, family, listening, until

LOOPBACK = ("0100007F:", "00000000000000000000000001000000:")


def demo(folder: Path, name: str, broker: str) -> Server:
    """A demonstration on free ports, with its data in `folder`/data."""
    config = folder / "gridwarden.toml"
    config.write_text(
        f'data = "data"\n[mqtt]\nbroker = "{broker}"\nport = 0\n[http]\nport = 0\n'
        "[engine]\nsnapshot_every_s = 1\n",
        encoding="utf-8",
    )
    return Server(folder, name, folder / "data", "--config", config, "--demo")


def events_of(server: Server) -> dict[str, list[str]]:
    """Alert -> the ids of its events, in their order."""
    return {
        alert["alert"]: [
            event["id"]
            for event in server.get(f"/api/v1/alerts/{alert['alert']}")["events"]
            if event["data"]["change"] != "reminder"
        ]
        for alert in server.alerts()
    }


def position(server: Server) -> int:
    return int(server.client.get("/health").json()["position"])


def assert_reads_on(server: Server, seen: dict[str, list[str]], acknowledged: str) -> None:
    """What was seen before is there as it was, nothing began twice, and it goes on."""
    now = events_of(server)
    assert {name: now[name][: len(ids)] for name, ids in seen.items()} == seen
    assert all(len(set(ids)) == len(ids) for ids in now.values())
    alert = next(one for one in server.alerts() if one["alert"] == acknowledged)
    assert alert["acknowledged"] is True
    reached = position(server)
    until(lambda: position(server) > reached, "it goes on")


def acknowledge_first(server: Server) -> str:
    """Wait for the first alert and take it."""
    alert = str(until(server.alerts, "the first alert")[0]["alert"])
    server.order(alert, "acknowledge")
    until(lambda: len(events_of(server)[alert]) > 1, "the acknowledgement")
    return alert


def assert_only_loopback(processes: list[int]) -> None:
    found = listening(processes)
    assert len(found) == 2, "the broker and the page"
    assert [at for at in found if not at.startswith(LOOPBACK)] == []


def test_a_demonstration_that_is_killed_reads_on(tmp_path: Path) -> None:
    with demo(tmp_path, "first", "builtin") as first:
        alert = acknowledge_first(first)
        assert first.client.get("/health").json()["simulated"] is True
        seen, processes = events_of(first), family(first.process.pid)
        assert len(processes) == 3, "the server, its broker and its agent"
        assert_only_loopback(processes)
        first.kill()
        until(lambda: not any(map(alive, processes)), "its children end with it")

    with demo(tmp_path, "second", "builtin") as second:
        assert_reads_on(second, seen, alert)
        # The agent is the younger one.
        _, _, agent = family(second.process.pid)
        os.kill(agent, signal.SIGKILL)
        assert second.process.wait(60) == 1
        assert "the simulated agent ended (status -9); see" in second.err.splitlines()[-1]


@pytest.mark.broker
def test_a_demonstration_that_is_stopped_reads_on(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("mosquitto")
    with demo(tmp_path, "first", "mosquitto") as first:
        alert = acknowledge_first(first)
        processes = family(first.process.pid)
        assert_only_loopback(processes)
        seen = events_of(first)
        assert first.stop() == 0, first.err
        assert first.out.splitlines()[-1] == "stopped"
        assert not any(map(alive, processes))

    with demo(tmp_path, "second", "mosquitto") as second:
        assert_reads_on(second, seen, alert)
        _, broker, _ = family(second.process.pid)
        os.kill(broker, signal.SIGKILL)
        assert second.process.wait(60) == 1
        assert second.err.splitlines()[-1] == "gridwarden: the broker ended (status -9)"
        assert "Traceback" not in second.err


def test_no_key_is_told_where_a_journal_listens(tmp_path: Path) -> None:
    config = tmp_path / "gridwarden.toml"
    config.write_text(
        'data = "data"\n[mqtt]\nbroker = "builtin"\nport = 0\n[http]\nport = 0\n',
        encoding="utf-8",
    )
    key_file = tmp_path / "data" / "keys" / "console.key"
    with Server(tmp_path, "server", tmp_path / "data", "--config", config) as server:
        assert server.client.get("/health").json()["simulated"] is False
        assert server.alerts() == []
        assert server.client.get("/api/v1/alerts", headers={"Authorization": ""}).status_code == 401
        # As Ctrl-C does.
        assert server.stop(signal.SIGINT) == 0, server.err
        assert str(key_file) in server.out
        for file in tmp_path.rglob("*"):
            if file.is_file() and file != key_file:
                assert server.key.encode() not in file.read_bytes(), file


def test_a_thread_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure()
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    _fail_loud(failure)

    def fail(*_: Any) -> None:
        raise RuntimeError("no more")

    thread = threading.Thread(target=fail, name="subscriber")
    thread.start()
    thread.join()
    assert failure.stopping.is_set()
    assert failure.what == "subscriber failed: no more"
