"""The whole agent over a real broker: confirmed is forgotten, everything else goes again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from contracts import topics
from contracts.pack import Evicted
from edge.agent import Agent
from edge.settings import load
from tests.parts.mosquitto import Mosquitto
from tests.parts.tiny_ingest import TinyIngest, until
from tests.parts.tools import ROOT

T0 = 1_767_225_600_000
pytestmark = pytest.mark.broker


def recording(folder: Path, rows: int, *, alarm_at: int = -1) -> Path:
    path = folder / "rows.jsonl"
    with path.open("w") as file:
        for n in range(rows):
            line = {"deviceId": "fw-1", "family": "firewater", "ts": T0 + n, "metrics": {"flow": n}}
            if n == alarm_at:
                line["alarm"] = True
            file.write(json.dumps(line) + "\n")
    return path


def config(folder: Path, port: int, *, rows: int, **tables: str) -> Path:
    """A configuration with small packs and quick retries; tables: extra lines of one table."""
    extra = {"agent": "", "broker": "", "outbox": "", "pack": "", "window": "", "source": ""}
    extra.update(tables)
    if "kind" not in extra["source"]:
        path = folder / "rows.jsonl"
        if not path.exists():
            recording(folder, rows)
        extra["source"] = f'kind = "replay"\nspeed = 0\nrecordings = ["{path}"]\n'
    text = f"""
