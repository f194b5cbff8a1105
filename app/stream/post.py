"""Records into Kafka, and back only when it has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from app.stream.outlet import Outlet, Parcel

Record = tuple[str, int, bytes | None, bytes | None]
"""(topic, partition, key, value)."""


class Post(Protocol):
    """Where records for Kafka go: waits until Kafka has all of them."""

    def send(self, records: Sequence[Record]) -> Coroutine[Any, Any, None]:
        """In order in each partition."""


class OutletPost:
    """Waits for as long as Kafka is away: nothing is given up."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def send(self, records: Sequence[Record]) -> None:
        left = len(records)
        if not left:
            return
        all_there = asyncio.Event()

        def one_there() -> None:
            nonlocal left
            left -= 1
            if not left:
                all_there.set()

        done: Callable[[], None] = one_there
        for topic, partition, key, value in records:
            self._outlet.put(Parcel(topic, partition, key or b"", value, done))
        await all_there.wait()
