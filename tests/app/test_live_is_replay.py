"""What a live run sent, and what its dumped log gives in a replay, are the same bytes.

The run has everything that could make them differ: two gateways through a real broker, readings
from before the server's time, a server that is killed in the middle and reads on, people who
acknowledge and reset, and a webhook that gets what the platform would.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.alerts import NOT_COMPARED, AlertEvent, encode_event
from dispatch.receiver import Receiver
from edge.sources.simulate import write_registry
from edge.sources.simulate.district import DEMO_RATES, District
from edge.sources.simulate.layout import Size
from tests.app.running import Child, Server, gridwarden, until
from tests.parts.mosquitto import Mosquitto

pytestmark = pytest.mark.broker

SECRET = bytes(range(32))
SEED = 7
PAST_S = 240


@dataclass(frozen=True)
class Run:
    """What is left of a live run. stored: the events of the store, in order, as bytes."""

    folder: Path
    stored: list[bytes]
    undelivered: set[str]
    received: list[dict[str, Any]]
    acknowledged: str
    reset: str


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("live")
    receiver = Receiver([SECRET], folder / "received.jsonl")
    receiver.start()
    try:
        with Mosquitto(folder / "broker") as broker:
            yield _run(folder, broker, receiver)
    finally:
        receiver.close()


def _run(folder: Path, broker: Mosquitto, receiver: Receiver) -> Run:
    data = folder / "data"
    config = _configure(folder, broker, receiver)
    with (
        Server(folder, "first", data, "--config", config) as first,
        Child(folder, "agent", "edge", "run", "--config", folder / "agent.toml") as agent,
    ):
        until(lambda: _changes(first, "cleared"), "alerts of the past that ended")
        first.kill()
        with Server(folder, "second", data, "--config", config) as second:
            late, now = until(lambda: _late_and_live(second), "alerts of the past and of now")
            acknowledged, reset = now["alert"], late["alert"]
            second.order(acknowledged, "acknowledge")
            second.order(reset, "reset")
            until(lambda: _has_event(second, acknowledged, "acknowledged"), "acknowledged")
            until(lambda: _has_event(second, reset, "reset"), "reset")
            assert agent.stop() == 0, agent.err
            until(lambda: _waiting(second) == 0, "everything delivered")
            assert second.stop() == 0, second.err
    events, undelivered = _stored(data)
    received = [json.loads(line)["event"] for line in _lines(folder / "received.jsonl")]
    return Run(folder, events, undelivered, received, acknowledged, reset)


def configure_agent(folder: Path, broker: Mosquitto) -> None:
    """A registry, and an agent of two gateways that begin some minutes ago."""
    rates = replace(DEMO_RATES, incidents=3600.0, near_misses=600.0, sensor_faults=200.0)
    write_registry(folder / "registry", District(SEED, Size(2, 90, 3), rates))
    start = datetime.now(UTC) - timedelta(seconds=PAST_S)  # noqa: TID251
    (folder / "agent.toml").write_text(
        f"""
        [agent]
        gateways = ["gw-01", "gw-02"]
        [broker]
        host = "127.0.0.1"
        port = {broker.port}
        [outbox]
        path = "outbox.db"
        [source]
        kind = "simulate"
        profile = "demo"
        seed = {SEED}
        gateways = 2
        devices = 90
        grids = 3
        start = "{start.isoformat()}"
        speed = 200.0
        incidents_per_hour = {rates.incidents}
        near_misses_per_hour = {rates.near_misses}
        sensor_faults_per_hour = {rates.sensor_faults}
        """
    )


def _configure(folder: Path, broker: Mosquitto, receiver: Receiver) -> Path:
    configure_agent(folder, broker)
    (folder / "secret").write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    config = folder / "gridwarden.toml"
    config.write_text(
        f"""
        data = "data"
        registry = "registry"
        [mqtt]
        broker = "external"
        port = {broker.port}
        [http]
        port = 0
        [engine]
        slack_ms = 1700
        idle_ms = 1500
        snapshot_every_s = 1
        [[webhook]]
        name = "platform"
        url = "{receiver.url}"
        secret_file = "secret"
        """
    )
    return config


def _late_and_live(server: Server) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """An open alert from before the server's time, and one that was heard as it happened."""
    alerts = [alert for alert in server.alerts() if alert["state"] != "cleared"]
    late = [alert for alert in alerts if alert["event"]["data"]["timing"]["late"]]
    now = [alert for alert in alerts if not alert["event"]["data"]["timing"]["late"]]
    return (late[0], now[0]) if late and now else None


