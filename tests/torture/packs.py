"""Packs made by hand and sent through the broker, as an agent of any honesty could."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from app.bench.wire import WireSender
from contracts import topics
from contracts.batch import Flag, ReadingBatch
from contracts.pack import Pack, PackHeader, encode

Row = tuple[str, str, str, int, float, int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """Numbers its packs. wall_ms: what its clock says when it sends; None = the truth."""

    def __init__(self, name: str, *, boot: int = 1) -> None:
        self.name, self.boot, self.seq = name, boot << 32 | 7, 0

    def pack(self, rows: Iterable[Row], *, wall_ms: int | None = None) -> tuple[bytes, bytes]:
        """(topic, payload) of the next pack."""
        self.seq += 1
        batch = ReadingBatch.of(rows)
        alarm = bool((batch.flags & Flag.ALARM).any())
        header = PackHeader(
            gateway=self.name,
            boot=self.boot,
            seq=self.seq,
            wall_ms=now_ms() if wall_ms is None else wall_ms,
            mono_ms=time.monotonic_ns() // 1_000_000,
            alarm=alarm,
        )
        return topics.pack(self.name).encode(), encode(Pack(header, batch))


def fire(device: str, ts_ms: int) -> Row:
    return (device, "smoke", "fire", ts_ms, 1.0, int(Flag.ALARM))


def send(port: int, messages: Sequence[tuple[bytes, bytes]], client: str = "by-hand") -> None:
    """Publish and wait for the broker's acknowledgements."""
    sender = WireSender("127.0.0.1", port, client)
    sender.send_all(iter(messages), time.monotonic() + 600)
    sender.settle(60)
    sender.close()
