"""Reading topics to their end and on: what everybody must know, and what one of us is to do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app.stream.client import client_options, goodbye
from app.stream.ranges import range_reader
from app.stream.settings import KafkaSettings

Take = Callable[[ConsumerRecord], None]

POLL_MS = 500
BACKOFF_S = (0.2, 10.0)

ALL_OF_IT: dict[str, Any] = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
"""Options of a consumer that assigns and seeks for itself."""


async def keep_reading(
    settings: KafkaSettings,
    follow: Callable[[AIOKafkaConsumer], Awaitable[None]],
    failed: Callable[[str], None],
    *topics: str,
    **options: Any,
) -> None:
    """Without end: `follow` a started consumer, and a new one after each failure, later each time.

    failed: gets what went wrong with Kafka, one line. What else `follow` raises is raised.
    """
    pause_s = BACKOFF_S[0]
    while True:
        consumer = AIOKafkaConsumer(*topics, **options, **client_options(settings))
        try:
            await consumer.start()
            pause_s = BACKOFF_S[0]
            await follow(consumer)
        except (KafkaError, OSError) as error:
            failed(f"{type(error).__name__}: {error}"[:300])
        finally:
            await goodbye(consumer.stop())
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        pause_s = min(pause_s * 2, BACKOFF_S[1])


class Tail:
    """One partition from its beginning on, by everybody alone. caught_up: set once all that stood
    in it at the start of reading has been taken."""

    def __init__(self, settings: KafkaSettings, topic: str, take: Take) -> None:
        self._settings, self._at, self._take = settings, TopicPartition(topic, 0), take
        self._next = 0
        self.caught_up = asyncio.Event()
        self.last_error = ""

    async def run(self) -> None:
        """Without end. A new connection reads on: what is old must not count once more."""

        def failed(why: str) -> None:
            self.last_error = why

        await keep_reading(self._settings, self._follow, failed, **ALL_OF_IT)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        at = self._at
        consumer.assign([at])
        first = (await consumer.beginning_offsets([at]))[at]
        end = (await consumer.end_offsets([at]))[at]
        # Beyond the end: the topic was made anew.
        consumer.seek(at, first if self._next > end else max(first, self._next))
        while True:
            if await consumer.position(at) >= end:
                self.caught_up.set()
                self.last_error = ""
            for records in (await consumer.getmany(at, timeout_ms=POLL_MS)).values():
                for record in records:
                    self._take(record)
                    self._next = record.offset + 1


async def read_to_end(settings: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    """All that stands in the one partition of a topic now.

    Raises `KafkaError`, `OSError`, TimeoutError when it doesn't get on.
    """
    at, found = TopicPartition(topic, 0), list[ConsumerRecord]()
    async with range_reader(settings) as reader:
        async for records in reader.read(at, await reader.first(at), await reader.end(at)):
            found += records
    return found


class Share:
    """A topic that the members of a group work off together, each record by one of them.

    Positions are committed now and then: after a crash the last records come again.
    """

    def __init__(self, settings: KafkaSettings, topic: str, group: str, take: Take) -> None:
        self._settings, self._topic, self._group, self._take = settings, topic, group, take
        self.last_error = ""

    async def run(self) -> None:
        """Without end."""

        def failed(why: str) -> None:
            self.last_error = why

        await keep_reading(
            self._settings,
            self._follow,
            failed,
            self._topic,
            group_id=self._group,
            enable_auto_commit=True,
            auto_commit_interval_ms=1_000,
            auto_offset_reset="latest",
        )

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.last_error = ""
            self._take(record)
