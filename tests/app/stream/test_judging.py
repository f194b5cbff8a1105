"""Judges on a real Kafka: each signal is judged, whatever fails and whoever comes and goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.content import content_hash
from app.contents import Contents
from app.stream import admin, judge
from app.stream.contents import Library
from app.stream.judge import Judge
from app.stream.judging import STILL_S, Judging, SignalsStill
from app.stream.outlet import Outlet
from app.stream.post import OutletPost
from app.stream.records import DeadLetter, decode_letter
from app.stream.settings import KafkaSettings, TopicSettings
from app.stream.signals import VERSION, Part, Signals
from app.stream.topics import TopicPlan, Topics, topics_of
from contracts.alert_data import ModelRef
from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from ingest.partition import Bundle, PartitionLog
from tests.app import test_falling_cameras as cameras
from tests.app.listener import T0, Listener, S
from tests.app.stream.test_lanes import until
from tests.app.stream.test_signals import Held, content_of

COUNT = 10
REGISTRY = content_of(cameras.FILES)


def signals(second: int, registry: str = "") -> Signals:
    """A time mark; its position is its second."""
    records = encode_bundle([LogRecord(RecordKind.MARK, T0 + second * S, "", b"")])
    part = Part(registry=registry, records=records, positions=[second])
    return Signals(version=VERSION, upto=second, parts=[part])


def saved_after(second: int) -> dict[str, bytes]:
    """What is saved of a judge that knows the signals up to there."""
    one = Judge(Listener, Contents(Held()))
    for number in range(1, second + 1):
        one.take(signals(number))
        one.offset = number
    return {"judge-inactivity": one.snapshot() or b""}


class Site:
    """Topics with signals in two partitions, and the judging of one worker."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.kafka = KafkaSettings(bootstrap=bootstrap)
        plan = TopicPlan(**TopicSettings(prefix=prefix, partitions=2).model_dump())
        self.topics: Topics = topics_of(plan)
        self.made: list[Listener] = []
        self.at: Callable[[int], None] = lambda _: None
        self.nowhere = False
        self.hold = threading.Event()
        self.there = asyncio.Event()
        self.registry = ""
        self.logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

    def make(self) -> Listener:
        self.made.append(Listener(at=lambda second: self.at(second)))
        return self.made[-1]

    async def fetch(self, _: str) -> bytes:
        await self.there.wait()
        return REGISTRY

    async def run(self, body: Callable[[Site, Judging], Awaitable[None]]) -> None:
        async with admin.admin(self.kafka) as client:
            await admin.apply(client, self.topics)
        outlet = Outlet(self.kafka)
        post = OutletPost(outlet)
        for second in range(1, COUNT + 1):
            value = msgspec.msgpack.encode(signals(second, self.registry))
            await post.send([(self.topics.homes.name, n, None, value) for n in range(2)])
        judging = Judging(
            self.kafka, self.topics, Library(self.fetch), post, {"inactivity": self.make},
            self.logger, nowhere=lambda _: self.nowhere,
        )  # fmt: skip
        task = asyncio.ensure_future(judging.run())
        try:
            await body(self, judging)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await outlet.close()

    async def read(self, topic: str, partition: int = 0) -> list[tuple[int, bytes]]:
        """(offset, value) of all that is there."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.servers)
        await consumer.start()
        try:
            at = TopicPartition(topic, partition)
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            end, found = (await consumer.end_offsets([at]))[at], list[tuple[int, bytes]]()
            while len(found) < end:
                one = await consumer.getone()
                found.append((one.offset, one.value or b""))
            return found
        finally:
            await consumer.stop()

    async def letters(self) -> list[DeadLetter]:
        return [decode_letter(value) for _, value in await self.read(self.topics.letters.name)]


def offset(judging: Judging, partition: int) -> int:
    found: int = judging.document(partition)["inactivity"]["offset"]
    return found


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_who_takes_a_place_over_reads_from_his_own(kafka: str, topic_prefix: str) -> None:
    """While another partition is judged, what was fetched is of who sat there then."""

    async def body(site: Site, judging: Judging) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def wait(_: int) -> None:
            begun.set()
            go_on.wait(60)

        site.at = wait
        for number in range(2):
            judging.own(number, saved_after(5))
        await until(begun.is_set)
        judged = next(n for n, one in enumerate(site.made) if one.heard == [1, 2, 3, 4, 5])
        site.at = lambda _: None
        other = 1 - judged
        judging.drop(other)
        judging.own(other, {})
        go_on.set()
        await until(lambda: offset(judging, other) == COUNT)
        assert site.made[-1].heard == list(range(1, COUNT + 1))

    asyncio.run(Site(kafka, topic_prefix).run(body))


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_a_record_that_a_detector_fails_on_is_tried_again_and_then_left_out(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails for a moment is lost to nobody; what always fails costs itself alone."""
    monkeypatch.setattr(judge, "PAUSES_S", (0.0, 0.0))

    async def body(site: Site, judging: Judging) -> None:
        fails = {3: 1, 7: 99}

        def fail(second: int) -> None:
            if fails.get(second, 0):
                fails[second] -= 1
                raise RuntimeError(f"bad second {second}")

        site.at = fail
        judging.own(0, saved_after(2))
        await until(lambda: offset(judging, 0) == COUNT)
        assert site.made[-1].heard == [1, 2, 3, 4, 5, 6, 8, 9, 10]
        assert judging.problems() == []
        assert judging.document(0)["inactivity"]["left_out"] == 1
        (letter,) = await site.letters()
        assert (letter.reason, letter.field) == ("undecidable", "signals")
        assert (letter.offset, letter.source) == (6, site.topics.homes.name)
        assert letter.detail == "RuntimeError: bad second 7"
        # What was judged again went into the log again, and is known there.
        taken = PartitionLog().take(
            [Bundle(at, T0, value) for at, value in await site.read(site.topics.log.name)]
        )
        packs = [one for one in taken.records if one.kind is RecordKind.PACK]
        assert len(packs) == 7
        assert taken.counts["duplicate"] > 0

    asyncio.run(Site(kafka, topic_prefix).run(body))


