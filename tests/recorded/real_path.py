"""A recording on the real path: agent process, outbox, Mosquitto, server process, webhook."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.content import shipped_rules
from contracts import telemetry
from contracts.alerts import NOT_COMPARED, AlertEvent, encode_event
from edge.sources.recordings import open_recording
from tests.parts.mosquitto import Mosquitto
from tests.recorded.recordings import RULES
from tests.torture.processes import Part, Receiver, Server, gridwarden, until

DRAIN_S = 60.0


class Playing(Part):
    """`gridwarden edge run` that plays a recording as fast as it can and ends when the server has
    confirmed all of it. first_ms: where its first reading is moved to."""

    def __init__(
        self, folder: Path, gateway: str, recording: Path, broker_port: int, first_ms: int
    ) -> None:
        super().__init__(gateway, folder, "edge", "run", "--config", folder / f"{gateway}.agent")
        self.rejects = folder / f"{gateway}.rejects"
        first = datetime.fromtimestamp(first_ms // 1000, UTC).replace(
            microsecond=first_ms % 1000 * 1000
        )
        (folder / f"{gateway}.agent").write_text(
            f"""[agent]
gateway = "{gateway}"
stop_at_end = true
[broker]
host = "127.0.0.1"
port = {broker_port}
[outbox]
path = "{folder / gateway}.db"
[source]
kind = "replay"
recordings = ["{recording}"]
speed = 0
rebase = "{first.isoformat(timespec="milliseconds")}"
rejects_file = "{self.rejects}"
""",
            encoding="utf-8",
        )

    def ended(self) -> bool:
        if self.status is not None and self.status != 0:
            self.fail_if_ended()
        return self.status == 0


@dataclass(frozen=True)
class Rig:
    """All up, with the shipped rules and those of the recordings."""

    folder: Path
    broker: Mosquitto
    receiver: Receiver
    server: Server

    def play(self, gateway: str, recording: Path, span_ms: int) -> int:
        """Play a recording so that its last reading is now; gives where the first one went."""
        first_ms = time.time_ns() // 1_000_000 - span_ms
        agent = Playing(self.folder, gateway, recording, self.broker.port, first_ms)
        try:
            agent.start()
            until(agent.ended, DRAIN_S, f"{gateway} has played its recording")
        finally:
            agent.discard()
        assert not agent.rejects.exists() or not agent.rejects.read_bytes()
        return first_ms

    def finish(self) -> Told:
        """Wait until everything is decided and delivered, and stop the server. What was told."""
        until(self.server.drained, DRAIN_S, "all is delivered")
        assert self.server.stop() == 0
        return Told(self.server.data, self.receiver)


class Told:
    """What a run that is over has told: events, each as its bytes of comparison."""

    def __init__(self, data: Path, receiver: Receiver) -> None:
        self._data = data
        lines = receiver.out.read_bytes().splitlines() if receiver.out.exists() else []
        self.events: list[dict[str, Any]] = [json.loads(line)["event"] for line in lines]
        """As the webhook got them, in order of arrival."""

    def received(self) -> list[bytes]:
        return sorted(_compared(msgspec.convert(event, AlertEvent)) for event in self.events)

    def stored(self) -> list[bytes]:
        """What the dispatch store keeps."""
        with closing(sqlite3.connect(self._data / "dispatch.db")) as db:
            bodies = [bytes(row[0]) for row in db.execute("SELECT body FROM events")]
        return sorted(map(_parsed, bodies))

    def replayed(self, folder: Path) -> tuple[list[bytes], dict[str, Any]]:
        """What `replay` makes of the dumped log: its events, and its summary."""
        dump, out = folder / "log.dump", folder / "replayed.jsonl"
        gridwarden("log", "dump", "--data", self._data, "--out", dump)
        said = gridwarden("replay", "--input", dump, "--out", out, "--json")
        return sorted(map(_parsed, out.read_bytes().splitlines())), json.loads(said)


def _parsed(body: bytes) -> bytes:
    event = msgspec.json.decode(body, type=AlertEvent)
    assert encode_event(event) == body  # So nothing gets lost by parsing.
    return _compared(event)


def _compared(event: AlertEvent) -> bytes:
    """The bytes that two runs must share."""
    return encode_event(msgspec.structs.replace(event, **dict.fromkeys(NOT_COMPARED, "")))


@contextmanager
def rig(folder: Path, registry: Path, *, idle_ms: int = 3_000) -> Iterator[Rig]:
    """Start broker, receiver and server. Ready when time has begun for the registered gateways."""
    rules = folder / "rules"
    rules.mkdir()
    for path in (*shipped_rules().glob("*.yml"), *RULES.glob("*.yml")):
        shutil.copy(path, rules / path.name)
    receiver = Receiver(folder / "receiver")
    with Mosquitto(folder / "broker", lasting=False) as broker:
        server = Server(
            folder / "server",
            broker_port=broker.port,
            registry=registry,
            rules=rules,
            receiver=receiver,
            engine=f"idle_ms = {idle_ms}",
        )
        try:
            receiver.start()
            receiver.up()
            server.start()
            server.up()
            until(lambda: _marked(server), 30, "the first time mark")
            yield Rig(folder, broker, receiver, server)
        finally:
            server.discard()
            receiver.discard()


INSTALLED_RECORDS = 5
"""Of the log's first records: the rule set, settings, the registry and two models."""


def _marked(server: Server) -> bool:
    return int(server.health()["position"]) > INSTALLED_RECORDS


def cut_off(mapping: Path, folder: Path, last_ms: int) -> Path:
    """The recording of a mapping up to `last_ms` from its first reading, as native lines."""
    path = folder / f"{mapping.stem}-cut.jsonl"
    first = None
    with path.open("wb") as out:
        for chunk in open_recording(mapping).chunks(0, _fail):
            batch = chunk.batch
            if not len(batch):
                continue
            first = int(batch.ts_ms[0]) if first is None else first
            inside = (batch.ts_ms <= first + last_ms).nonzero()[0]
            out.write(telemetry.encode_messages(batch.take(inside)))
    return path


def _fail(refusal: object) -> None:
    raise AssertionError(f"refused: {refusal}")
