"""Records into Kafka: all of them, in order, also through what ends a producer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.stream.outlet import BATCH_BYTES, Outlet, Parcel
from app.stream.settings import KafkaSettings
from app.stream.tails import Tail, read_to_end
from app.stream.topics import RECORD_BYTES

pytestmark = pytest.mark.kafka

WAIT_S = 60.0


async def until(look: Callable[[], Any], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not look():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.01)


class Log:
    """A topic of two partitions and an outlet to it."""

    def __init__(self, bootstrap: str, name: str, compression: str | None) -> None:
        self.settings = KafkaSettings(bootstrap=bootstrap)
        self.name = name
        self.outlet = Outlet(self.settings, compression)
        self.done: list[bytes] = []

    async def make(self, **config: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap)
        await admin.start()
        known = {"max.message.bytes": str(RECORD_BYTES)} | config
        await admin.create_topics([NewTopic(self.name, 2, 1, topic_configs=known)])
        await admin.close()

    async def change(self, **config: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap)
        await admin.start()
        named = {name.replace("_", "."): value for name, value in config.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self.name, named)])
        await admin.close()

    def put(self, value: bytes, partition: int = 0) -> None:
        self.outlet.put(Parcel(self.name, partition, b"", value, lambda: self.done.append(value)))

    async def read(self, partition: int = 0) -> list[bytes]:
        at = TopicPartition(self.name, partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap)
        await consumer.start()
        try:
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            end = (await consumer.end_offsets([at]))[at]
            found: list[bytes] = []
            while await consumer.position(at) < end:
                batches = await consumer.getmany(at, timeout_ms=200)
                found += [one.value or b"" for one in batches.get(at, [])]
            return found
        finally:
            await consumer.stop()


def run(
    bootstrap: str,
    name: str,
    work: Callable[[Log], Awaitable[None]],
    compression: str | None = None,
) -> None:
    async def whole() -> None:
        log = Log(bootstrap, name, compression)
        try:
            await work(log)
        finally:
            await log.outlet.close()

    asyncio.run(whole())


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_small_and_large_in_order(kafka: str, topic_prefix: str, compression: str | None) -> None:
    large = [b"a" * (BATCH_BYTES // 2), b"b" * (BATCH_BYTES + 1), b"c" * (4 << 20)]
    values = [b"%d" % n for n in range(500)] + large + [b"%d" % n for n in range(500, 600)]

    async def work(log: Log) -> None:
        await log.make()
        for value in values:
            log.put(value)
            log.put(value, 1)
        await until(lambda: len(log.done) == 2 * len(values), "all is in Kafka")
        assert await log.read(0) == await log.read(1) == values
        assert log.outlet.waiting_bytes == 0
        assert log.outlet.counts.producers == 1

    run(kafka, f"{topic_prefix}t", work, compression)


def test_what_a_topic_refuses_is_sent_again_until_it_is_mended(
    kafka: str, topic_prefix: str
) -> None:
    """Each refusal ends the producer, whose numbering has a hole now."""
    small = [b"%d" % n for n in range(50)]
    large = b"x" * 5_000

    async def work(log: Log) -> None:
        await log.make()
        for value in small:
            log.put(value)
        await until(lambda: log.done == small, "the first are there")
        await log.change(max_message_bytes="1000")
        await asyncio.sleep(0)
        log.done.clear()
        log.put(b"before")
        log.put(large)
        log.put(b"behind")
        for n in range(20):
            log.put(b"%d" % n, 1)
        await until(lambda: log.outlet.counts.producers > 2, "new producers are tried")
        assert large not in log.done
        assert b"behind" not in log.done
        # Once another partition has taken something, this one stands alone with its trouble.
        await until(
            lambda: "TooLarge" in str([log.outlet.last_error, *log.outlet.troubles().values()]),
            "it is told",
        )
        await log.change(max_message_bytes=str(RECORD_BYTES))
        await until(lambda: len(log.done) == 23, "all is in Kafka")
        found = await log.read()
        assert found[:50] == small
        assert list(dict.fromkeys(found[50:])) == [b"before", large, b"behind"]
        assert set(await log.read(1)) == {b"%d" % n for n in range(20)}
        assert log.outlet.last_error == ""
        assert log.outlet.troubles() == {}
        assert not log.outlet.faults

    run(kafka, f"{topic_prefix}t", work)


def test_it_can_be_closed_with_records_on_their_way(killable_kafka: Any, topic_prefix: str) -> None:
    async def work(log: Log) -> None:
        await log.make()
        log.put(b"1")
        await until(lambda: log.done, "it is there")
        killable_kafka.kill()
        log.put(b"2")
        assert not await log.outlet.room(1, 0.2)
        assert log.outlet.oldest_s() > 0

    run(killable_kafka.bootstrap, f"{topic_prefix}t", work)


def test_a_tail_reads_on_where_it_was(kafka: str, topic_prefix: str) -> None:
    taken: list[bytes] = []

    async def work(log: Log) -> None:
        await log.make()
        tail = Tail(log.settings, log.name, lambda record: taken.append(record.value or b""))
        for n in (b"1", b"2", b"3"):
            log.put(n)
            await until(lambda n=n: n in log.done, "it is there")  # type: ignore[misc]
            task = asyncio.ensure_future(tail.run())
            await until(lambda n=n: n in taken, "it was heard")  # type: ignore[misc]
            assert tail.caught_up.is_set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert taken == [b"1", b"2", b"3"]
        assert [one.value for one in await read_to_end(log.settings, log.name)] == taken

    run(kafka, f"{topic_prefix}t", work)


def test_a_partition_that_takes_nothing_is_no_trouble_of_the_others(
    kafka: str, topic_prefix: str
) -> None:
    async def work(log: Log) -> None:
        await log.make()
        small = Log(kafka, f"{topic_prefix}small", None)
        await small.make(**{"max.message.bytes": "1000"})
        other: list[int] = []

        def others(upto: int) -> None:
            for number in range(len(other), upto):
                parcel = Parcel(log.name, 0, b"", b"%d" % number, lambda: None)
                log.outlet.put(parcel)
                other.append(number)

        async def all_there() -> None:
            await until(lambda: log.outlet.counts.records >= len(other), "the others get through")

        others(1)
        await all_there()
        big, done = b"x" * 5_000, list[bytes]()
        log.outlet.put(Parcel(small.name, 0, b"", big, lambda: done.append(big)))

        async def keep_on() -> None:
            while not log.outlet.troubles():
                others(len(other) + 1)
                await all_there()

        await asyncio.wait_for(keep_on(), WAIT_S)
        [(at, why)] = log.outlet.troubles().items()
        assert at == f"{small.name} 0"
        assert "MessageSizeTooLarge" in why
        producers = log.outlet.counts.producers
        others(len(other) + 50)
        await all_there()
        assert (log.outlet.last_error, log.outlet.oldest_s(), done) == ("", 0, [])
        await small.change(max_message_bytes="100000")
        await until(lambda: done, "it is mended")
        assert log.outlet.troubles() == {}
        assert await log.read(0) == [b"%d" % number for number in other]
        assert await small.read(0) == [big]
        assert log.outlet.counts.producers >= producers

    run(kafka, f"{topic_prefix}t", work)
