"""All partitions that are this worker's now: taken over, worked at, handed on.

What is wrong with one partition stays with it: it stands, which health and metrics tell, and tries
again; the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaError

from app.stream.contents import Library
from app.stream.ends import Ends
from app.stream.judging import Judging
from app.stream.lane import Lane, Post, Saver, Waiting
from app.stream.partition import Outputs, Partition
from app.stream.records import encode
from app.stream.routes import by_checksum
from app.stream.snapshots import SnapshotReader
from app.stream.takeover import LogCut, Takeover
from app.stream.telling import Record, ask_record, health_line, pulse_record, show
from app.stream.topics import Topics
from app.stream.worker_metrics import WorkerMetrics
from contracts.alerts import encode_event
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed
from ingest.partition import Bundle, PartitionLog, Place
from ingest.telemetry import TelemetryStore

R = TypeVar("R")

LIVE_RECORDS = 100
"""With no more than so many records to go gaps are asked for (proposal): behind that, the packs
that fill them may be on their way."""
RETRY_S = (1.0, 60.0)
"""After a partition could not be taken over (proposal)."""
KEEP_EVERY_S = 60.0
ASKED_S = 10.0
CLOSE_S = 20.0
"""For a partition to save its state at the end; one that Kafka doesn't take is left as it is."""


class Reading(Protocol):
    """The reader of the log, as lanes need it: which partitions it may go on with."""

    async def resume(self, number: int, offset: int) -> None:
        """Read a partition on from `offset`."""

    def hold(self, number: int) -> None:
        """Read no more of it for now; what is on its way may be lost until `resume`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lanes need of the world."""

    topics: Topics
    contents: Library
    takeover: Takeover
    reader: SnapshotReader
    reading: Reading
    post: Post
    saver: Saver
    ends: Callable[[Iterable[int]], Awaitable[Ends]]
    troubled: Callable[[], bool]
    telemetry: TelemetryStore | None
    metrics: WorkerMetrics
    logger: structlog.stdlib.BoundLogger
    clock: Callable[[], int]
    failed: Callable[[str], None]
    judging: Judging


