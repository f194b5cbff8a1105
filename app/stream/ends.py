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
        """Tries until a broker answers. Where one doesn't answer for a partition, that is left out:
        the others don't wait for it."""
        at = [TopicPartition(self._topic, number) for number in partitions]
        while True:
            try:
                found = await self._ask(at)
            except (KafkaError, OSError):
                found, errors = await self._ask_each(at)
                if errors and not found.next:
                    self.last_error = f"{type(errors[0]).__name__}: {errors[0]}"[:300]
                    await asyncio.sleep(TRY_S)
                    continue
            self.last_error, self.answered_s = "", time.monotonic()
            return found

    async def _ask(self, at: list[TopicPartition]) -> Ends:
        first = await self._consumer.beginning_offsets(at)
        following = await self._consumer.end_offsets(at)
        return Ends(
            {one.partition: int(first[one]) for one in at},
            {one.partition: int(following[one]) for one in at},
        )

    async def _ask_each(self, at: list[TopicPartition]) -> tuple[Ends, list[BaseException]]:
        found, errors = Ends(), []
        answers = await asyncio.gather(*(self._ask([one]) for one in at), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Ends):
                found.first |= answer.first
                found.next |= answer.next
            elif isinstance(answer, (KafkaError, OSError)):
                errors.append(answer)
            else:
                raise answer
        return found, errors


@asynccontextmanager
async def looker(settings: KafkaSettings, topic: str) -> AsyncIterator[Looker]:
    """Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **client_options(settings))
    await consumer.start()
    try:
        yield Looker(consumer, topic)
    finally:
        await consumer.stop()
