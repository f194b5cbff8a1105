"""Stretches of topics, read from one offset to another by who needs just those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.stream.client import client_options
from app.stream.settings import KafkaSettings

POLL_MS = 1_000
PATIENCE_S = 30.0


class RangeReader:
    """One connection, one stretch at a time: hold `lock` while you read."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.lock = asyncio.Lock()

    async def first(self, at: TopicPartition) -> int:
        """The oldest offset. Raises `KafkaError`."""
        return int((await self._consumer.beginning_offsets([at]))[at])

    async def end(self, at: TopicPartition) -> int:
        """The offset of the next record. Raises `KafkaError`."""
        return int((await self._consumer.end_offsets([at]))[at])

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """The records from `start` up to before `end`; compaction has left gaps.

        Raises `KafkaError`, TimeoutError.
        """
        if start >= end:
            return
        consumer = self._consumer
        consumer.assign([at])
        consumer.seek(at, start)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while await consumer.position(at) < end:
            for records in (await consumer.getmany(at, timeout_ms=POLL_MS)).values():
                deadline = loop.time() + PATIENCE_S
                yield [record for record in records if record.offset < end]
            if loop.time() > deadline:
                raise TimeoutError(f"{at.topic} {at.partition} can't be read up to {end}")


@asynccontextmanager
async def range_reader(settings: KafkaSettings) -> AsyncIterator[RangeReader]:
    """Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **client_options(settings)
    )
    await consumer.start()
    try:
        yield RangeReader(consumer)
    finally:
        await consumer.stop()