class Lanes:
    """Use within one event loop; deciding has a thread of its own. loading: partitions that are
    being taken over. parked: why one of those can't be."""

    def __init__(self, around: Surroundings, *, waiting_bytes: int, marks: bool) -> None:
        self._around = around
        self._limit, self._marks = waiting_bytes, marks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deciding")
        self._lanes: dict[int, Lane] = {}
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._onces: dict[Hashable, asyncio.Task[None]] = {}
        self._closed = False
        self._held: set[int] = set()
        self._cut: set[int] = set()
        self._shown: set[str] = set()
        self._tidied: set[int] = set()
        self._kept_s = 0.0
        self.parked: dict[int, str] = {}
        self.ends = Ends()
        self.moved_s = time.monotonic()
        """When partitions came or went last."""

    def __len__(self) -> int:
        return len(self._lanes)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    @property
    def loading(self) -> set[int]:
        return set(self._loads)

    # What a lane has us do

    async def decide(self, what: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def in_deciding(self, what: Callable[[], R]) -> R:
        """`decide` for other threads; they wait. Raises TimeoutError."""
        return self._thread.submit(what).result(ASKED_S)

    def logs(self) -> dict[int, PartitionLog]:
        """For reading in the deciding thread."""
        return {lane.number: lane.partition.log for lane in self.all()}

    async def bring(self, installed: Installed) -> None:
        await self._around.contents.bring(installed.what, installed.hash)

    async def again(self, number: int, upto: int, undecidable: dict[Place, str]) -> Partition:
        """Tries until it is there."""
        around, pause_s = self._around, RETRY_S[0]
        at = f"partition {number}, behind offset {upto}"
        around.logger.error("an earlier state is taken up", at=at, left_out=len(undecidable))
        while True:
            try:
                return await around.takeover.again(number, upto, undecidable, lambda _: None)
            except MemoryError:
                raise
            except Exception:
                around.logger.exception("an earlier state can't be taken up", at=at)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    def work(self, partition: Partition, bundles: Sequence[Bundle], *, careful: bool) -> Outputs:
        around = self._around
        with around.metrics.step.time():
            outputs = partition.work(bundles, careful=careful)
        if around.telemetry is not None:
            for batch in outputs.batches:
                around.telemetry.write(batch, partition.engine.directory)
        return outputs

    async def deliver(self, partition: Partition, outputs: Outputs) -> None:
        topics = self._around.topics
        records: list[Record] = [
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
        records += [
            (self._around.judging.topic(one.role), partition.number, one.key or None, one.value)
            for one in outputs.signals
        ]
        if records:
            await self._around.post.send(records)
        self._around.metrics.count(outputs)
        for news in outputs.news:
            self._around.logger.info(
                "rules", partition=partition.number, state=news.state, why=news.why
            )

    # Partitions come and go

    def pause(self) -> None:
        """The group is being divided anew: what waits isn't decided any more."""
        self.moved_s = time.monotonic()
        for lane in self._lanes.values():
            lane.forget()

    def own(self, partitions: set[int]) -> None:
        """Exactly these are ours from now on. State that is there goes on; other is loaded beside.

        What was in memory all the time is as good as ever: it depends on the log alone.
        """
        if self._closed:
            return
        self._around.metrics.rebalances.inc()
        for number in sorted(set(self._lanes) - partitions):
            self._around.judging.drop(number)
            self._let_go(self._lanes.pop(number))
        for number in set(self._loads) - partitions:
            self._loads.pop(number).cancel()
            self.parked.pop(number, None)
        for number in sorted(partitions - set(self._lanes) - set(self._loads)):
            self._loads[number] = asyncio.ensure_future(self._load(number))
        self._around.metrics.partitions.set(len(self._lanes))
        self.moved_s = time.monotonic()

    def _let_go(self, lane: Lane) -> None:
        """Without a last snapshot: the next one reads on by now."""
        task = asyncio.ensure_future(lane.close(save=False))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _load(self, number: int) -> None:
        """Tries until it is taken over, or is ours no more."""
        pause_s, started = RETRY_S[0], time.monotonic()
        while True:
            try:
                await self._take_over(number, started)
            except (asyncio.CancelledError, MemoryError):
                raise
            except Exception as error:
                self.parked[number] = str(error) or type(error).__name__
                self._around.logger.exception("can't be taken over", partition=number)
            else:
                self.parked.pop(number, None)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    async def _take_over(self, number: int, started: float) -> None:
        around = self._around

        def tell(why: str) -> None:
            self.parked[number] = why
            if not why:
                del self.parked[number]

        partition, manifest = await around.takeover.state(number, tell)
        lane = Lane(
            partition,
            hands=self,
            saver=around.saver,
            saved=manifest,
            beside=around.judging.own(number, partition.judged),
        )
        lane.task = asyncio.ensure_future(self._run(lane))
        lane.recovered_s = time.monotonic() - started
        self._lanes[number] = lane
        self._loads.pop(number, None)
        self._tidied.discard(number)
        await self._read_on(lane)
        self.moved_s = time.monotonic()
        around.metrics.partitions.set(len(self._lanes))
        around.metrics.recovery_s.set(lane.recovered_s)
        around.logger.info(
            "partition taken over",
            partition=number,
            offset=partition.offset,
            took_s=round(lane.recovered_s, 3),
        )

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

    # Records come

    async def put(self, partition: int, waiting: Waiting) -> None:
        """A record of the log has come; waits while too much of them lies here undecided.

        A partition that doesn't go on keeps its share, and no more of it is read.
        """
        while sum([one.waiting_bytes for one in self.all() if one.flows()]) > self._limit:
            await asyncio.sleep(0.005)
        lane = self._lanes.get(partition)
        if lane is None:
            return
        # What was on its way when a partition was held is thrown away by who reads; what comes
        # behind it is out of turn, and has to be read once more from where the lane is.
        missed = not lane.put(waiting) and waiting.bundle.offset > lane.expected
        full = lane.waiting_bytes > self._limit // max(1, len(self._lanes))
        if missed or (full and not lane.flows()):
            self._held.add(partition)
            self._around.reading.hold(partition)

    async def _release(self) -> None:
        share = self._limit // max(1, len(self._lanes))
        for number in sorted(self._held):
            lane = self._lanes.get(number)
            if lane is None:
                self._held.discard(number)
            elif lane.flows() and lane.waiting_bytes <= share // 2:
                await self._read_on(lane)

    async def _read_on(self, lane: Lane) -> None:
        """From where it is. While the group is being divided that may fail: once more later."""
        self._held.discard(lane.number)
        try:
            await self._around.reading.resume(lane.number, lane.expected)
        except KafkaError as error:
            self._held.add(lane.number)
            self._around.logger.error("not read on", partition=lane.number, why=str(error))

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets to read on from, of those that are taken over."""
        return {n: self._lanes[n].expected for n in partitions if n in self._lanes}

    # Time passes

    async def each_second(self) -> None:
        """Tell the time, say how far we are, ask for what is missing. Nothing waits for another."""
        lanes = self.all()
        if self._marks:
            log, now_ms = self._around.topics.log.name, self._around.clock()
            mark = encode_bundle([LogRecord(RecordKind.MARK, now_ms, "", b"")])
            for lane in lanes:
                record = (log, lane.number, None, mark)
                self._once(("mark", lane.number), self._around.post.send, [record])
        self._once("tell", self._tell, lanes)
        self._once("look", self._look, lanes)
        for lane in lanes:
            if not self.lag(lane):
                # With nothing to do nobody stands still.
                lane.decided_s = time.monotonic()
            if lane.saves > 1 and lane.number not in self._tidied:
                self._tidied.add(lane.number)
                self._once(("tidy", lane.number), self._tidy, lane)
        await self._release()
        self._show(lanes)
        self._once("keep", self._keep_contents, lanes)

    def _once(
        self, name: Hashable, work: Callable[[Any], Awaitable[None]], argument: object
    ) -> None:
        """Beside all else, unless it is still at it. Raises what it raised the last time."""
        before = self._onces.get(name)
        if before is not None:
            if not before.done():
                return
            before.result()
        self._onces[name] = asyncio.ensure_future(work(argument))

    async def _tell(self, lanes: list[Lane]) -> None:
        records = [pulse_record(self._around.topics, lane) for lane in lanes]
        for lane in lanes:
            if self.lag(lane) <= LIVE_RECORDS:
                records += await self._asks(lane)
        if records:
            await self._around.post.send(records)

    async def _look(self, lanes: list[Lane]) -> None:
        """Where the log ends now."""
        if not lanes:
            return
        # What is decided while the question is under way doesn't count.
        decided = {lane.number: lane.offset for lane in lanes}
        found = await self._around.ends(decided)
        self.ends.first |= found.first
        self.ends.next |= found.next
        for lane in lanes:
            offset, end = decided[lane.number], found.next.get(lane.number)
            is_cut = end is not None and end <= offset and self._lanes.get(lane.number) is lane
            if is_cut and lane.number in self._cut:
                lane.halt(str(LogCut(offset + 1, end or 0)))
            # For good, so a second answer has to say the same.
            (self._cut.add if is_cut else self._cut.discard)(lane.number)

    async def _tidy(self, lane: Lane) -> None:
        """Once, after a takeover: what those before have left in the topic."""
        around = self._around
        try:
            keys = await around.reader.leftovers(lane.number, lane.kept, lane.oldest_kept)
        except (KafkaError, OSError, TimeoutError) as error:
            around.logger.error("not tidied", partition=lane.number, error=str(error))
            return
        if keys:
            around.logger.info("old snapshots", partition=lane.number, records=len(keys))
            await around.saver.forget(lane.number, keys)

    async def _keep_contents(self, lanes: list[Lane]) -> None:
        """Forget rules and registries that nobody here has in force any more."""
        if time.monotonic() - self._kept_s < KEEP_EVERY_S or self._loads:
            return
        self._kept_s = time.monotonic()
        needed = {name for lane in lanes for name in lane.partition.needs()}
        await self.decide(lambda: self._around.contents.keep(needed))

    async def _asks(self, lane: Lane) -> list[Record]:
        found = await lane.asks()
        self._around.metrics.asks.inc(len(found))
        topics = self._around.topics
        return [ask_record(topics, lane, gateway, resend) for gateway, resend in found]

    def _show(self, lanes: list[Lane]) -> None:
        metrics, now_ms = self._around.metrics, self._around.clock()
        names = {str(lane.number) for lane in lanes}
        names |= {str(number) for number in self._loads}
        for gone in self._shown - names:
            for gauge in metrics.of_partitions:
                with suppress(KeyError):  # One that was never taken over hasn't all of them.
                    gauge.remove(gone)
        for number in self._loads:
            metrics.stands.labels(str(number)).set(number in self.parked)
        self._shown = names
        for lane in lanes:
            show(metrics, lane, self.lag(lane), now_ms)
        metrics.snapshot_s.set(self._around.saver.took_s)
        metrics.snapshot_bytes.set(self._around.saver.bytes)

    def lag(self, lane: Lane) -> int:
        """Records of the log that aren't done, as of the last look at its end."""
        return max(0, self.ends.next.get(lane.number, 0) - lane.offset - 1)

    def standing(self) -> dict[int, str]:
        """Partition -> why it doesn't go on."""
        return self.parked | {lane.number: lane.stands for lane in self.all() if lane.stands}

    def behind(self) -> dict[int, tuple[int, float]]:
        """Partition -> (records to go, when it last got on), of those that have no excuse."""
        troubled = self._around.troubled()
        return {
            lane.number: (self.lag(lane), lane.decided_s)
            for lane in self.all()
            if not lane.stands and not (lane.delivering and troubled)
        }

    async def close(self) -> None:
        """Finish what is in hand and save all state. Nothing is taken over after this."""
        self._closed = True
        for task in (*self._loads.values(), *self._onces.values()):
            task.cancel()
        lanes, self._lanes = self.all(), {}
        ends = [asyncio.wait_for(lane.close(save=True), CLOSE_S) for lane in lanes]
        for lane, end in zip(
            lanes, await asyncio.gather(*ends, return_exceptions=True), strict=True
        ):
            if isinstance(end, BaseException):
                error = str(end) or type(end).__name__
                self._around.logger.error("state not saved", partition=lane.number, error=error)

    def document(self) -> list[dict[str, Any]]:
        """For health."""
        return [
            health_line(lane, self.lag(lane))
            | {"detectors": self._around.judging.document(lane.number)}
            for lane in sorted(self._lanes.values(), key=lambda one: one.number)
        ]
