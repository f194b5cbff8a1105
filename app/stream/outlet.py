"""Records into Kafka: in order in each partition, at least once, and only then told.

One lane a partition sends what it has, waits for the acknowledgement of all in-sync replicas and
goes on. The producer is idempotent and tries again by itself as long as a broker may come back.
When it gives up, it is thrown away, and the lanes send with a new one what was not acknowledged:
records may repeat then, none is lost. A lane that gives up while others get through goes on with a
producer of its own: a partition without a leader is no trouble of the others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.stream.client import client_options, goodbye
from app.stream.settings import KafkaSettings
from app.stream.topics import RECORD_BYTES

BATCH_BYTES = 1 << 20
"""What a lane sends at once; a larger record goes alone."""
REQUEST_MS = 15_000
BROKERS_TIME = 1
"""`timestamp_type` of a topic that carries the broker's own time."""
BACKOFF_S = (0.2, 10.0)


@dataclass(slots=True)
class Parcel:
    """One record; without a value it takes back what its key said. done: called once Kafka has it.
    born_s: monotonic seconds."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    done: Callable[[], None]
    born_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class OutletCounts:
    """Totals since the start. producers: how many there were; each but the first after a fault."""

    records: int = 0
    bytes: int = 0
    producers: int = 0
    failures: int = 0


Lane = tuple[str, int]
"""(topic, partition)."""


class _Generation:
    """A producer and the moment of its end: futures of a dead one never come true. taken_s: of each
    lane, when Kafka took something last."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.taken_s: dict[Lane, float] = {}
        self.dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class _Alone:
    """A lane with a producer of its own. left: the common one that it failed with; with the next
    common one it sends again."""

    left: _Generation
    error: str
    own: _Generation | None = None
    pause_s: float = BACKOFF_S[0]


class Outlet:
    """Use within one event loop. Lanes end with `close`."""

    def __init__(self, settings: KafkaSettings, compression: str | None = None) -> None:
        self._settings = settings
        self._compression = compression
        self._lanes: dict[Lane, deque[Parcel]] = {}
        self._wake: dict[Lane, asyncio.Event] = {}
        self._alone: dict[Lane, _Alone] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._current: _Generation | None = None
        self._making = asyncio.Lock()
        self._settled = asyncio.Condition()
        self._pause_s = BACKOFF_S[0]
        self.counts = OutletCounts()
        self.waiting_bytes = 0
        self.last_error = ""
        self.ahead_ms = 0
        """Kafka's clock minus ours, as of the last record that carries Kafka's time."""

    def put(self, parcel: Parcel) -> None:
        """It is sent behind all that went to its partition before."""
        at = parcel.topic, parcel.partition
        if at not in self._lanes:
            self._lanes[at], self._wake[at] = deque(), asyncio.Event()
            self._spawn(self._lane(at))
        self._lanes[at].append(parcel)
        self.waiting_bytes += len(parcel.value or b"")
        self._wake[at].set()

    @property
    def connected(self) -> bool:
        return self._current is not None

    def troubles(self) -> dict[str, str]:
        """Partitions that don't take anything while others do, with the reason."""
        return {
            f"{topic} {n}": one.error for (topic, n), one in list(self._alone.items()) if one.error
        }

    def oldest_s(self) -> float:
        """Age of the oldest record that Kafka hasn't acknowledged, but for `troubles`; 0 = none."""
        born = []
        for at, lane in list(self._lanes.items()):
            if at in self._alone:
                continue
            # Asked from another thread, too: a lane may become empty meanwhile.
            with suppress(IndexError):
                born.append(lane[0].born_s)
        return time.monotonic() - min(born) if born else 0.0

    @property
    def faults(self) -> list[BaseException]:
        """What ended a lane: a fault of ours, for a lane never ends by itself."""
        ended = [task for task in list(self._tasks) if task.done() and not task.cancelled()]
        return [error for task in ended if (error := task.exception()) is not None]

    async def connect(self) -> None:
        """Have a producer before there is anything to send."""
        await self._producer()

    async def room(self, below_bytes: int, timeout_s: float) -> bool:
        """Wait until less than so much waits; False when it took too long."""
        if self.waiting_bytes < below_bytes:
            return True

        async def wait() -> None:
            async with self._settled:
                await self._settled.wait_for(lambda: self.waiting_bytes < below_bytes)

        with suppress(TimeoutError):
            await asyncio.wait_for(wait(), timeout_s)
        return self.waiting_bytes < below_bytes

    async def close(self) -> None:
        """What isn't in Kafka by now stays with those who sent it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        alone = [one.own for one in self._alone.values()]
        for generation in (self._current, *alone):
            if generation is not None:
                await _discard(generation)
        self._current = None
        self._alone.clear()

    async def _lane(self, at: Lane) -> None:
        lane, wake = self._lanes[at], self._wake[at]
        while True:
            if not lane:
                wake.clear()
                await wake.wait()
            sent = await self._send(at, _batch(lane))
            for _ in range(sent):
                parcel = lane.popleft()
                self.waiting_bytes -= len(parcel.value or b"")
                self.counts.records += 1
                self.counts.bytes += len(parcel.value or b"")
                parcel.done()
            async with self._settled:
                self._settled.notify_all()

    async def _send(self, at: Lane, batch: list[Parcel]) -> int:
        """One try; gives how many from the first on Kafka has."""
        alone = self._alone.get(at)
        if alone is not None and self._current not in (None, alone.left):
            await self._rejoin(at)
            alone = None
        if alone is not None:
            return await self._send_alone(alone, batch)
        generation, began_s = await self._producer(), time.monotonic()
        results = await _outcome(generation, batch)
        taken, error = _taken(results)
        if taken:
            generation.taken_s[at] = time.monotonic()
            self._hear_clock(results[taken - 1])
        if error is None:
            if results:
                self._pause_s = BACKOFF_S[0]
                self.last_error = ""
        elif any(s > began_s for lane, s in generation.taken_s.items() if lane != at):
            self.counts.failures += 1
            self._alone[at] = _Alone(generation, _text(error))
        else:
            await self._give_up(generation, error)
        return taken

    def _hear_clock(self, placed: Any) -> None:
        if placed.timestamp_type == BROKERS_TIME:
            self.ahead_ms = placed.timestamp - time.time_ns() // 1_000_000

    async def _send_alone(self, alone: _Alone, batch: list[Parcel]) -> int:
        try:
            if alone.own is None:
                alone.own = _Generation(await self._made())
            taken, error = _taken(await _outcome(alone.own, batch))
        except (KafkaError, OSError) as failed:
            taken, error = 0, failed
        if error is None:
            alone.error, alone.pause_s = "", BACKOFF_S[0]
            return taken
        self.counts.failures += 1
        alone.error = _text(error)
        if alone.own is not None:
            self._spawn(_discard(alone.own))
            alone.own = None
        await asyncio.sleep(alone.pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        alone.pause_s = min(alone.pause_s * 2, BACKOFF_S[1])
        return taken

    async def _rejoin(self, at: Lane) -> None:
        alone = self._alone.pop(at)
        if alone.own is not None:
            await _discard(alone.own)

    async def _producer(self) -> _Generation:
        """The producer, a new one where there is none. Tries until it is there."""
        async with self._making:
            while self._current is None:
                try:
                    self._current = _Generation(await self._made())
                except (KafkaError, OSError) as error:
                    self._told(error)
                    await self._back_off()
            return self._current

    async def _made(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression,
            max_batch_size=BATCH_BYTES,
            max_request_size=RECORD_BYTES,
            request_timeout_ms=REQUEST_MS,
            **client_options(self._settings),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self.counts.producers += 1
        return producer

    async def _give_up(self, generation: _Generation, error: BaseException) -> None:
        """The first lane that meets a fault ends the producer for all."""
        if generation.dead.done():
            return
        generation.dead.set_result(None)
        self._current = None
        self._told(error)
        self._spawn(_discard(generation))
        await self._back_off()

    def _told(self, error: BaseException) -> None:
        self.counts.failures += 1
        self.last_error = _text(error)

    async def _back_off(self) -> None:
        # Jitter: many bridges must not come back in the same moment.
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        self._pause_s = min(self._pause_s * 2, BACKOFF_S[1])

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A producer that is discarded leaves nothing behind; a fault stays to be told."""
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)


