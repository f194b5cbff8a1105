"""`bench mqtt`: broker to committed log, without engine and stores: what taking a message costs.

The parts are those of the server (`ingest.subscriber`, `ingest.acceptor`, `ingest.log` with
`synchronous=FULL`), in this process; the sender is another process that is not the limit.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
DRAIN_S = 2.0


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
    sender = _start_sender(kind, broker.port, seconds, seed)
    first, last, cpu_s = time.monotonic(), 0.0, time.process_time()
    try:
        while sender.poll() is None or time.monotonic() - last < DRAIN_S:
            messages = subscriber.take(GROUP, 50, GATHER_MS)
            if messages:
                acceptor.accept(messages)
                subscriber.ack(messages)
                if not last:
                    first = time.monotonic()
                last = time.monotonic()
        cpu_s = time.process_time() - cpu_s
        records = log.last_position
        refused = sum(acceptor.counts.refused.values())
    finally:
        subscriber.stop()
        quarantine.close()
        store.close()
        log.close()
    if refused or sender.returncode:
        raise RuntimeError(f"{refused} refused, sender status {sender.returncode}")
    per_s = records / (last - first)
    if kind == "packs":
        return {
            "packs_per_s": per_s,
            "readings_per_s": per_s * ROWS,
            "readings_per_cpu_s": records * ROWS / cpu_s,
            "pack_cpu_us": cpu_s / records * 1e6,
        }
    return {"messages_per_s": per_s, "message_cpu_us": cpu_s / records * 1e6}


def _start_sender(kind: str, port: int, seconds: float, seed: int) -> subprocess.Popen[bytes]:
    program = (
        "import sys; from app.bench.mqtt import send; "
        "send(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, kind, str(port), str(seconds), str(seed)]
    )


def send(kind: str, port: int, seconds: float, seed: int) -> None:
    """What the sending process does."""
    sender = WireSender("127.0.0.1", port, f"bench-send-{kind}")
    messages = _packs(seed) if kind == "packs" else _singles(seed)
    sender.send_all(messages, time.monotonic() + seconds)
    sender.settle(60)
    sender.close()


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
