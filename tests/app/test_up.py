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
from tests.app.running import Server, alive, family, gridwarden, listening, until

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


@pytest.mark.parametrize("broker", ["builtin", pytest.param("mosquitto", marks=pytest.mark.broker)])
def test_a_demonstration_from_start_over_a_kill_to_its_end(
    tmp_path: Path, broker: str, require_tool: Callable[[str], str]
) -> None:
    if broker == "mosquitto":
        require_tool("mosquitto")
    with demo(tmp_path, "first", broker) as first:
        until(first.alerts, "the first alert")
        assert first.client.get("/health").json()["simulated"] is True
        before = family(first.process.pid)
        assert len(before) == 3, "the server, its broker and its agent"
        assert listening(before)
        assert [at for at in listening(before) if not at.startswith(LOOPBACK)] == []
        alert = first.alerts()[0]["alert"]
        first.order(alert, "acknowledge")
        until(lambda: len(events_of(first)[alert]) > 1, "the acknowledgement")
        seen, reached = events_of(first), position(first)
        first.kill()
        until(lambda: not any(map(alive, before)), "its children end with it")

    with demo(tmp_path, "second", broker) as second:
        assert "read on" in second.out or position(second) >= reached
        now = events_of(second)
        assert {name: now[name][: len(ids)] for name, ids in seen.items()} == seen
        assert next(a for a in second.alerts() if a["alert"] == alert)["acknowledged"] is True
        until(lambda: position(second) > reached + 5, "it goes on")
        children = family(second.process.pid)
        # As systemd asks, and as Ctrl-C does.
        how = signal.SIGTERM if broker == "builtin" else signal.SIGINT
        assert second.stop(how) == 0, second.err
        assert second.out.splitlines()[-1] == "stopped"
        assert not any(map(alive, children))
    # No alert began twice: one rule and device has one open alert at a time.
    assert all(len(set(ids)) == len(ids) for ids in now.values())
    told = gridwarden("log", "info", "--data", tmp_path / "data", "--json")
    assert told.returncode == 0, told.stderr


@pytest.mark.broker
def test_a_broker_that_dies_ends_the_process_and_no_key_is_told(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("mosquitto")
    config = tmp_path / "gridwarden.toml"
    config.write_text(
        'data = "data"\n[mqtt]\nbroker = "mosquitto"\nport = 0\n[http]\nport = 0\n',
        encoding="utf-8",
    )
    with Server(tmp_path, "server", tmp_path / "data", "--config", config) as server:
        assert server.client.get("/health").json()["simulated"] is False
        server.alerts()
        assert server.client.get("/api/v1/alerts", headers={"Authorization": ""}).status_code == 401
        (broker,) = family(server.process.pid)[1:]
        os.kill(broker, signal.SIGKILL)
        assert server.process.wait(60) == 1
        assert server.err.splitlines()[-1] == "gridwarden: the broker ended (status -9)"
        assert str(tmp_path / "data" / "keys" / "console.key") in server.out
        assert "Traceback" not in server.err
        for file in tmp_path.rglob("*"):
            if file.is_file() and file.name != "console.key":
                assert server.key.encode() not in file.read_bytes(), file


def test_an_agent_of_a_demonstration_that_dies_ends_the_process(tmp_path: Path) -> None:
    with demo(tmp_path, "server", "builtin") as server:
        # The agent is the younger one.
        _, _, agent = family(server.process.pid)
        os.kill(agent, signal.SIGKILL)
        assert server.process.wait(60) == 1
        assert "the simulated agent ended (status -9); see" in server.err.splitlines()[-1]


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
