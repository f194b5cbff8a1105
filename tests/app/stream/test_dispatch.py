"""Copies of dispatch beside a real Kafka: every event reaches the receiver, once in effect."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.stream import admin
from app.stream.settings import KafkaSettings
from app.stream.topics import TopicPlan, Topics, topics_of
from contracts.alerts import AlertEvent, encode_event
from contracts.log import RecordKind, decode_bundle
from contracts.messages import OperatorCommand
from dispatch.receiver import Receiver
from tests.app.running import Server, gridwarden, until
from tests.dispatch import scene
from tests.parts.kafka import Kafka

pytestmark = pytest.mark.kafka
SECRET = bytes(range(32))
PARTITIONS = 2


class Site:
    """Topics of one test, a receiver, and copies of dispatch."""

    def __init__(self, folder: Path, bootstrap: str, prefix: str) -> None:
        self.folder, self.bootstrap, self.prefix = folder, bootstrap, prefix
        self.kafka = KafkaSettings(bootstrap=bootstrap)
        plan = TopicPlan(prefix=prefix, partitions=PARTITIONS)
        self.topics: Topics = topics_of(plan)
        asyncio.run(self._make())
        self.receiver = Receiver([SECRET], folder / "received.jsonl")
        self.receiver.start()
        secret = folder / "webhook.secret"
        secret.write_bytes(b"whsec_" + base64.b64encode(SECRET) + b"\n")
        secret.chmod(0o600)

    async def _make(self) -> None:
        async with admin.admin(self.kafka) as client:
            await admin.apply(client, self.topics)

    def copy(self, name: str, data: str = "") -> Server:
        """One more copy, named `name`, with the store in `data`."""
        data = data or name
        config = self.folder / f"{name}.toml"
        config.write_text(
            f'data = "{data}"\n[kafka]\nbootstrap = "{self.bootstrap}"\n'
            f'[topics]\nprefix = "{self.prefix}"\npartitions = {PARTITIONS}\n'
            "[console]\nport = 0\n[dispatch]\nmqtt_alerts = false\nremind_s = 3600\n"
            f'[[webhook]]\nname = "desk"\nurl = "{self.receiver.url}"\n'
            'secret_file = "webhook.secret"\n'
        )
        return Server(self.folder, name, self.folder / data, "--config", config, verb="dispatch")

    def send(self, events: Sequence[AlertEvent]) -> None:
        """As a worker does: keyed by grid."""

        async def sent() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all") as producer:
                for event in events:
                    await producer.send_and_wait(
                        self.topics.alerts.name, encode_event(event), key=event.gridcode.encode()
                    )

        asyncio.run(sent())

    def log(self, partition: int) -> list[OperatorCommand]:
        """The commands in a partition of the log."""

        async def read() -> list[bytes]:
            one = TopicPartition(self.topics.log.name, partition)
            async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
                consumer.assign([one])
                await consumer.seek_to_beginning(one)
                found = await consumer.getmany(one, timeout_ms=1000)
                return [bytes(record.value or b"") for record in found.get(one, [])]

        records = [record for value in asyncio.run(read()) for record in decode_bundle(value, 1)]
        return [
            msgspec.json.decode(record.payload, type=OperatorCommand)
            for record in records
            if record.kind is RecordKind.COMMAND
        ]

    def marks(self) -> int:
        """How many marks the copies have told."""

        async def end() -> int:
            one = TopicPartition(self.topics.marks.name, 0)
            async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
                return int((await consumer.end_offsets([one]))[one])

        return asyncio.run(end())

    def got(self) -> set[str]:
        file = self.folder / "received.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return {msgspec.json.decode(line)["id"] for line in lines}

    def until_got(self, events: Sequence[AlertEvent]) -> None:
        wanted = {event.id for event in events}
        until(lambda: wanted <= self.got(), "everything is delivered")


@contextmanager
def site_on(folder: Path, bootstrap: str, prefix: str) -> Iterator[Site]:
    site = Site(folder, bootstrap, prefix)
    try:
        yield site
    finally:
        site.receiver.close()


@pytest.fixture
def site(tmp_path: Path, kafka: str, topic_prefix: str) -> Iterator[Site]:
    with site_on(tmp_path, kafka, topic_prefix) as one:
        yield one


def health(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = server.client.get("/health").json()
    return document


def delivers(server: Server) -> bool:
    return bool(health(server)["delivers"])


def test_a_killed_copy_goes_on_and_a_lost_store_is_filled_again(site: Site) -> None:
    first, second, third = scene.flood(5), scene.flood(12)[5:], scene.flood(14)[12:]
    with site.copy("one") as one:
        site.send(first)
        site.until_got(first)
        # What was sent and not yet told of would rightly be repeated, under its id.
        until(lambda: site.marks() >= len(first), "what was delivered is told")
        one.kill()
    site.send(second)
    with site.copy("again", data="one") as one:
        site.until_got(second)
        until(lambda: len(one.alerts()) == len({e.subject for e in (*first, *second)}), "all")
        assert one.stop() == 0, one.err
    # Another machine, or a dead disk: from Kafka alone, and nobody is told twice.
    site.send(third)
    with site.copy("other") as other:
        site.until_got(third)
        assert len(other.alerts()) == len({e.subject for e in (*first, *second, *third)})
        assert other.stop() == 0, other.err
    assert site.receiver.counts["repeats"] == 0


def test_another_copy_takes_over_from_one_that_is_killed_or_stands_still(site: Site) -> None:
    events = scene.flood(40)
    with site.copy("a") as a, site.copy("b") as b:
        until(lambda: delivers(a) or delivers(b), "one delivers")
        leader, other = (a, b) if delivers(a) else (b, a)
        site.send(events[:10])
        site.until_got(events[:10])
        assert not delivers(other), "two deliver"
        leader.process.send_signal(signal.SIGSTOP)
        site.send(events[10:20])
        site.until_got(events[10:20])
        assert delivers(other)
        leader.process.send_signal(signal.SIGCONT)
        until(lambda: not delivers(leader), "the one that stood still learns it")
        other.kill()
        site.send(events[20:])
        site.until_got(events)
        assert len(leader.alerts()) == len(events)
    assert site.receiver.counts["conflicts"] == 0


def test_a_command_reaches_every_partition_from_any_copy(site: Site) -> None:
    (fire,) = scene.flood(1)
    site.send([fire])
    with site.copy("a") as a, site.copy("b") as b:
        until(lambda: delivers(a) or delivers(b), "one delivers")
        other = b if delivers(a) else a
        until(lambda: other.alerts(), "the alert is in both stores")
        other.order(fire.subject, "acknowledge")
        for partition in range(PARTITIONS):
            (command,) = site.log(partition)
            assert (command.action, command.alert) == ("acknowledge", fire.subject)


def test_kafka_killed_and_back_costs_nothing(
    tmp_path: Path, killable_kafka: Kafka, topic_prefix: str
) -> None:
    events = scene.flood(6)
    with (
        site_on(tmp_path, killable_kafka.bootstrap, topic_prefix) as site,
        site.copy("one") as one,
    ):
        site.send(events[:3])
        site.until_got(events[:3])
        killable_kafka.kill()
        answer = one.client.post(
            f"/api/v1/alerts/{events[0].subject}/acknowledge", json={"by": "desk"}
        )
        assert answer.status_code == 503, "nothing is said to be taken that isn't"
        killable_kafka.start()
        site.send(events[3:])
        site.until_got(events)
        until(lambda: not [p for p in health(one)["problems"] if "kafka" in p], "well again")
    assert site.receiver.counts["conflicts"] == 0


def test_wrong_topics_are_refused_with_the_mend(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    config = tmp_path / "one.toml"
    config.write_text(
        f'data = "data"\n[kafka]\nbootstrap = "{kafka}"\n[topics]\nprefix = "{topic_prefix}"\n'
        "[console]\nport = 0\n"
    )
    done = gridwarden("dispatch", "--config", config)
    assert done.returncode == 1
    assert "no such topic; run gridwarden topics apply" in done.stderr.splitlines()[-1]
