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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.speaker import Speaker
from app.stream.contents import Library
from app.stream.lane import Post
from app.stream.partition import JUDGED, Contents
from app.stream.records import KEPT_BYTES, DeadLetter, encode
from app.stream.settings import KafkaSettings
from app.stream.signals import INTERESTS, BadSignals, Signals, decode, fed_of
from app.stream.tails import ALL_OF_IT, keep_reading
from app.stream.topics import Topics
from contracts.alert_data import ModelRef
from contracts.detector import Detector
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed
from contracts.registry import Registry
from contracts.rejects import Reason

STATE_VERSION = 1
PATIENCE_S = 60.0
"""For a registry that signals name: it was there when they were made."""
POLL_MS = 200
POLL_RECORDS = 64


State = Callable[[], Awaitable[dict[str, bytes]]]
"""Chunks for the snapshot of a partition."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is saved. offset: of the next record to read. upto: the position in the log up to which
    all signals are known. told: the model that the log was told of."""

    version: int
    offset: int
    upto: int
    told: ModelRef | None
    speaker: bytes


_kept_decoder = msgspec.msgpack.Decoder(_Kept)


class Judge:
    """One detector at one partition. `take`, `snapshot` and `restore` belong to the judging thread.

    offset: of the next record to read, -1 = the first that is there. halted: why it judges no
    more, "" = it does.
    """

    def __init__(self, detector: Detector, contents: Contents) -> None:
        self._detector, self._contents = detector, contents
        self._speaker = Speaker(detector)
        self._registry: str | None = None
        self._directory = DeviceDirectory(Registry())
        self._told: ModelRef | None = None
        self.offset, self.upto = -1, 0
        self.packs = 0
        self.halted = ""
        self._saved: bytes | None = None

    def take(self, signals: Signals) -> tuple[list[LogRecord], list[str]]:
        """(records for the log that come of it, why parts were passed over that can't be read).
        Raises whatever the detector raises."""
        found: list[LogRecord] = []
        refused: list[str] = []
        for part in signals.parts:
            self._under(part.registry)
            try:
                fed = fed_of(part, self.upto, self._directory)
            except BadSignals as error:
                refused.append(str(error))
                continue
            if not fed.records and not fed.batches:
                continue
            messages = self._speaker.work(fed)
            marks = [one.accepted_ms for one in fed.records if one.kind is RecordKind.MARK]
            found += [
                LogRecord(RecordKind.PACK, marks[-1], self._detector.gateway, message.payload)
                for message in messages
            ]
        self.upto = max(self.upto, signals.upto)
        if found and self._told != self._detector.model:
            found.insert(0, self._telling(found[0].accepted_ms))
            self._told = self._detector.model
        return found, refused

    def _under(self, registry: str) -> None:
        if registry != self._registry:
            known = self._contents.registry(registry) if registry else Registry()
            self._registry, self._directory = registry, DeviceDirectory(known)

    def _telling(self, at_ms: int) -> LogRecord:
        """What judges from here on."""
        model = self._detector.model
        installed = Installed(
            what="model",
            hash=model.hash,
            active_ms=at_ms,
            name=model.detector,
            threshold=model.threshold,
        )
        return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(installed))

    def snapshot(self) -> bytes | None:
        """None = it has nothing to keep yet. Of a halted one what it knew when it was taken over:
        who comes next tries again from there."""
        if self.halted or self.offset < 0:
            return self._saved
        return msgspec.msgpack.encode(
            _Kept(
                version=STATE_VERSION,
                offset=self.offset,
                upto=self.upto,
                told=self._told,
                speaker=self._speaker.snapshot(),
            )
        )

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError`."""
        try:
            kept = _kept_decoder.decode(blob)
            if kept.version != STATE_VERSION:
                raise ValueError(f"version {kept.version}, this is {STATE_VERSION}")
            self._speaker.restore(kept.speaker)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None
        self.offset, self.upto, self._told = kept.offset, kept.upto, kept.told
        self._saved = blob


@dataclass(slots=True)
class _Seat:
    """One judge where it sits. lock: held from taking signals until Kafka has what came of them."""

    name: str
    at: TopicPartition
    judge: Judge
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


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
    ) -> None:
        """makers: by name what makes a detector; see `app.runners.detectors.open_models`."""
        self._kafka, self._topics, self._contents = kafka, topics, contents
        self._post, self._makers, self._logger = post, makers, logger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self._seats: dict[TopicPartition, _Seat] = {}
        self._changed = asyncio.Event()
        self.last_error = ""

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
            judge = Judge(make(), self._contents)
            blob = chunks.get(JUDGED + name)
            if blob is not None:
                try:
                    judge.restore(blob)
                except ValueError as error:
                    judge = Judge(make(), self._contents)
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
                "halted": seat.judge.halted,
            }
            for at, seat in self._seats.items()
            if at.partition == partition
        }

    def problems(self) -> list[str]:
        """For health."""
        return [
            f"partition {at.partition}: the detector {seat.name} stopped: {seat.judge.halted}"
            for at, seat in self._seats.items()
            if seat.judge.halted
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
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await self._seek(consumer)
            if not self._seats:
                await self._changed.wait()
                continue
            came = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            self.last_error = ""
            for at, records in came.items():
                seat = self._seats.get(at)
                if seat is not None:
                    await self._take(seat, records)

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        seats = dict(self._seats)
        consumer.assign(list(seats))
        if not seats:
            return
        firsts = await consumer.beginning_offsets(list(seats))
        ends = await consumer.end_offsets(list(seats))
        for at, seat in seats.items():
            wanted = seat.judge.offset
            # Beyond the end: the topic was made anew. What is known already is passed over.
            offset = firsts[at] if wanted < 0 or wanted > ends[at] else max(wanted, firsts[at])
            if wanted >= 0 and offset != wanted:
                self._logger.error(
                    "signals are gone", topic=at.topic, partition=at.partition, wanted=wanted,
                    found=offset,
                )  # fmt: skip
            consumer.seek(at, offset)

    async def _take(self, seat: _Seat, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            if seat.judge.halted or self._seats.get(seat.at) is not seat:
                return
            async with seat.lock:
                await self._take_one(seat, record)

    async def _take_one(self, seat: _Seat, record: ConsumerRecord) -> None:
        judge, value = seat.judge, record.value or b""
        try:
            signals = decode(value)
            await self._bring(signals)
            found, refused = await self._judge(lambda: judge.take(signals))
        except BadSignals as error:
            found, refused = [], [str(error)]
        except Exception as error:
            # Deciding goes on without its scores; health says so.
            judge.halted = f"{type(error).__name__}: {error}"[:300]
            self._logger.exception(
                "a detector failed", detector=seat.name, partition=seat.at.partition
            )
            return
        for why in refused:
            await self._refuse(record, why)
        if found:
            bundle = encode_bundle(found)
            key = f"detector-{seat.name}".encode()
            await self._post.send([(self._topics.log.name, seat.at.partition, key, bundle)])
            judge.packs += sum([one.kind is RecordKind.PACK for one in found])
        judge.offset = record.offset + 1

    async def _bring(self, signals: Signals) -> None:
        """The registries that it came under. Raises `BadSignals` for one that is nowhere."""
        for name in {part.registry for part in signals.parts} - {""}:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._contents.bring("registry", name)
            except TimeoutError:
                raise BadSignals(f"the registry {name[:16]} is nowhere") from None

    async def _refuse(self, record: ConsumerRecord, why: str) -> None:
        value = record.value or b""
        self._logger.error("signals refused", topic=record.topic, offset=record.offset, why=why)
        letter = DeadLetter(
            by="worker",
            at_ms=record.timestamp,
            source=record.topic,
            reason=Reason.BAD_STRUCTURE.value,
            field="signals",
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
