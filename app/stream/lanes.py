"""All partitions that are this worker's now: taken over, worked at, handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import structlog

from app.stream.ends import Ends
from app.stream.lane import Lane, Post, Saver, Waiting
from app.stream.partition import Contents, Outputs, Partition
from app.stream.records import Ask, Pulse, encode
from app.stream.routes import by_checksum
from app.stream.snapshots import SnapshotReader
from app.stream.topics import Topics
from app.stream.worker_metrics import WorkerMetrics
from contracts import topics as mqtt_topics
from contracts.alerts import encode_event
from contracts.log import LogRecord, RecordKind, encode_bundle
from ingest.partition import Bundle
from ingest.telemetry import TelemetryStore

R = TypeVar("R")

LIVE_RECORDS = 100
"""With no more than so many records to go gaps are asked for (proposal): behind that, the packs
that fill them may be on their way."""


class LogShort(Exception):
    """Records are gone from the log that no snapshot covers."""

    def __init__(self, partition: int, wanted: int, first: int) -> None:
        super().__init__(
            f"partition {partition}: the log begins at offset {first}, but what is decided ends "
            f"before {wanted}: lengthen topics.log_days, restore the topic snapshots, or set "
            "worker.from_earliest = true to go on without what is gone"
        )


class LogCut(Exception):
    """The log ends before what is decided: Kafka has lost its end, or it is another topic."""

    def __init__(self, partition: int, wanted: int, end: int) -> None:
        super().__init__(
            f"partition {partition}: the log ends at offset {end}, but is decided up to {wanted}: "
            "Kafka has lost records, or the topic was made anew; what came since would be passed "
            "over. Set worker.from_earliest = true to go on from that end"
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lanes need of the world."""

    topics: Topics
    contents: Contents
    reader: SnapshotReader
    post: Post
    saver: Saver
    ends: Callable[[Iterable[int]], Awaitable[Ends]]
    telemetry: TelemetryStore | None
    metrics: WorkerMetrics
    logger: structlog.stdlib.BoundLogger
    clock: Callable[[], int]
    failed: Callable[[str], None]


