"""Rules, registry and settings into every partition of `log`, and who is assigned to which.

What is published is content behind a hash, in the topic `content`, and a control record in each
partition that names it. What a partition has in force already isn't put there again, so publishing
that was cut short is simply done once more. One at a time: nothing keeps two publishers apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from app.content import content_hash
from app.stream import admin
from app.stream.client import client_options, goodbye
from app.stream.outlet import BATCH_BYTES, REQUEST_MS
from app.stream.publication import (
    PLAN,
    Answer,
    RulesPlan,
    Told,
    What,
    answer,
    live,
    plan_rules,
)
from app.stream.ranges import RangeReader, range_reader
from app.stream.records import (
    PUBLISHED,
    Assigned,
    BadRecord,
    Published,
    decode_published,
    decode_pulse,
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
"""How long Kafka may take for one batch."""
BATCH_RECORDS = 1_000
SPREAD_S = 2.0
"""Time for bridges to hear of new assignments before a partition lets go of who has moved
(proposal)."""
LOOK_S = 0.5

Record = tuple[str, int, bytes, bytes]
"""(topic, partition, key, value)."""
Tell = Callable[[str, int, int], None]
"""Progress: what is being written, how many records Kafka has, of how many."""


@dataclass(frozen=True, slots=True)
class Known:
    """What stood in `assignments` and `pulses`. published: (what, partition) -> what was put there
    last. told: of each partition, by its worker."""

    routes: Routes
    published: Mapping[tuple[str, int], Published]
    told: Mapping[int, Told]


@dataclass(slots=True)
class Done:
    """What publishing did. installed, unchanged: partitions. assigned: keys that were told.

    activate_ms: rules only, where some were in force before. late: partitions whose record Kafka
    took so late that the rules may be refused there. earlier: partition -> another time from
    which these rules are in force there. answers: partition -> what it made of it.
    """

    what: What
    installed: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    assigned: int = 0
    activate_ms: int | None = None
    late: list[int] = field(default_factory=list)
    earlier: dict[int, int] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)


async def known(settings: StreamSettings) -> Known:
    """What was assigned and published so far, and what came of it. Raises `KafkaError`, OSError,
    TimeoutError."""
    topics = settings.layout
    routes = Routes(topics.log.partitions)
    published: dict[tuple[str, int], Published] = {}
    for record in await read_to_end(settings.kafka, topics.assignments.name):
        # A record that nobody understands is nobody's assignment; bridges say so too.
        with suppress(BadRecord):
            if record.key and record.key.startswith(PUBLISHED):
                _, what, partition = record.key.decode().split("/")
                published[what, int(partition)] = decode_published(record.value or b"")
            else:
                routes.learn(record.key, record.value)
    told: dict[int, Told] = {}
    for record in await read_to_end(settings.kafka, topics.pulses.name):
        _hear(told, record.value, record.timestamp)
    return Known(routes, published, told)


def _hear(told: dict[int, Told], value: bytes | None, at_ms: int) -> None:
    with suppress(BadRecord):
        pulse = decode_pulse(value or b"")
        told[pulse.partition] = Told(pulse, at_ms)


class Publisher:
    """Made by `publisher`."""

    def __init__(
        self,
        settings: StreamSettings,
        producer: AIOKafkaProducer,
        clock: Callable[[], int],
        tell: Tell,
    ) -> None:
        self._settings, self._topics = settings, settings.layout
        self._after_ms = settings.engine.activate_after_ms
        self._producer, self._clock, self._tell = producer, clock, tell

    @property
    def partitions(self) -> int:
        return self._topics.log.partitions

    async def known(self) -> Known:
        return await known(self._settings)

    async def rules(self, content: bytes) -> Done:
        """In force everywhere at one event time; at once where there were none."""
        done, found, name = Done("rules"), await self.known(), content_hash(content)
        if self._plan(name, found, self._clock()).todo:
            await self._bring([content])
        plan = self._plan(name, found, await self._now_ms())
        done.unchanged, done.earlier = list(plan.unchanged), dict(plan.earlier)
        if any(at_ms is not None for at_ms in plan.todo.values()):
            done.activate_ms = plan.activate_ms
            meant = Published(hash=name, at_ms=self._clock(), activate_ms=plan.activate_ms)
            key = published_key("rules", PLAN)
            await self._send_all("plan", [(self._topics.assignments.name, 0, key, encode(meant))])
        told = await self._install(done, {n: (name, at_ms) for n, at_ms in plan.todo.items()})
        done.late = [
            n for n, one in told.items() if one.activate_ms and one.at_ms >= one.activate_ms
        ]
        return done

    def _plan(self, name: str, found: Known, now_ms: int) -> RulesPlan:
        return plan_rules(
            name, found.published, found.told, self.partitions, now_ms, self._after_ms
        )

    async def settings(self, content: bytes) -> Done:
        """In force at once."""
        done = Done("settings")
        await self._install_changed(done, await self.known(), [content] * self.partitions)
        return done

    async def registry(
        self,
        known: Known,
        contents: Sequence[bytes],
        changes: Mapping[bytes, int],
        between: Mapping[int, bytes],
    ) -> Done:
        """contents: of each partition. changes: to `assignments`. between: of partitions that get
        cells and give some up, what they know while both goes on.

        Whoever gets a cell knows it before its packs come; whoever gives one up forgets it after.
        """
        done = Done("registry")
        gaining = set(changes.values())
        first = [between.get(n, content) for n, content in enumerate(contents)]
        await self._install_changed(done, known, first, gaining)
        assignments = self._topics.assignments.name
        await self._send_all(
            "assignments",
            [
                (assignments, 0, key, encode(Assigned(partition=partition)))
                for key, partition in changes.items()
            ],
        )
        done.assigned = len(changes)
        if any(known.routes.assigned().get(key, p) != p for key, p in changes.items()):
            await asyncio.sleep(SPREAD_S)
        others = set(range(self.partitions)) - (gaining - set(between))
        await self._install_changed(done, known, contents, others)
        done.installed = sorted(set(done.installed))
        done.unchanged = sorted(set(done.unchanged) - set(done.installed))
        return done

    async def wait(self, done: Done, seconds: float, reader: RangeReader) -> None:
        """Ask what became of it until all partitions on which somebody works have answered, or the
        time is over; what is known then is in `done`."""
        found = await self.known()
        told, at = dict(found.told), TopicPartition(self._topics.pulses.name, 0)
        read_to, deadline = await reader.end(at), time.monotonic() + seconds
        while True:
            done.answers = {
                n: answer(done.what, found.published[done.what, n], told.get(n))
                for n in range(self.partitions)
                if (done.what, n) in found.published
            }
            open_ = {n for n, one in done.answers.items() if one.state == "not yet"}
            if time.monotonic() > deadline or not open_ & set(live(told, self._clock())):
                return
            await asyncio.sleep(LOOK_S)
            end = await reader.end(at)
            async with reader.lock:
                async for records in reader.read(at, read_to, end):
                    for record in records:
                        _hear(told, record.value, record.timestamp)
            read_to = end

    async def _install_changed(
        self,
        done: Done,
        known: Known,
        contents: Sequence[bytes],
        partitions: Iterable[int] | None = None,
    ) -> None:
        todo: dict[int, tuple[str, int | None]] = {}
        chosen = range(self.partitions) if partitions is None else sorted(partitions)
        for partition in chosen:
            name = content_hash(contents[partition])
            before = known.published.get((done.what, partition))
            # What was put there since it was known is another thing: see `between`.
            if before is not None and before.hash == name and partition not in done.installed:
                done.unchanged.append(partition)
            else:
                todo[partition] = name, None
        await self._bring([contents[partition] for partition in todo])
        await self._install(done, todo)

    async def _bring(self, contents: Iterable[bytes]) -> None:
        """The content goes first: who reads a control record must find what it names."""
        different = {content_hash(content): content for content in contents}
        await self._send_all(
            "content",
            [
                (self._topics.content.name, 0, key, value)
                for name, content in different.items()
                for key, value in pieces(name, content)
            ],
        )

    async def _install(
        self, done: Done, todo: Mapping[int, tuple[str, int | None]]
    ) -> dict[int, Published]:
        """todo: partition -> (hash, event time). Gives what was told of each."""
        now_ms, log = self._clock(), self._topics.log.name
        records: list[Record] = []
        for partition, (name, at_ms) in todo.items():
            installed = Installed(what=done.what, hash=name, active_ms=now_ms, activate_ms=at_ms)
            record = LogRecord(RecordKind.INSTALLED, now_ms, "", encode(installed))
            records.append((log, partition, b"", encode_bundle([record])))
        placed = await self._send_all(done.what, records)
        told = {
            partition: Published(hash=name, at_ms=taken_ms, activate_ms=at_ms, offset=offset)
            for (partition, (name, at_ms)), (offset, taken_ms) in zip(
                todo.items(), placed, strict=True
            )
        }
        assignments = self._topics.assignments.name
        await self._send_all(
            "notes",
            [
                (assignments, 0, published_key(done.what, partition), encode(one))
                for partition, one in told.items()
            ],
        )
        done.installed += list(todo)
        return told

    async def _now_ms(self) -> int:
        """Not before Kafka's own time: that bounds how far a partition's time may have come. A
        mark in a partition tells it and does nothing else."""
        mark = encode_bundle([LogRecord(RecordKind.MARK, self._clock(), "", b"")])
        [(_, at_ms)] = await self._send_all("time", [(self._topics.log.name, 0, b"", mark)])
        return max(self._clock(), at_ms)

    async def _send_all(self, what: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        """(offset, Kafka's time) of each, once it has them all. Raises TimeoutError when a batch
        takes too long."""
        placed: list[tuple[int, int]] = []
        for batch in _batches(records):
            async with asyncio.timeout(PATIENCE_S):
                sent = [
                    await self._producer.send(topic, value, key or None, partition=partition)
                    for topic, partition, key, value in batch
                ]
                placed += [
                    (int(one.offset), int(one.timestamp)) for one in await asyncio.gather(*sent)
                ]
            self._tell(what, len(placed), len(records))
        return placed


def _batches(records: Sequence[Record]) -> Iterable[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and (len(batch) >= BATCH_RECORDS or size > 4 * BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record[3])
    if batch:
        yield batch


def _no_progress(what: str, done: int, of: int) -> None:
    del what, done, of


@asynccontextmanager
async def publisher(
    settings: StreamSettings, clock: Callable[[], int], tell: Tell = _no_progress
) -> AsyncIterator[tuple[Publisher, RangeReader]]:
    """Raises `KafkaAway`, `TopicsWrong`, `SettingsError`. clock: unix ms."""
    async with admin.admin(settings.kafka) as client:
        await admin.demand(client, settings.layout)
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=RECORD_BYTES,
        request_timeout_ms=REQUEST_MS,
        **client_options(settings.kafka),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await producer.start()
        async with range_reader(settings.kafka) as reader:
            yield Publisher(settings, producer, clock, tell), reader
    except (KafkaError, OSError, TimeoutError) as error:
        raise admin.KafkaAway(
            f"kafka at {settings.kafka.bootstrap}: {error or 'no answer'}; publish once more: "
            "what it has already stays as it is"
        ) from None
    finally:
        await goodbye(producer.stop())
