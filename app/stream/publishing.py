"""Rules, registry and settings into every partition of `log`, and who is assigned to which.

What is published is content behind a hash, in the topic `content`, and a control record in each
partition that names it. What a partition has in force already isn't put there again, so publishing
that was cut short is simply done once more. One at a time: nothing keeps two publishers apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.content import content_hash
from app.stream import admin
from app.stream.client import client_options, goodbye
from app.stream.outlet import REQUEST_MS
from app.stream.records import (
    PUBLISHED,
    Assigned,
    BadRecord,
    Published,
    decode_published,
    encode,
    pieces,
    published_key,
)
from app.stream.routes import Routes
from app.stream.settings import StreamSettings
from app.stream.tails import read_to_end
from app.stream.topics import RECORD_BYTES
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed

PATIENCE_S = 60.0
"""How long Kafka may take for all of it."""
SPREAD_S = 2.0
"""Time for bridges to hear of new assignments before a partition lets go of who has moved
(proposal)."""

What = Literal["rules", "registry", "settings"]


@dataclass(frozen=True, slots=True)
class Known:
    """What stood in `assignments`. published: (what, partition) -> what is in force there."""

    routes: Routes
    published: Mapping[tuple[str, int], Published]


@dataclass(slots=True)
class Done:
    """What publishing did. installed, unchanged: partitions. assigned: keys that were told.

    activate_ms: rules only, where some were in force before. late: partitions whose record Kafka
    took so late that the rules may be refused there.
    """

    what: What
    installed: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    assigned: int = 0
    activate_ms: int | None = None
    late: list[int] = field(default_factory=list)


class Publisher:
    """Made by `publisher`."""

    def __init__(
        self, settings: StreamSettings, producer: AIOKafkaProducer, clock: Callable[[], int]
    ) -> None:
        self._topics = settings.layout
        self._kafka = settings.kafka
        self._after_ms = settings.engine.activate_after_ms
        self._producer = producer
        self._clock = clock

    @property
    def partitions(self) -> int:
        return self._topics.log.partitions

    async def known(self) -> Known:
        """What was assigned and published so far."""
        routes = Routes(self.partitions)
        published: dict[tuple[str, int], Published] = {}
        for record in await read_to_end(self._kafka, self._topics.assignments.name):
            # A record that nobody understands is nobody's assignment; bridges say so too.
            with suppress(BadRecord):
                if record.key and record.key.startswith(PUBLISHED):
                    _, what, partition = record.key.decode().split("/")
                    published[what, int(partition)] = decode_published(record.value or b"")
                else:
                    routes.learn(record.key, record.value)
        return Known(routes, published)

    async def rules(self, content: bytes) -> Done:
        """In force everywhere at one event time; at once where there were none."""
        done = Done("rules")
        known = await self.known()
        name = content_hash(content)
        await self._bring(content)
        now_ms = await self._now_ms()
        for partition in range(self.partitions):
            before = known.published.get(("rules", partition))
            activate_ms = now_ms + self._after_ms if before is not None else None
            if before is not None and before.hash == name:
                done.unchanged.append(partition)
                continue
            if activate_ms is not None:
                done.activate_ms = activate_ms
            at_ms = await self._install("rules", name, partition, now_ms, activate_ms)
            done.installed.append(partition)
            if activate_ms is not None and at_ms >= activate_ms:
                done.late.append(partition)
        return done

    async def settings(self, content: bytes) -> Done:
        """In force at once."""
        done = Done("settings")
        await self._install_all(done, await self.known(), [content] * self.partitions)
        return done

    async def registry(
        self, known: Known, contents: Sequence[bytes], changes: Mapping[bytes, int]
    ) -> Done:
        """contents: of each partition. changes: to `assignments`.

        Whoever gets a cell knows it before its packs come; whoever gives one up forgets it after.
        """
        done = Done("registry")
        gaining = sorted(set(changes.values()))
        await self._install_all(done, known, contents, gaining)
        for key, partition in changes.items():
            await self._send(
                self._topics.assignments.name, 0, key, encode(Assigned(partition=partition))
            )
        done.assigned = len(changes)
        if any(known.routes.assigned().get(key, p) != p for key, p in changes.items()):
            await asyncio.sleep(SPREAD_S)
        others = [n for n in range(self.partitions) if n not in gaining]
        await self._install_all(done, known, contents, others)
        done.installed.sort()
        done.unchanged.sort()
        return done

    async def _install_all(
        self,
        done: Done,
        known: Known,
        contents: Sequence[bytes],
        partitions: Iterable[int] | None = None,
    ) -> None:
        chosen = range(self.partitions) if partitions is None else partitions
        brought: set[str] = set()
        for partition in chosen:
            content = contents[partition]
            name = content_hash(content)
            before = known.published.get((done.what, partition))
            if before is not None and before.hash == name:
                done.unchanged.append(partition)
                continue
            if name not in brought:
                await self._bring(content)
                brought.add(name)
            await self._install(done.what, name, partition, self._clock(), None)
            done.installed.append(partition)

    async def _bring(self, content: bytes) -> None:
        """The content goes first: who reads a control record must find what it names."""
        for key, value in pieces(content_hash(content), content):
            await self._send(self._topics.content.name, 0, key, value)

    async def _install(
        self, what: What, name: str, partition: int, now_ms: int, activate_ms: int | None
    ) -> int:
        """Kafka's time of the record."""
        installed = Installed(what=what, hash=name, active_ms=now_ms, activate_ms=activate_ms)
        record = LogRecord(RecordKind.INSTALLED, now_ms, "", encode(installed))
        at_ms = await self._send(self._topics.log.name, partition, b"", encode_bundle([record]))
        told = Published(hash=name, at_ms=at_ms, activate_ms=activate_ms)
        key = published_key(what, partition)
        await self._send(self._topics.assignments.name, 0, key, encode(told))
        return at_ms

    async def _now_ms(self) -> int:
        """Not before Kafka's own time: that bounds how far a partition's time may have come. A
        mark in a partition tells it and does nothing else."""
        mark = encode_bundle([LogRecord(RecordKind.MARK, self._clock(), "", b"")])
        return max(self._clock(), await self._send(self._topics.log.name, 0, b"", mark))

    async def _send(self, topic: str, partition: int, key: bytes, value: bytes) -> int:
        """Kafka's time of the record, once it has it."""
        sent = await self._producer.send_and_wait(topic, value, key or None, partition=partition)
        return int(sent.timestamp)


@asynccontextmanager
async def publisher(settings: StreamSettings, clock: Callable[[], int]) -> AsyncIterator[Publisher]:
    """Raises `KafkaAway`, `TopicsWrong`, `SettingsError`. clock: unix ms."""
    async with admin.admin(settings.kafka) as client:
        await admin.demand(client, settings.layout)
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        max_request_size=RECORD_BYTES,
        request_timeout_ms=REQUEST_MS,
        **client_options(settings.kafka),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await producer.start()
            yield Publisher(settings, producer, clock)
    except (KafkaError, OSError, TimeoutError) as error:
        raise admin.KafkaAway(
            f"kafka at {settings.kafka.bootstrap}: {error or 'no answer'}; publish once more: "
            "what it has already stays as it is"
        ) from None
    finally:
        await goodbye(producer.stop())
