"""Bridges as processes between a real MQTT broker and a real Kafka, and what came of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from app.stream import admin
from app.stream.records import DeadLetter, decode_letter
from app.stream.settings import KafkaSettings
from app.stream.topics import Topic, TopicPlan, Topics, topics_of
from contracts import pack
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from ingest.partition import Bundle, PartitionLog
from tests.parts.mosquitto import Mosquitto
from tests.torture.processes import Agent, Part, until

PARTITIONS = 3


class BridgePart(Part):
    """`gridwarden bridge`."""

    def __init__(self, name: str, folder: Path, settings: str) -> None:
        super().__init__(name, folder, "bridge", "--config", folder / f"{name}.toml")
        (folder / f"{name}.toml").write_text(settings)

    @property
    def port(self) -> int:
        found = re.search(r"^health  http://127\.0\.0\.1:(\d+)", self.log, re.MULTILINE)
        return int(found[1]) if found else 0

    def ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        self.fail_if_ended()
        if not self.port:
            return {"ok": False, "ready": False, "problems": ["starting"]}
        try:
            found: dict[str, Any] = json.loads(self.ask("/health")[1])
        except OSError:
            return {"ok": False, "ready": False, "problems": ["no answer"]}
        return found

    def up(self, wait_s: float = 60) -> None:
        """Until it lets messages through."""
        until(lambda: self.health()["ready"], wait_s, f"{self.name} is ready")


@dataclass
class BridgeScene:
    folder: Path
    broker: Mosquitto
    bootstrap: str
    prefix: str
    stack: ExitStack
    bridges: list[BridgePart] = field(default_factory=list)

    @property
    def topics(self) -> Topics:
        return topics_of(TopicPlan(prefix=self.prefix, partitions=PARTITIONS))

    def make_topics(self) -> None:
        async def made() -> None:
            async with admin.admin(KafkaSettings(bootstrap=self.bootstrap)) as client:
                await admin.apply(client, self.topics)

        asyncio.run(made())

    def settings(self, name: str = "one", more: str = "") -> str:
        return (
            f'[kafka]\nbootstrap = "{self.bootstrap}"\n'
            f'[topics]\nprefix = "{self.prefix}"\npartitions = {PARTITIONS}\n'
            f'[mqtt]\nport = {self.broker.port}\nclient_id = "bridge-{name}"\n'
            f"[http]\nport = 0\n{more}"
        )

    def bridge(self, name: str = "one", more: str = "") -> BridgePart:
        """Start one; it isn't waited for."""
        made = BridgePart(name, self.folder, self.settings(name, more))
        self.stack.callback(made.discard)
        made.start()
        self.bridges.append(made)
        return made

    def agent(self, gateway: str, recording: Path, **options: Any) -> Agent:
        agent = Agent(
            self.folder / "agents", gateway, recording, broker_port=self.broker.port, **options
        )
        self.stack.callback(agent.discard)
        agent.start()
        return agent

    def read(self, topic: Topic) -> list[ConsumerRecord]:
        """All that stands in a topic, partition by partition."""
        return asyncio.run(_read(self.bootstrap, topic))

    def write(self, topic: Topic, key: bytes, value: bytes, **more: Any) -> None:
        asyncio.run(_write(self.bootstrap, topic, key, value, more))

    def log(self) -> dict[int, list[LogRecord]]:
        """Partition -> its records, each pack once, as a worker reads them."""
        found: dict[int, list[LogRecord]] = {}
        for partition, records in _by_partition(self.read(self.topics.log)).items():
            bundles = [Bundle(one.offset, one.timestamp, one.value) for one in records]
            taken = PartitionLog(first_offset=bundles[0].offset).take(bundles)
            assert not taken.letters
            found[partition] = [one for one in taken.records if one.kind != RecordKind.MARK]
        return found

    def readings(self) -> list[ReadingBatch]:
        """Of all packs."""
        return [
            pack.decode(record.payload).batch
            for records in self.log().values()
            for record in records
            if record.kind is RecordKind.PACK
        ]

    def letters(self) -> list[DeadLetter]:
        return [decode_letter(one.value) for one in self.read(self.topics.letters)]


@contextmanager
def bridging(folder: Path, bootstrap: str, prefix: str) -> Iterator[BridgeScene]:
    """A broker, and topics in Kafka."""
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        there = BridgeScene(folder, broker, bootstrap, prefix, stack)
        there.make_topics()
        yield there


class Device:
    """A foreign device, or anyone who speaks MQTT: says and hears, at QoS 1."""

    def __init__(self, port: int, *hears: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._subscribed = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self._client.on_subscribe = self._on_subscribe
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        for topic in hears:
            self._client.subscribe(topic, qos=1)
        if hears:
            until(lambda: self._subscribed, 20, "subscribed")

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed = True

    def say(self, topic: str, payload: bytes) -> None:
        """Returns when the broker has it."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _by_partition(records: list[ConsumerRecord]) -> dict[int, list[ConsumerRecord]]:
    found: dict[int, list[ConsumerRecord]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found


async def _read(bootstrap: str, topic: Topic) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        parts = [TopicPartition(topic.name, n) for n in range(topic.partitions)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        found: list[ConsumerRecord] = []
        for part in parts:
            while await consumer.position(part) < ends[part]:
                found += (await consumer.getmany(part, timeout_ms=200)).get(part, [])
        return found
    finally:
        await consumer.stop()


async def _write(
    bootstrap: str, topic: Topic, key: bytes, value: bytes, more: dict[str, Any]
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic.name, value, key, partition=0, **more)
    finally:
        await producer.stop()