def _batch(lane: deque[Parcel]) -> list[Parcel]:
    """From the first on, as much as goes at once."""
    batch: list[Parcel] = []
    size = 0
    for parcel in lane:
        size += len(parcel.value or b"")
        if batch and size > BATCH_BYTES:
            break
        batch.append(parcel)
    return batch


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _taken(results: list[Any]) -> tuple[int, BaseException | None]:
    """How many from the first on Kafka has, and why not more."""
    for number, result in enumerate(results):
        if isinstance(result, BaseException):
            return number, result
    return len(results), None


async def _outcome(generation: _Generation, batch: list[Parcel]) -> list[Any]:
    """As `_answers`; nothing where the producer was ended by another lane meanwhile."""
    answers = asyncio.ensure_future(_answers(generation.producer, batch))
    await asyncio.wait((answers, generation.dead), return_when=asyncio.FIRST_COMPLETED)
    if not answers.done():
        answers.cancel()
        return []
    return answers.result()


async def _answers(producer: AIOKafkaProducer, batch: list[Parcel]) -> list[Any]:
    """Of each parcel what came of it: metadata, or the exception. Stops taking at the first."""
    futures: list[Any] = []
    for parcel in batch:
        try:
            futures.append(
                await producer.send(
                    parcel.topic, parcel.value, parcel.key or None, partition=parcel.partition
                )
            )
        except (KafkaError, OSError) as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            futures.append(failed)
            break
    return await asyncio.gather(*futures, return_exceptions=True)


async def _discard(generation: _Generation) -> None:
    """End a producer without waiting for what it still holds, which is sent again or not at all."""
    producer = generation.producer
    # Its own `stop` waits for every record, without end while no broker answers.
    task = producer._sender.sender_task
    if task is not None:
        task.cancel()
    with suppress(KafkaError, OSError, TimeoutError, asyncio.CancelledError):
        await producer.client.close()
        await goodbye(producer.stop())
