"""Kafka's side of one copy of dispatch: what it reads, what it tells, and whether it delivers.

Every copy reads all alert events and marks into a store of its own, from where it had come to. One
of them delivers: the member of the consumer group that Kafka gives the one partition of `marks`.
When it is gone, another gets it, reads on to the end of what there is, and goes on delivering. A
copy that was paused and wakes up may still send what it had begun: under the same ids.

All of it runs in one thread with an event loop; what blocks (SQLite, starting and stopping
deliveries) runs in a second one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from app.stream.admin import KafkaAway, TopicsWrong, admin, demand
from app.stream.client import client_options, goodbye
from app.stream.records import BadRecord, Pulse, decode_pulse
from app.stream.settings import StreamSettings
from contracts.alerts import AlertEvent
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import OperatorCommand
from dispatch import journal
from dispatch.journal import BadMark, Mark
from dispatch.store import Cursor, Store

ALERTS, MARKS = "alerts", "marks"
READ_MOST = 2_000
READ_MS = 500
SESSION_MS = 10_000
"""How long Kafka waits for a silent copy until another one delivers (proposal)."""
AGAIN_S = 1.0
SUBMIT_S = 15.0
KEPT_MARKS = 100_000
"""Marks that wait for Kafka; beyond, the oldest go, which costs repeats at a takeover."""

_event = msgspec.json.Decoder(AlertEvent)
_Batches = dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]


class DeskError(Exception):
    """This copy can't go on; one line with the mend."""


