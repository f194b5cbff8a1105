"""`bench mqtt`: broker to committed log, without engine and stores: what taking a message costs.

The parts are those of the server (`ingest.subscriber`, `ingest.acceptor`, `ingest.log` with
`synchronous=FULL`), in this process; the sender is another process that is not the limit: it has
as many messages under way as keep everybody busy, and waits for the log after that. Without that
bound it outruns the log, and the broker's queue grows until it is full.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from app import broker as brokers
from app.bench.decode import ROWS, START_MS, sample_batch
from app.bench.document import document
from app.bench.wire import WireSender
from contracts import pack, topics
from contracts.telemetry import encode_messages
from ingest.acceptor import Acceptor
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from ingest.subscriber import BrokerAddress, Subscriber

GROUP = 400
GATHER_MS = 10
SILENCE_S = 20.0
"""Nothing has come for so long: something broke."""
UNDER_WAY = {"packs": 5_000, "singles": 20_000}
"""Messages sent and not in the log: some 40 MB of packs, far below the 256 MB that the broker
queues, and far more than a group commit takes."""


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    seconds = 6.0 if quick else 20.0
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="gridwarden-bench-") as name:
        broker = brokers.start("auto", 0, Path(name) / "broker")
        try:
            for kind in ("packs", "singles"):
                figures |= _measure(kind, broker, Path(name) / kind, seconds, seed)
        finally:
            broker.stop()
    settings = {"seconds": seconds, "broker": broker.kind, "pack_readings": ROWS, "quick": quick}
    return document("mqtt", figures, seed=seed, settings=settings)


def _measure(
    kind: str, broker: brokers.Broker, folder: Path, seconds: float, seed: int
) -> dict[str, float]:
    """Messages that are in the log, over wall and CPU time of this process."""
    folder.mkdir()
    log = SqliteLog(folder / "log")
    store = LedgerStore(folder / "ledger.db")
    quarantine = Quarantine(folder / "quarantine.db")
    acceptor = Acceptor(log, store.load(log), quarantine, clock=lambda: time.time_ns() // 1_000_000)
    subscriber = Subscriber(BrokerAddress(broker.host, broker.port), client_id=f"bench-{kind}")
    subscriber.start()
    while not subscriber.connected:
        time.sleep(0.01)
    done = Progress(folder / "progress")
    sender = _start_sender(kind, broker.port, seconds, seed, folder / "progress")
    start = first = last = time.monotonic()
    cpu_s, sent = time.process_time(), None
    try:
        while sent is None or log.last_position < sent.messages:
            messages = subscriber.take(GROUP, 50, GATHER_MS)
            if messages:
                acceptor.accept(messages)
                subscriber.ack(messages)
                last = time.monotonic()
                first = last if first == start else first
                done.count = log.last_position
            elif time.monotonic() - last > SILENCE_S:
                raise RuntimeError(f"nothing for {SILENCE_S:.0f} s, {log.last_position} in the log")
            if sent is None and sender.poll() is not None:
                sent = _told(sender)
        cpu_s = time.process_time() - cpu_s
        records = log.last_position
        refused = sum(acceptor.counts.refused.values())
    finally:
        if sender.poll() is None:
            sender.kill()
        sender.wait()
        subscriber.stop()
        quarantine.close()
        store.close()
        log.close()
    if refused:
        raise RuntimeError(f"{refused} messages were refused")
    per_s = records / (last - first)
    if kind == "packs":
        return {
            "packs_per_s": per_s,
            "readings_per_s": per_s * ROWS,
            "readings_per_cpu_s": records * ROWS / cpu_s,
            "pack_cpu_us": cpu_s / records * 1e6,
            "pack_sender_waited": sent.waited_s / seconds,
        }
    return {
        "messages_per_s": per_s,
        "message_cpu_us": cpu_s / records * 1e6,
        "message_sender_waited": sent.waited_s / seconds,
    }


class Progress:
    """A count that one process writes and another reads: 8 bytes of a mapped file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        self._cell = np.memmap(path, np.int64, "r+", shape=1)

    @property
    def count(self) -> int:
        return int(self._cell[0])

    @count.setter
    def count(self, number: int) -> None:
        self._cell[0] = number


@dataclass(slots=True)
class Sent:
    """What the sender did. waited_s: for the log, so it was not the limit."""

    messages: int = 0
    waited_s: float = 0.0

    def paced(
        self, messages: Iterator[tuple[bytes, bytes]], done: Progress, most: int, until_s: float
    ) -> Iterator[tuple[bytes, bytes]]:
        """As many messages as may be under way, until the monotonic time `until_s`."""
        for message in messages:
            began = time.monotonic()
            while self.messages - done.count >= most and time.monotonic() < until_s:
                time.sleep(0.001)
            self.waited_s += time.monotonic() - began
            if time.monotonic() >= until_s:
                return
            self.messages += 1
            yield message


def _told(sender: subprocess.Popen[bytes]) -> Sent:
    out, _ = sender.communicate()
    if sender.returncode:
        raise RuntimeError(f"the sender ended with status {sender.returncode}")
    told: dict[str, Any] = json.loads(out)
    return Sent(**told)


def _start_sender(
    kind: str, port: int, seconds: float, seed: int, progress: Path
) -> subprocess.Popen[bytes]:
    program = (
        "import sys; from app.bench.mqtt import send; "
        "send(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, kind, str(port), str(seconds), str(seed), str(progress)],
        stdout=subprocess.PIPE,
    )


def send(kind: str, port: int, seconds: float, seed: int, progress: str) -> None:
    """What the sending process does; says what it did as JSON."""
    sender = WireSender("127.0.0.1", port, f"bench-send-{kind}")
    messages = _packs(seed) if kind == "packs" else _singles(seed)
    until_s = time.monotonic() + seconds
    sent, done = Sent(), Progress(Path(progress))
    # It ends by itself: a last part that isn't sent would never come.
    sender.send_all(sent.paced(messages, done, UNDER_WAY[kind], until_s), math.inf)
    sender.settle(60)
    sender.close()
    print(json.dumps(asdict(sent)))


def _packs(seed: int) -> Iterator[tuple[bytes, bytes]]:
    batch = sample_batch(seed)
    topic = topics.pack("gw-00").encode()
    for seq in itertools.count(1):
        header = pack.PackHeader("gw-00", 1 << 32, seq, START_MS + seq, seq)
        yield topic, pack.encode(pack.Pack(header, batch))


def _singles(seed: int) -> Iterator[tuple[bytes, bytes]]:
    lines = encode_messages(sample_batch(seed)).splitlines()
    topic = topics.foreign("340199001001001", "efire", "dev-00-00000").encode()
    return ((topic, line) for line in itertools.cycle(lines))
