"""The Kafka that the tests stand on."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.parts.kafka import Kafka

pytestmark = pytest.mark.kafka


async def make(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()


async def write(bootstrap: str, name: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(name, value, partition=1)
    finally:
        await producer.stop()


async def read(bootstrap: str, name: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, 1)])
        return [(await consumer.getone()).value or b"" for _ in range(count)]
    finally:
        await consumer.stop()


def test_what_it_took_outlives_kill_9(killable_kafka: Kafka) -> None:
    asyncio.run(make(killable_kafka.bootstrap, "t"))
    asyncio.run(write(killable_kafka.bootstrap, "t", [b"1", b"2"]))
    killable_kafka.kill()
    killable_kafka.restart()
    asyncio.run(write(killable_kafka.bootstrap, "t", [b"3"]))
    assert asyncio.run(read(killable_kafka.bootstrap, "t", 3)) == [b"1", b"2", b"3"]