@pytest.mark.kafka
@pytest.mark.timeout(120)
@pytest.mark.parametrize("nowhere", [False, True])
def test_signals_wait_for_a_registry_that_cannot_be_read_now(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, nowhere: bool
) -> None:
    """Only what Kafka hasn't got is given up."""
    monkeypatch.setattr("app.stream.judging.PATIENCE_S", 0.0)
    monkeypatch.setattr("app.stream.judging.TRY_S", 0.05)

    async def body(site: Site, judging: Judging) -> None:
        judging.own(0, {})
        await until(lambda: bool(judging.problems()))
        assert "waits for the registry" in judging.problems()[0]
        if nowhere:
            site.nowhere = True
            await until(lambda: offset(judging, 0) == COUNT)
            assert len(await site.letters()) == COUNT
            return
        await asyncio.sleep(0)
        site.there.set()
        await until(lambda: offset(judging, 0) == COUNT)
        assert site.made[-1].heard == list(range(1, COUNT + 1))
        assert judging.problems() == []

    site = Site(kafka, topic_prefix)
    site.registry = content_hash(REGISTRY)
    asyncio.run(site.run(body))


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_a_connection_that_brings_nothing_is_given_up(kafka: str, topic_prefix: str) -> None:
    async def body(site: Site, judging: Judging) -> None:
        site.at = lambda second: site.hold.wait(60) if second == 1 else None
        judging.own(0, {})
        await until(lambda: len(site.made) == 1)
        consumer = AIOKafkaConsumer(bootstrap_servers=site.kafka.servers)
        await consumer.start()
        try:
            await judging._assign(consumer)
            await judging._look(consumer, still_s=STILL_S)
            assert judging.document(0)["inactivity"]["to_go"] == COUNT
            with pytest.raises(SignalsStill):
                await judging._look(consumer, still_s=STILL_S + 1)
        finally:
            site.hold.set()
            await consumer.stop()
        await until(lambda: offset(judging, 0) == COUNT)

    asyncio.run(Site(kafka, topic_prefix).run(body))


def test_what_a_new_model_finds_is_not_taken_for_what_the_old_one_said() -> None:
    """Behind a snapshot both judge the same signals; the old one has found more."""
    log = PartitionLog()

    def put(records: list[LogRecord]) -> int:
        taken = log.take([Bundle(log.offset + 1, T0, encode_bundle(records))] if records else [])
        return sum(one.kind is RecordKind.PACK for one in taken.records)

    old = Judge(Listener, Contents(Held()))
    saved = b""
    for second in range(1, 5):
        assert put(old.take(signals(second))[0]) == 1
        old.offset = second
        if second == 2:
            saved = old.snapshot() or b""
    model = ModelRef(detector="inactivity", hash="b" * 64)
    new = Judge(lambda: Listener(model=model, says=lambda second: second > 3), Contents(Held()))
    new.restore(saved)
    assert [put(new.take(signals(second))[0]) for second in range(3, 7)] == [0, 1, 1, 1]
    # The same model carries on.
    again = Judge(Listener, Contents(Held()))
    again.restore(saved)
    assert [put(again.take(signals(second))[0]) for second in range(3, 7)] == [0, 0, 1, 1]


def test_a_state_that_a_detector_cannot_take_up_is_left() -> None:
    class Other(Listener):
        def restore(self, blob: bytes) -> None:
            raise ValueError(f"another version: {blob[:2]!r}")

    old = Judge(Listener, Contents(Held()))
    old.take(signals(1))
    old.offset = 1
    new = Judge(Other, Contents(Held()))
    new.restore(old.snapshot() or b"")
    with pytest.raises(ValueError, match="another version"):
        new.take(signals(2))
    new.begin_anew()
    assert (new.offset, new.upto) == (-1, 0)
    found, _ = new.take(signals(2))
    assert [one.kind for one in found] == [RecordKind.INSTALLED, RecordKind.PACK]
    decode_bundle(encode_bundle(found), 1)
