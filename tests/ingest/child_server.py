"""A child process that takes messages from a broker into a log until it is killed:
`python -m tests.ingest.child_server FOLDER PORT`. Says "ready", then each group's size."""

import os
import sys
import time
from pathlib import Path

from ingest.acceptor import Acceptor
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from ingest.subscriber import BrokerAddress, Subscriber


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    log = SqliteLog(folder / "log")
    store = LedgerStore(folder / "ledger.db")
    quarantine = Quarantine(folder / "q.db")
    acceptor = Acceptor(
        log,
        store.load(log),
        quarantine,
        clock=lambda: time.time_ns() // 1_000_000,
        ledger_store=store,
    )
    subscriber = Subscriber(BrokerAddress(port=port), receive_maximum=50)
    subscriber.start()
    while not subscriber.connected:
        time.sleep(0.01)
    os.write(1, b"ready\n")
    while True:
        messages = subscriber.take(100, 200, 5)
        accepted = acceptor.accept(messages)
        os.write(1, f"{len(accepted.records)}\n".encode())
        subscriber.ack(messages)
        for topic, payload in accepted.answers:
            subscriber.publish(topic, payload)


if __name__ == "__main__":
    main()
