"""Detectors of a worker (ADR 0011): they read `tracks` and `homes`, and what they find goes into
the log as packs of inner gateways.

A thread of its own judges, beside the one that decides: a slow model holds up no fire alarm. What a
detector knows stands in the snapshots of its partition, as it is when Kafka has all its packs.
After a crash signals are read again from there, the same packs with the same sequences are made
again, and the partition's ledger drops those that the log has. So nothing here has to fit the
position of what is decided: both are functions of the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app.speaker import StateRefused
from app.stream.contents import Library
from app.stream.judge import Judge
from app.stream.partition import JUDGED
from app.stream.post import Post
from app.stream.records import KEPT_BYTES, SIGNALS, DeadLetter, encode
from app.stream.settings import KafkaSettings
from app.stream.signals import INTERESTS, BadSignals, Signals, decode
from app.stream.tails import ALL_OF_IT, keep_reading
from app.stream.topics import Topics
from contracts.detector import Detector
from contracts.log import RecordKind, encode_bundle
from contracts.messages import Installed
from contracts.rejects import Reason

PATIENCE_S = 60.0
"""For a registry that signals name and that the topic doesn't have, while Kafka answers: it was
there when they were made."""
TRY_S = 1.0
POLL_MS = 200
POLL_RECORDS = 64
LOOK_EVERY_S = 10.0
STILL_S = 30.0
"""With records to read and nothing come for so long, another connection is made: clients have been
seen to stop reading without an error."""
BEHIND_RECORDS = 60
"""A minute of time marks (proposal): more to go than that is told."""


State = Callable[[], Awaitable[dict[str, bytes]]]
"""Chunks for the snapshot of a partition."""


class SignalsStill(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """There are signals, and none come."""


@dataclass(slots=True)
class _Seat:
    """One judge where it sits. lock: held from taking signals until Kafka has what came of them.

    stands: why it doesn't go on; again_s: monotonic, when it tries again. waits_s: how long it has
    waited for a registry that is nowhere. to_go: records, as of the last look.
    """

    name: str
    at: TopicPartition
    judge: Judge
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stands: str = ""
    again_s: float = 0.0
    waits_s: float = 0.0
    to_go: int = 0


class Judging:
    """The detectors of all partitions that are this worker's. Use within one event loop."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Topics,
        contents: Library,
        post: Post,
        makers: Mapping[str, Callable[[], Detector]],
        logger: structlog.stdlib.BoundLogger,
        *,
        nowhere: Callable[[str], bool],
    ) -> None:
        """makers: by name what makes a detector; see `app.runners.detectors.open_models`. nowhere:
        whether Kafka answers, and has no content of this hash."""
        self._kafka, self._topics, self._contents = kafka, topics, contents
        self._post, self._makers, self._logger = post, makers, logger
        self._nowhere = nowhere
        self._read: dict[TopicPartition, _Seat] = {}
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self._seats: dict[TopicPartition, _Seat] = {}
        self._changed = asyncio.Event()
        self.last_error = ""
        self._began: tuple[float, _Seat] | None = None
        """Since when (monotonic) who judges signals."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._makers)

    def topic(self, role: str) -> str:
        name: str = getattr(self._topics, role).name
        return name

    def own(self, partition: int, chunks: Mapping[str, bytes]) -> State:
        """A partition is ours, with the state of its snapshot. One that can't be read is told of
        and begun anew, with the oldest signals that are there. Gives what tells its state later."""
        seats: list[_Seat] = []
        for name, make in self._makers.items():
            judge = Judge(make, self._contents)
            blob = chunks.get(JUDGED + name)
            if blob is not None:
                try:
                    judge.restore(blob)
                except ValueError as error:
                    judge = Judge(make, self._contents)
                    self._logger.error(
                        "detector begins anew", detector=name, partition=partition, why=str(error)
                    )
            at = TopicPartition(self.topic(INTERESTS[name].role), partition)
            self._seats[at] = _Seat(name, at, judge)
            seats.append(self._seats[at])
        self._changed.set()
        return lambda: self._chunks(seats)

    def drop(self, partition: int) -> None:
        for at in [at for at in self._seats if at.partition == partition]:
            del self._seats[at]
        self._changed.set()

    async def _chunks(self, seats: Sequence[_Seat]) -> dict[str, bytes]:
        """For the snapshot of their partition."""
        found: dict[str, bytes] = {}
        for seat in seats:
            async with seat.lock:
                blob = await self._judge(seat.judge.snapshot)
            if blob is not None:
                found[JUDGED + seat.name] = blob
        return found

    def document(self, partition: int) -> dict[str, dict[str, Any]]:
        """For health: by detector how far it is."""
        return {
            seat.name: {
                "offset": seat.judge.offset,
                "upto": seat.judge.upto,
                "packs": seat.judge.packs,
                "to_go": seat.to_go,
                "stands": seat.stands,
                "left_out": len(seat.judge.trials.left_out),
            }
            for at, seat in list(self._seats.items())
            if at.partition == partition
        }

    def problems(self) -> list[str]:
        """For health."""
        seats = list(self._seats.items())
        found = [
            f"partition {at.partition}: the detector {seat.name} stands: {seat.stands}"
            for at, seat in seats
            if seat.stands
        ]
        if self._began is not None and (for_s := time.monotonic() - self._began[0]) > STILL_S:
            # Ending the process would hold up fire alarms.
            seat = self._began[1]
            found.append(f"the detector {seat.name} has judged one record for {for_s:.0f} s")
        return found + [
            f"partition {at.partition}: the detector {seat.name} has {seat.to_go} records to go"
            for at, seat in seats
            if seat.to_go > BEHIND_RECORDS and not seat.stands
        ]

    async def run(self) -> None:
        """Without end."""
        await keep_reading(self._kafka, self._follow, self._unread, **ALL_OF_IT)

    def _unread(self, why: str) -> None:
        self.last_error = why
        self._logger.error("signals can't be read", why=why)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        # A new consumer has nothing assigned.
        self._changed.set()
        came_s = looked_s = time.monotonic()
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await self._assign(consumer)
            if not self._seats:
                await self._changed.wait()
                continue
            for at, seat in self._read.items():
                if seat.again_s and time.monotonic() >= seat.again_s:
                    seat.again_s = 0.0
                    await self._seek(consumer, [at])
                    consumer.resume(at)
            came = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            self.last_error = ""
            for at, records in came.items():
                # Of whoever sat there when reading began: another has a place of his own.
                await self._take(consumer, self._read[at], records)
                came_s = time.monotonic()
            if time.monotonic() - looked_s > LOOK_EVERY_S:
                await self._look(consumer, still_s=time.monotonic() - came_s)
                looked_s = time.monotonic()

    async def _look(self, consumer: AIOKafkaConsumer, *, still_s: float) -> None:
        """How much there is to do. Raises `SignalsStill`."""
        read = dict(self._read)
        ends = await consumer.end_offsets(list(read))
        for at, seat in read.items():
            seat.to_go = max(0, ends[at] - max(seat.judge.offset, 0))
        if still_s > STILL_S and any(one.to_go and not one.stands for one in read.values()):
            raise SignalsStill(f"nothing came for {still_s:.0f} s")

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        self._read = dict(self._seats)
        consumer.assign(list(self._read))
        await self._seek(consumer, list(self._read))
        standing = [at for at, seat in self._read.items() if seat.again_s]
        consumer.pause(*standing)

    async def _seek(self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
        """Each where its judge goes on."""
        if not places:
            return
        firsts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        for at in places:
            wanted = self._read[at].judge.offset
            # Beyond the end: the topic was made anew. What is known already is passed over.
            offset = firsts[at] if wanted < 0 or wanted > ends[at] else max(wanted, firsts[at])
            if wanted >= 0 and offset != wanted:
                self._logger.error(
                    "signals are gone", topic=at.topic, partition=at.partition, wanted=wanted,
                    found=offset,
                )  # fmt: skip
            consumer.seek(at, offset)

    async def _take(
        self, consumer: AIOKafkaConsumer, seat: _Seat, records: Sequence[ConsumerRecord]
    ) -> None:
        """As far as it gets; what is left is read again."""
        for record in records:
            if self._seats.get(seat.at) is not seat:
                return
            async with seat.lock:
                await self._take_one(seat, record)
            if seat.stands:
                consumer.pause(seat.at)
                return

    async def _take_one(self, seat: _Seat, record: ConsumerRecord) -> None:
        judge, value = seat.judge, record.value or b""
        found, refused, why = [], list[str](), judge.trials.left_out.get(record.offset)
        try:
            if why is not None:
                await self._refuse(record, Reason.UNDECIDABLE, why)
            else:
                signals = decode(value)
                if not self._at_hand(seat, signals):
                    return
                self._began = time.monotonic(), seat
                found, refused = await self._judge(lambda: judge.take(signals))
        except BadSignals as error:
            refused = [str(error)]
        except Exception as error:
            self._logger.exception(
                "a detector failed", detector=seat.name, at=str(seat.at), offset=record.offset
            )
            self._failed(seat, record.offset, error)
            return
        finally:
            self._began = None
        for one in refused:
            await self._refuse(record, Reason.BAD_STRUCTURE, one)
        if found:
            bundle = encode_bundle(found)
            key = f"detector-{seat.name}".encode()
            await self._post.send([(self._topics.log.name, seat.at.partition, key, bundle)])
            judge.packs += sum([one.kind is RecordKind.PACK for one in found])
        judge.offset = record.offset + 1
        seat.stands, seat.waits_s = "", 0.0

    def _failed(self, seat: _Seat, offset: int, error: Exception) -> None:
        """Deciding goes on without its scores; health says so."""
        judge, why, pause_s = seat.judge, f"{type(error).__name__}: {error}"[:300], 0.0
        if isinstance(error, StateRefused):
            judge.begin_anew()
        else:
            pause_s = judge.trials.failed(offset, why)
            judge.begin_again()
        self._stand(seat, f"offset {offset}: {why}", pause_s)

    def _stand(self, seat: _Seat, why: str, pause_s: float) -> None:
        seat.stands, seat.again_s = why, time.monotonic() + pause_s

    def _at_hand(self, seat: _Seat, signals: Signals) -> bool:
        """Whether the registries that it came under are there; else it stands, and they are
        fetched. Raises `BadSignals` for one that is nowhere."""
        missing = [
            name
            for name in dict.fromkeys(part.registry for part in signals.parts)
            if name and not self._contents.ready(_registry(name))
        ]
        if not missing:
            return True
        if self._nowhere(missing[0]):
            seat.waits_s += TRY_S
        if seat.waits_s > PATIENCE_S:
            raise BadSignals(f"the registry {missing[0][:16]} is nowhere")
        for name in missing:
            if name not in self._coming:
                self._coming[name] = asyncio.ensure_future(self._bring(name))
        self._stand(seat, f"waits for the registry {missing[0][:16]}", TRY_S)
        return False

    async def _bring(self, name: str) -> None:
        try:
            await self._contents.bring("registry", name)
        finally:
            del self._coming[name]

    async def _refuse(self, record: ConsumerRecord, reason: Reason, why: str) -> None:
        value = record.value or b""
        self._logger.error("signals refused", topic=record.topic, offset=record.offset, why=why)
        letter = DeadLetter(
            by="worker",
            at_ms=record.timestamp,
            source=record.topic,
            reason=reason.value,
            field=SIGNALS,
            detail=why,
            partition=record.partition,
            offset=record.offset,
            size=len(value),
            payload=value[:KEPT_BYTES],
        )
        key = record.topic.encode()
        await self._post.send([(self._topics.letters.name, 0, key, encode(letter))])

    async def _judge(self, what: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)


def _registry(name: str) -> Installed:
    return Installed(what="registry", hash=name, active_ms=0)