[agent]
gateway = "gw"
heartbeat_ms = 200
{extra["agent"]}
[broker]
host = "127.0.0.1"
port = {port}
reconnect_ms = 50
reconnect_most_ms = 200
{extra["broker"]}
[outbox]
path = "{folder}/box/outbox.db"
ballast_mib = 0
free_mib = 0
commit_ms = 5
{extra["outbox"]}
[pack]
rows = 10
{extra["pack"]}
[window]
resend_ms = 150
{extra["window"]}
[source]
{extra["source"]}
"""
    path = folder / "agent.toml"
    path.write_text(text)
    return path


@contextmanager
def running(path: Path) -> Iterator[Agent]:
    agent = Agent(load(path))
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()


def test_every_reading_arrives_once_and_the_outbox_is_empty(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = config(tmp_path, mosquitto.port, rows=1000)
    with TinyIngest(mosquitto.port) as ingest, running(path) as agent:
        until(lambda: agent.is_drained, "drained")
        assert sorted(ingest.values()) == list(range(1000))
        assert agent.report().accepted_readings == 1000


def test_what_is_not_confirmed_goes_again_and_stays_held(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    def accept(_: str, __: int, seq: int, times: int) -> bool:
        return seq % 3 != 0 or times > 2

    path = config(tmp_path, mosquitto.port, rows=300)
    with TinyIngest(mosquitto.port, accept) as ingest, running(path) as agent:
        until(lambda: agent.is_drained, "drained")
        assert sorted(ingest.values()) == list(range(300))
        assert all(ingest.times["gw", agent.outbox.boot, seq] > 2 for seq in range(3, 31, 3))


def test_without_any_confirm_nothing_is_forgotten(mosquitto: Mosquitto, tmp_path: Path) -> None:
    path = config(tmp_path, mosquitto.port, rows=300, window="packs = 8")
    with TinyIngest(mosquitto.port, lambda *_: False) as ingest, running(path) as agent:
        until(lambda: agent.report().resent_packs > 30, "sent again")
        assert agent.report().unconfirmed_packs == 8
        assert {seq for _, seq in ingest.unique()} == set(range(1, 9))
    with TinyIngest(mosquitto.port) as ingest, running(path) as agent:
        until(lambda: agent.is_drained, "drained by the next life")
        assert sorted(ingest.values()) == list(range(300))


def test_a_broker_killed_and_restarted_costs_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    path = config(tmp_path, mosquitto.port, rows=4000)
    with TinyIngest(mosquitto.port) as ingest, running(path) as agent:
        for life in range(1, 4):
            until(lambda at=life: len(ingest.unique()) > at * 30, "some packs")
            mosquitto.kill()
            mosquitto.start()
        until(lambda: agent.is_drained, "drained")
        assert sorted(ingest.values()) == list(range(4000))
        births = ingest.seen("birth")
        assert len({birth.connection for birth in births}) > 1


def test_kill_9_of_the_agent_repeats_and_loses_no_row(mosquitto: Mosquitto, tmp_path: Path) -> None:
    rows = recording(tmp_path, 4000)
    path = config(
        tmp_path,
        mosquitto.port,
        rows=4000,
        agent="stop_at_end = true",
        # Slow enough that every life still has rows to read.
        source=f'kind = "replay"\nspeed = 2\nrecordings = ["{rows}"]\n',
    )
    command = [sys.executable, "-m", "app.cli.edge", "run", "--config", str(path)]
    with TinyIngest(mosquitto.port) as ingest:
        for life in range(1, 4):
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as child:
                until(lambda at=life: len(ingest.unique()) > at * 40, "some packs")
                child.send_signal(signal.SIGKILL)
                child.communicate()
        until(lambda: len(ingest.seen("offline")) > 0, "the last will")
        last = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, timeout=60, check=False)
        assert last.returncode == 0, last.stderr
        # Every row under exactly one (boot, seq): the source went on where the outbox ended.
        assert sorted(ingest.values()) == list(range(4000))
        assert len({boot for boot, _ in ingest.unique()}) > 1


def test_the_will_names_its_connection_and_goodbye_too(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = config(tmp_path, mosquitto.port, rows=20)
    command = [sys.executable, "-m", "app.cli.edge", "run", "--config", str(path)]
    with TinyIngest(mosquitto.port) as ingest:
        for how in (signal.SIGKILL, signal.SIGTERM):
            before = len(ingest.seen("offline"))
            births = len(ingest.seen("birth"))
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as child:
                until(lambda at=births: len(ingest.seen("birth")) > at, "birth")
                child.send_signal(how)
                child.communicate()
            until(lambda at=before: len(ingest.seen("offline")) > at, "offline")
            offline, birth = ingest.seen("offline")[-1], ingest.seen("birth")[-1]
            assert (offline.boot, offline.connection) == (birth.boot, birth.connection)
            assert birth.mono_ms > 0
            assert birth.wall_ms > T0
        assert child.returncode == 0


def test_statuses_tell_what_is_held(mosquitto: Mosquitto, tmp_path: Path) -> None:
    path = config(tmp_path, mosquitto.port, rows=100)
    with TinyIngest(mosquitto.port, lambda _, __, seq, ___: seq != 4) as ingest:
        with running(path) as agent:
            until(lambda: agent.report().confirmed_packs == 9, "confirmed all but one")
            seen = len(ingest.seen("heartbeat"))
            until(lambda: len(ingest.seen("heartbeat")) > seen + 1, "heartbeats")
            held = ingest.seen("heartbeat")[-1].boots[-1]
            assert (held.oldest, held.next) == (4, 11)
        with running(path) as agent:
            until(lambda: len(ingest.seen("birth")) > 1, "birth")
            old, new = ingest.seen("birth")[-1].boots[-2:]
            assert (old.boot, old.oldest, old.next) == (held.boot, 4, 11)
            assert (new.oldest, new.next) == (1, 1)


def test_asked_for_packs_come_again_or_a_tombstone_does(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = config(tmp_path, mosquitto.port, rows=60, window="resend_ms = 60000")
    path.write_text(path.read_text().replace("resend_ms = 150\n", ""))
    with (
        TinyIngest(mosquitto.port, lambda _, __, seq, ___: seq not in (2, 5)) as ingest,
        running(path) as agent,
    ):
        until(lambda: agent.report().confirmed_packs == 4, "confirmed all but two")
        boot = agent.outbox.boot
        ingest.ask("gw", boot, (1, 2))
        until(lambda: ingest.times["gw", boot, 2] == 2, "the held pack again")
        until(lambda: (boot, 7) in ingest.unique(), "the tombstone")
        tombstone = ingest.unique()[boot, 7]
        assert tombstone.header.tombstone
        assert tombstone.evicted == (Evicted(boot, 1, 1, 0, 0, 0),)
        assert ingest.times["gw", boot, 5] == 1


def test_an_alarm_does_not_wait_for_bulk_data(mosquitto: Mosquitto, tmp_path: Path) -> None:
    recording(tmp_path, 400, alarm_at=399)
    path = config(tmp_path, mosquitto.port, rows=400, window="packs = 4\nresend_most_ms = 60000")
    with TinyIngest(mosquitto.port, lambda *_: False) as ingest, running(path):
        until(lambda: any(p.header.alarm for p in ingest.unique().values()), "the alarm")
        assert len(ingest.unique()) <= 5


def test_nonsense_on_its_topics_is_survived(mosquitto: Mosquitto, tmp_path: Path) -> None:
    path = config(tmp_path, mosquitto.port, rows=100)
    payloads = (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"confirms":[{"boot":"x","upto":1}]}',
        b'{"confirms":[{"boot":"ffffffffffffffff","upto":1}]}',
        b'{"type":"resend","boot":"ffffffffffffffff","ranges":[[0,9000000000000000000]]}',
        b'{"type":"resend","boot":"00000000000000ff","ranges":[[9,1],[0,9000000000000000000]]}',
    )
    with (
        TinyIngest(mosquitto.port, lambda _, __, ___, times: times > 1) as ingest,
        running(path) as agent,
    ):
        until(lambda: agent.is_connected, "connected")
        for payload in payloads:
            ingest.say(topics.ack("gw"), payload)
            ingest.say(topics.cmd("gw"), payload)
        until(lambda: agent.is_drained, "drained")
        assert sorted(ingest.values()) == list(range(100))


def test_several_gateways_share_one_process_and_connection(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = config(
        tmp_path, mosquitto.port, rows=0, agent="gateways = 3", broker="connections = 1",
        source='kind = "simulate"\n',
    )  # fmt: skip
    names = ("gw-01", "gw-02", "gw-03")
    with TinyIngest(mosquitto.port) as ingest, running(path) as agent:
        until(lambda: all(ingest.unique(name) for name in names), "packs of each")
        assert agent.report().connections == 1
    for name in names:
        until(lambda n=name: bool(ingest.seen("birth", n)), f"birth of {name}")
        until(lambda n=name: bool(ingest.seen("offline", n)), f"goodbye of {name}")


def interrupted_at(body: Callable[[], None], handler: Callable[[], None], line: int) -> bool:
    """Run `body` in a thread and call `handler` in its midst, as a signal would, before the
    line-th line that it executes; whether `body` came to its end."""
    left = line

    def trace(_frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                handler()
        return trace

    def run() -> None:
        sys.settrace(trace)
        body()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    return not thread.is_alive()


def test_a_signal_ends_the_wait_wherever_it_interrupts_it(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    # Among these lines are those in which threading.Event.wait holds the event's lock.
    path = config(tmp_path, mosquitto.port, rows=1)
    for line in range(1, 30):
        with running(path) as agent:
            assert interrupted_at(agent.wait, agent.ask_to_stop, line), f"stuck at line {line}"