class Lanes:
    """Use within one event loop; deciding has a thread of its own."""

    def __init__(
        self, around: Surroundings, *, waiting_bytes: int, from_earliest: bool, marks: bool
    ) -> None:
        self._around = around
        self._limit, self._from_earliest, self._marks = waiting_bytes, from_earliest, marks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deciding")
        self._lanes: dict[int, Lane] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._shown: set[str] = set()
        self.loading: set[int] = set()
        self.ends = Ends()
        self.moved_s = time.monotonic()
        """When partitions came or went last."""

    def __len__(self) -> int:
        return len(self._lanes)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    async def decide(self, what: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def pause(self) -> None:
        """The group is being divided anew: what waits isn't decided any more."""
        self.moved_s = time.monotonic()
        for lane in self._lanes.values():
            lane.forget()

    async def own(self, partitions: set[int]) -> None:
        """Exactly these are ours from now on. State that is there goes on; other is loaded.

        What was in memory all the time is as good as ever: it depends on the log alone.
        """
        if self._closed:
            return
        self._around.metrics.rebalances.inc()
        for number in sorted(set(self._lanes) - partitions):
            lane = self._lanes.pop(number)
            self._closing.add(asyncio.ensure_future(self._let_go(lane)))
        self._closing = {task for task in self._closing if not task.done()}
        for number in sorted(partitions - set(self._lanes)):
            await self._load(number)
        self._around.metrics.partitions.set(len(self._lanes))
        self.moved_s = time.monotonic()

    async def _let_go(self, lane: Lane) -> None:
        """Without a last snapshot: the next one reads on by now."""
        await lane.close(save=False)

    async def _load(self, number: int) -> None:
        around, started = self._around, time.monotonic()
        self.loading.add(number)
        try:
            saved = await around.reader.load(number)
            self.ends = await around.ends([number, *self._lanes])
            first = self.ends.first[number]
            if saved is None:
                if first > 0 and not self._from_earliest:
                    raise LogShort(number, 0, first)
                partition = Partition(number, around.contents, first_offset=first)
            else:
                chunks = saved.chunks
                partition = await self.decide(
                    lambda: Partition.restored(number, around.contents, chunks)
                )
                self._check(number, partition, first, self.ends.next[number])
            lane = Lane(
                partition,
                decide=self.decide,
                work=self._work,
                deliver=self._deliver,
                saver=around.saver,
                saved=None if saved is None else saved.manifest,
            )
            lane.task = asyncio.ensure_future(self._run(lane))
            lane.recovered_s = time.monotonic() - started
            self._lanes[number] = lane
        finally:
            self.loading.discard(number)
        around.metrics.recovery_s.set(lane.recovered_s)
        around.logger.info(
            "partition taken over",
            partition=number,
            offset=partition.offset,
            took_s=round(lane.recovered_s, 3),
        )

    def _check(self, number: int, partition: Partition, first: int, end: int) -> None:
        """Between what is decided and the log's records nothing is missing, or the settings say
        that it may be. Raises `LogShort`, `LogCut`."""
        wanted = partition.offset + 1
        if first > wanted:
            if not self._from_earliest:
                raise LogShort(number, wanted, first)
            partition.log.skip_to(first)
        elif end < wanted:
            if not self._from_earliest:
                raise LogCut(number, wanted, end)
            partition.log.skip_to(end)

    async def _run(self, lane: Lane) -> None:
        """Fails loud: what isn't decided must not count as done."""
        try:
            await lane.run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            at = f"partition {lane.number}, behind offset {lane.offset}"
            self._around.logger.exception("a partition can't be decided", at=at)
            self._around.failed(f"{at}: {type(error).__name__}: {error}")

    def _work(self, partition: Partition, bundles: Sequence[Bundle]) -> Outputs:
        """In the deciding thread."""
        around = self._around
        with around.metrics.step.time():
            outputs = partition.work(bundles)
        if around.telemetry is not None:
            for batch in outputs.batches:
                around.telemetry.write(batch, partition.engine.directory)
        return outputs

    async def _deliver(self, partition: Partition, outputs: Outputs) -> None:
        topics = self._around.topics
        records: list[tuple[str, int, bytes | None, bytes | None]] = [
            (
                topics.alerts.name,
                by_checksum(event.gridcode, topics.alerts.partitions),
                event.gridcode.encode(),
                encode_event(event),
            )
            for event in outputs.events
        ]
        records += [
            (topics.letters.name, 0, letter.source.encode()[:200] or None, encode(letter))
            for letter in outputs.letters
        ]
        if records:
            await self._around.post.send(records)
        self._around.metrics.count(outputs)
        for news in outputs.news:
            self._around.logger.info(
                "rules", partition=partition.number, state=news.state, why=news.why
            )

    async def put(self, partition: int, waiting: Waiting) -> None:
        """A record of the log has come; waits while too much of them lies here undecided."""
        while sum([lane.waiting_bytes for lane in self._lanes.values()]) > self._limit:
            await asyncio.sleep(0.005)
        lane = self._lanes.get(partition)
        if lane is not None:
            lane.put(waiting)

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets to read on from."""
        return {n: self._lanes[n].expected for n in partitions if n in self._lanes}

    async def each_second(self) -> None:
        """Tell the time, say how far we are, ask for what is missing."""
        around = self._around
        lanes = self.all()
        records: list[tuple[str, int, bytes | None, bytes | None]] = []
        if self._marks:
            mark = encode_bundle([LogRecord(RecordKind.MARK, around.clock(), "", b"")])
            records += [(around.topics.log.name, lane.number, None, mark) for lane in lanes]
        records += [(around.topics.pulses.name, 0, _key(lane), _pulse(lane)) for lane in lanes]
        for lane in lanes:
            behind = self.ends.next.get(lane.number, 0) - lane.offset - 1
            if behind <= LIVE_RECORDS:
                records += await self._asks(lane)
        if records:
            await around.post.send(records)
        if lanes:
            # What is decided while the question is under way doesn't count.
            decided = {lane.number: lane.offset for lane in lanes}
            self.ends = await around.ends(decided)
            for number, offset in decided.items():
                if self.ends.next[number] <= offset:
                    raise LogCut(number, offset + 1, self.ends.next[number])
        for lane in lanes:
            if not self.lag(lane):
                # With nothing to do nobody stands still.
                lane.decided_s = time.monotonic()
        self._show(lanes)

    async def _asks(self, lane: Lane) -> list[tuple[str, int, bytes | None, bytes | None]]:
        found = await lane.asks()
        self._around.metrics.asks.inc(len(found))
        return [
            (
                self._around.topics.asks.name,
                0,
                gateway.encode(),
                encode(
                    Ask(
                        topic=mqtt_topics.cmd(gateway),
                        payload=msgspec.Raw(msgspec.json.encode(resend)),
                    )
                ),
            )
            for gateway, resend in found
        ]

    def _show(self, lanes: list[Lane]) -> None:
        metrics, now_ms = self._around.metrics, self._around.clock()
        names = {str(lane.number) for lane in lanes}
        for gone in self._shown - names:
            metrics.lag.remove(gone)
            metrics.behind.remove(gone)
        self._shown = names
        for lane in lanes:
            name = str(lane.number)
            metrics.lag.labels(name).set(self.lag(lane))
            metrics.behind.labels(name).set(max(0, now_ms - lane.heard_ms) / 1000)
        metrics.snapshot_s.set(self._around.saver.took_s)
        metrics.snapshot_bytes.set(self._around.saver.bytes)

    def lag(self, lane: Lane) -> int:
        """Records of the log that aren't done, as of the last look at its end."""
        return max(0, self.ends.next.get(lane.number, 0) - lane.offset - 1)

    async def close(self) -> None:
        """Finish what is in hand and save all state. Nothing is taken over after this."""
        self._closed = True
        lanes, self._lanes = self.all(), {}
        await asyncio.gather(*(lane.close(save=True) for lane in lanes))

    @staticmethod
    def _unsaved_s(lane: Lane) -> float:
        """For how long there has been something to save."""
        return time.monotonic() - lane.safe_s if lane.offset > lane.saved_offset else 0.0

    def document(self) -> list[dict[str, Any]]:
        """For health."""
        return [
            {
                "partition": lane.number,
                "offset": lane.offset,
                "lag": self.lag(lane),
                "waiting_bytes": lane.waiting_bytes,
                "heard_ms": lane.heard_ms,
                "snapshot_offset": lane.saved_offset,
                "recovered_s": round(lane.recovered_s, 3),
                "unsaved_s": round(self._unsaved_s(lane), 1),
                "rules": lane.partition.engine.content.get("rules", ""),
                "registry": lane.partition.engine.content.get("registry", ""),
                "devices": len(lane.partition.engine.registry.devices),
            }
            for lane in sorted(self._lanes.values(), key=lambda one: one.number)
        ]


def _key(lane: Lane) -> bytes:
    return str(lane.number).encode()


def _pulse(lane: Lane) -> bytes:
    return encode(
        Pulse(
            partition=lane.number,
            offset=lane.offset,
            position=lane.position,
            heard_ms=lane.heard_ms,
            rules=lane.partition.engine.content.get("rules", ""),
        )
    )
