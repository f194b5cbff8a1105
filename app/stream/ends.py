"""Where partitions of a topic begin and end now, and whether anybody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.stream.client import client_options
from app.stream.settings import KafkaSettings

TRY_S = 1.0


@dataclass(slots=True)
class Ends:
    """first, next: offset of the oldest record and of the one to come, by partition."""

    first: dict[int, int] = field(default_factory=dict)
    next: dict[int, int] = field(default_factory=dict)


class Looker:
    """last_error: "" while a broker answers; answered_s: monotonic, when one did last."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self.last_error = ""
        self.answered_s = time.monotonic()

    async def look(self, partitions: Iterable[int]) -> Ends:
        """Tries until a broker answers."""
        at = [TopicPartition(self._topic, number) for number in partitions]
        while True:
            try:
                first = await self._consumer.beginning_offsets(at)
                following = await self._consumer.end_offsets(at)
            except (KafkaError, OSError) as error:
                self.last_error = f"{type(error).__name__}: {error}"[:300]
                await asyncio.sleep(TRY_S)
                continue
            self.last_error, self.answered_s = "", time.monotonic()
            return Ends(
                {one.partition: int(first[one]) for one in at},
                {one.partition: int(following[one]) for one in at},
            )


@asynccontextmanager
async def looker(settings: KafkaSettings, topic: str) -> AsyncIterator[Looker]:
    """Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **client_options(settings))
    await consumer.start()
    try:
        yield Looker(consumer, topic)
    finally:
        await consumer.stop()