def _changes(server: Server, state: str) -> list[dict[str, Any]]:
    return [alert for alert in server.alerts() if alert["state"] == state]


def _has_event(server: Server, alert: str, change: str) -> bool:
    events = server.get(f"/api/v1/alerts/{alert}")["events"]
    return any(event["data"]["change"] == change for event in events)


def _waiting(server: Server) -> int:
    return sum(receiver["waiting"] for receiver in server.get("/api/v1/receivers")["receivers"])


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _stored(data: Path) -> tuple[list[bytes], set[str]]:
    with closing(sqlite3.connect(data / "dispatch.db")) as db:
        events = db.execute("SELECT body FROM events WHERE kind = 'event' ORDER BY seq").fetchall()
        open_ = db.execute(
            "SELECT e.id FROM deliveries d JOIN events e USING (seq)"
            " WHERE d.receiver = 'platform' AND d.state <> 'done'"
        ).fetchall()
    return [body for (body,) in events], {event for (event,) in open_}


def comparable(event: bytes | dict[str, Any]) -> bytes:
    """The event's bytes without what comparisons leave out."""
    found = msgspec.convert(json.loads(event) if isinstance(event, bytes) else event, AlertEvent)
    return encode_event(msgspec.structs.replace(found, **dict.fromkeys(NOT_COMPARED, "")))


def by_alert(events: Iterable[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for event in events:
        found[json.loads(event)["subject"]].append(event)
    return found


@pytest.fixture(scope="module")
def replayed(live: Run) -> list[bytes]:
    """The events of the dumped log, without rules and registry: the dump brings them."""
    dumped = gridwarden("log", "dump", "--data", live.folder / "data", "--out", live.folder / "d")
    assert dumped.returncode == 0, dumped.stderr
    out = live.folder / "replayed.jsonl"
    told = gridwarden("replay", "--input", live.folder / "d", "--out", out, "--json")
    assert told.returncode == 0, told.stderr
    lines = _lines(out)
    assert json.loads(told.stdout)["events"] == len(lines)
    return lines


def test_the_run_had_something_to_show(live: Run) -> None:
    changes = {json.loads(event)["data"]["change"] for event in live.stored}
    assert changes >= {"raised", "cleared", "acknowledged", "reset"}
    assert {json.loads(event)["data"]["timing"]["late"] for event in live.stored} == {True, False}
    assert len(live.stored) >= 10


def test_replay_gives_the_bytes_of_the_store(live: Run, replayed: list[bytes]) -> None:
    stored = [comparable(event) for event in live.stored]
    assert [comparable(event) for event in replayed] == replayed
    assert set(stored) == set(replayed)
    assert len(stored) == len(replayed)
    assert by_alert(stored) == by_alert(replayed)


def test_the_webhook_got_these_bytes_in_this_order(live: Run, replayed: list[bytes]) -> None:
    told = {event: json.loads(event) for event in replayed}
    owed = [
        event
        for event, said in told.items()
        if said["data"]["delivery"]["state"] == "deliver" and said["id"] not in live.undelivered
    ]
    received = [
        comparable(event) for event in live.received if event["data"]["change"] != "reminder"
    ]
    assert set(received) == set(owed)
    assert by_alert(received) == by_alert(owed)


def test_an_alert_of_the_run_is_explained(live: Run) -> None:
    told = gridwarden("explain", live.reset, "--data", live.folder / "data")
    assert told.returncode == 0, told.stderr
    assert live.reset in told.stdout
    assert "reset" in told.stdout