class Desk:
    """`start` it, then `submit` and `tell` from any thread; `stop` it.

    lead: called when this copy is to deliver and has read all there is; follow: when it no longer
    is. Both may block, and come in turns. pulses: partition of `log` -> what was told of it last.
    """

    def __init__(
        self,
        settings: StreamSettings,
        store: Store,
        *,
        lead: Callable[[], None],
        follow: Callable[[], None],
        switched: Callable[[], None],
        clock: Callable[[], int],
        logger: structlog.stdlib.BoundLogger,
    ) -> None:
        """switched: called after a mark has switched a receiver on or off."""
        self._settings, self._store = settings, store
        self._topics = settings.layout
        self._lead, self._follow, self._switched = lead, follow, switched
        self._clock, self._log = clock, logger
        self._began_ms = clock()
        self._marks: deque[Mark] = deque(maxlen=KEPT_MARKS)
        self._marked = asyncio.Event()
        self._kept_to: dict[TopicPartition, int] = {}
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None
        self.leads = False
        self.away = "connecting"
        self.failed: BaseException | None = None
        self.pulses: Mapping[int, Pulse] = {}
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    # From any thread

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def tell(self, mark: Mark) -> None:
        """Pass on what this copy did. Never waits."""
        if len(self._marks) == KEPT_MARKS:
            self.counts["marks_lost"] += 1
        self._marks.append(mark)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._marked.set)

    def submit(self, command: OperatorCommand) -> None:
        """Returns when every partition of `log` has the command; a partition whose alert it isn't
        passes over it. Raises when that isn't sure: it may be sent again under its id."""
        loop = self._loop
        if loop is None:
            raise DeskError("kafka isn't there yet; send it again")
        asyncio.run_coroutine_threadsafe(self._append(command), loop).result(SUBMIT_S)

    def lag_ms(self, now_ms: int) -> int:
        """How far the slowest partition is behind now; one that never told since this start."""
        heard = [
            self.pulses[n].heard_ms if n in self.pulses else self._began_ms
            for n in range(self._topics.log.partitions)
        ]
        return max(0, now_ms - min(heard))

    def position(self) -> int:
        """Records decided in all partitions together."""
        return sum(pulse.position for pulse in self.pulses.values())

    # The thread

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001 - who watches the thread ends the process
            self.failed = error
            self._log.exception("desk failed")

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            try:
                await self._connected()
            except TopicsWrong as error:
                raise DeskError(str(error)) from None
            except (KafkaAway, KafkaError, OSError) as error:
                self.away = f"{type(error).__name__}: {error}"
                self._log.error("no connection to kafka", why=self.away)
                await self._step_down()
                await self._pause(AGAIN_S)
        await self._step_down()

    async def _pause(self, seconds: float) -> None:
        with_end = asyncio.wait_for(self._stopping.wait(), seconds)
        try:
            await with_end
        except TimeoutError:
            return

    async def _connected(self) -> None:
        """From a connection to its end. Raises `KafkaAway`, `KafkaError`, `TopicsWrong`."""
        async with admin(self._settings.kafka) as client:
            await demand(client, self._topics)
        options = client_options(self._settings.kafka)
        reader = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="none", **options)
        producer = AIOKafkaProducer(enable_idempotence=True, acks="all", **options)
        election = _Election(self._step_down)
        member = AIOKafkaConsumer(
            group_id=f"{self._settings.topics.prefix}dispatch",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 4,
            enable_auto_commit=False,
            **options,
        )
        started: list[Any] = []
        try:
            for client in (reader, producer, member):
                await client.start()
                started.append(client)
            self._producer = producer
            await self._seek(reader)
            self.away = ""
            tasks = [
                asyncio.create_task(self._read(reader)),
                asyncio.create_task(self._send_marks(producer)),
                asyncio.create_task(self._stand(member, reader, election)),
                asyncio.create_task(self._stopping.wait()),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            # An orderly end: what was under way is delivered, and the next copy knows of it.
            await self._step_down()
            await goodbye(self._flush(producer))
        finally:
            self._producer = None
            await self._step_down()
            for client in reversed(started):
                await goodbye(client.stop())

    # Reading

    async def _seek(self, reader: AIOKafkaConsumer) -> None:
        """Go on where the store ends. Raises `DeskError` when that is beyond the topic's end: it is
        another topic than the store was filled from."""
        topics = self._topics
        at: dict[TopicPartition, int] = {}
        for topic, role in ((topics.alerts, ALERTS), (topics.marks, MARKS), (topics.pulses, "")):
            cursors = await asyncio.to_thread(self._store.cursors, role) if role else {}
            for n in range(topic.partitions):
                at[TopicPartition(topic.name, n)] = cursors.get(n, 0)
        reader.assign(list(at))
        begins, ends = await reader.beginning_offsets(list(at)), await reader.end_offsets(list(at))
        for one, offset in at.items():
            if offset > ends[one]:
                raise DeskError(
                    f"{self._store.path}: has read {one.topic} up to {offset}, it ends at "
                    f"{ends[one]}: another Kafka? name another data folder"
                )
            if 0 < offset < begins[one]:
                # Too long away: what Kafka has forgotten is counted, and the rest goes on.
                self.counts["events_expired"] += begins[one] - offset
                self._log.error("too long away", topic=one.topic, lost=begins[one] - offset)
            self._kept_to[one] = max(offset, begins[one])
            reader.seek(one, self._kept_to[one])

    async def _read(self, reader: AIOKafkaConsumer) -> None:
        while True:
            batches: _Batches = await reader.getmany(timeout_ms=READ_MS, max_records=READ_MOST)
            for one, records in batches.items():
                await self._keep(one, records)

    async def _keep(
        self, one: TopicPartition, records: list[ConsumerRecord[bytes | None, bytes | None]]
    ) -> None:
        full = [record for record in records if record.value is not None]
        values = [record.value for record in full]
        reached = records[-1].offset + 1
        if one.topic == self._topics.pulses.name:
            self._take_pulses(values)
        elif one.topic == self._topics.marks.name:
            marks = [mark for mark in map(self._mark, values) if mark is not None]
            cursors = [Cursor(MARKS, one.partition, reached)]
            await self._kept(lambda: self._store.note(marks, cursors))
            if any(isinstance(mark, journal.Switched) for mark in marks):
                await asyncio.to_thread(self._switched)
        else:
            found = [(self._alert(record.value), int(record.timestamp)) for record in full]
            events = [(event, at_ms) for event, at_ms in found if event is not None]
            cursors = [Cursor(ALERTS, one.partition, reached)]
            await self._kept(lambda: self._record(events, reached - 1, cursors))
        self._kept_to[one] = reached

    def _record(
        self, events: list[tuple[AlertEvent, int]], offset: int, cursors: list[Cursor]
    ) -> None:
        """With Kafka's times: a store that is filled again knows what is old."""
        recorded = self._store.record(
            [event for event, _ in events],
            offset,
            times_ms=[at_ms for _, at_ms in events],
            cursors=cursors,
        )
        self.counts["events"] += len(recorded.new)
        self.counts["events_repeated"] += recorded.repeats
        self.counts["events_conflicting"] += recorded.conflicts

    async def _kept(self, step: Callable[[], None]) -> None:
        """Again and again while the disk has no room: nothing is passed over."""
        while True:
            try:
                await asyncio.to_thread(step)
                return
            except sqlite3.OperationalError as error:
                self.counts["store_failed"] += 1
                self._log.error("alerts can't be recorded", error=str(error))
                await asyncio.sleep(AGAIN_S)

    def _take_pulses(self, values: list[bytes]) -> None:
        pulses = dict(self.pulses)
        for value in values:
            try:
                pulse = decode_pulse(value)
            except BadRecord as error:
                self._refused("pulse", error)
            else:
                pulses[pulse.partition] = pulse
        self.pulses = pulses

    def _alert(self, value: bytes) -> AlertEvent | None:
        try:
            return _event.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._refused("alert", error)
            return None

    def _mark(self, value: bytes) -> Mark | None:
        try:
            return journal.decode(value)
        except BadMark as error:
            self._refused("mark", error)
            return None

    def _refused(self, what: str, error: Exception) -> None:
        """It stays in its topic; here it is counted and said."""
        self.counts[f"bad_{what}"] += 1
        self._log.error("a record can't be read", what=what, why=str(error)[:200])

    # Telling

    async def _append(self, command: OperatorCommand) -> None:
        producer = self._producer
        if producer is None:
            raise DeskError(f"kafka is away ({self.away}); send it again")
        payload = msgspec.json.encode(command)
        record = LogRecord(RecordKind.COMMAND, self._clock(), "", payload)
        value, log = encode_bundle([record]), self._topics.log
        async with asyncio.timeout(SUBMIT_S):
            sent = [
                await producer.send(log.name, value, partition=n) for n in range(log.partitions)
            ]
            await asyncio.gather(*sent)

    async def _send_marks(self, producer: AIOKafkaProducer) -> None:
        while True:
            await self._marked.wait()
            self._marked.clear()
            await self._flush(producer)

    async def _flush(self, producer: AIOKafkaProducer) -> None:
        """Marks leave the queue when Kafka has them; after a failure they go again."""
        while self._marks:
            marks = [self._marks[i] for i in range(min(len(self._marks), READ_MOST))]
            name = self._topics.marks.name
            sent = [
                await producer.send(name, journal.encode(mark), key=journal.key(mark), partition=0)
                for mark in marks
            ]
            await asyncio.gather(*sent)
            for _ in marks:
                self._marks.popleft()

    # Who delivers

    async def _stand(
        self, member: AIOKafkaConsumer, reader: AIOKafkaConsumer, election: _Election
    ) -> None:
        """Lead while the one partition of `marks` is ours.

        Who has months to read doesn't stand yet: Kafka may take the turn from a copy that delivers.
        """
        await self._read_all(reader)
        member.subscribe([self._topics.marks.name], listener=election)
        while True:
            # Nothing is read here: being a member is all.
            member.pause(*member.assignment())
            await member.getmany(timeout_ms=READ_MS)
            if not self.leads and member.assignment():
                await self._read_all(reader)
                async with self._turn:
                    if member.assignment():
                        self.leads = True
                        left_out = await asyncio.to_thread(self._store.welcome, self._clock())
                        self.counts["deliveries_left_out"] += left_out
                        await asyncio.to_thread(self._lead)
                        self._log.info("this copy delivers")

    async def _read_all(self, reader: AIOKafkaConsumer) -> None:
        """Until everything that is there now has been read: the marks of who led before, above
        all."""
        names = (self._topics.alerts.name, self._topics.marks.name)
        parts = [one for one in reader.assignment() if one.topic in names]
        ends = await reader.end_offsets(parts)
        while any(self._kept_to[one] < ends[one] for one in parts):
            await asyncio.sleep(0.05)

    async def _step_down(self) -> None:
        async with self._turn:
            if self.leads:
                self.leads = False
                self._log.info("this copy no longer delivers")
                await asyncio.to_thread(self._follow)


class _Election(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka's ABC is untyped
    """Kafka waits for a member that is told to give up its partition: by the time another copy
    gets it, this one has stopped."""

    def __init__(self, revoked: Callable[[], Awaitable[None]]) -> None:
        self._revoked = revoked

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        if revoked:
            await self._revoked()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        del assigned
