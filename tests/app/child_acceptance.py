"""A child process whose accepting half takes groups of packs and says what it promises:
`python -m tests.app.child_acceptance FOLDER GROUPS PACKS`.

Lines: "ack N" when a message is acknowledged to the broker, "confirm N .." when the gateway is
told that sequences are in the log.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from app.metrics import Metrics
from app.runners.acceptance import Acceptance, Timing
from contracts import pack, topics
from contracts.messages import Confirm
from ingest.acceptor import Acceptor
from ingest.ledger import Ledger
from ingest.log import SqliteLog
from ingest.message import Message
from ingest.quarantine import Quarantine
from tests.ingest.packs import pack_bytes

GATEWAY = "g1"


class Script:
    """An inlet that gives one group after another and says what is promised."""

    def __init__(self, groups: int, packs: int) -> None:
        self.ended = False
        seqs = range(1, groups * packs + 1)
        messages = [Message(topics.pack(GATEWAY), pack_bytes(seq), seq, 1) for seq in seqs]
        self._groups = [messages[at : at + packs] for at in range(0, len(messages), packs)]

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = 20) -> list[Message]:
        del max_messages, max_wait_ms, gather_ms
        if self._groups:
            return self._groups.pop(0)
        self.ended = True
        return []

    def ack(self, messages: Iterable[Message]) -> None:
        for message in messages:
            say("ack", [pack.peek(message.payload)[1]])

    def publish(self, topic: str, payload: bytes) -> None:
        if topic != topics.ack(GATEWAY):
            return
        (told,) = msgspec.json.decode(payload, type=Confirm).confirms
        ranges = [range(1, told.upto + 1), *(range(a, b + 1) for a, b in told.ranges)]
        say("confirm", [seq for one in ranges for seq in one])


def say(what: str, seqs: list[int]) -> None:
    os.write(1, f"{what} {' '.join(map(str, seqs))}\n".encode())


def main() -> None:
    folder, groups, packs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    quarantine = Quarantine(folder / "quarantine.db")
    log = SqliteLog(folder / "log")
    inlet = Script(groups, packs)

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    acceptance = Acceptance(
        inlet,
        Acceptor(log, Ledger(), quarantine, clock=now_ms),
        queue.Queue(),
        timing=Timing(0, 50),
        clock=now_ms,
        engine_due_ms=lambda _: None,
        on_full=lambda: None,
        metrics=Metrics(),
        log=structlog.get_logger("tests"),
    )
    acceptance.run(lambda: inlet.ended)
    log.close()
    quarantine.close()


if __name__ == "__main__":
    main()
