"""All partitions that are this worker's now: taken over, worked at, handed on.

What is wrong with one partition stays with it: it stands, which health and metrics tell, and tries
again; the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from app.stream.ends import Ends
from app.stream.intake import Intake
from app.stream.lane import Lane, Waiting
from app.stream.seconds import Seconds
from app.stream.surroundings import Surroundings
from app.stream.telling import health_line
from app.stream.workbench import RETRY_S, Workbench
from ingest.partition import PartitionLog

R = TypeVar("R")

CLOSE_S = 20.0
"""For a partition to save its state at the end; one that Kafka doesn't take is left as it is."""


class Lanes:
    """Use within one event loop; deciding has a thread of its own. loading: partitions that are
    being taken over. parked: why one of those can't be."""

    def __init__(self, around: Surroundings, *, waiting_bytes: int, marks: bool) -> None:
        self._around = around
        self._lanes: dict[int, Lane] = {}
        self._bench = Workbench(around)
        self._intake = Intake(self._lanes, around.reading, waiting_bytes, around.logger)
        self._seconds = Seconds(around, self._bench.decide, marks=marks)
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.parked: dict[int, str] = {}
        self.moved_s = time.monotonic()
        """When partitions came or went last."""

    def __len__(self) -> int:
        return len(self._lanes)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    @property
    def loading(self) -> set[int]:
        return set(self._loads)

    @property
    def ends(self) -> Ends:
        return self._seconds.ends

    def in_deciding(self, what: Callable[[], R]) -> R:
        """In the deciding thread, for other threads; they wait. Raises TimeoutError."""
        return self._bench.in_deciding(what)

    def logs(self) -> dict[int, PartitionLog]:
        """For reading in the deciding thread."""
        return {lane.number: lane.partition.log for lane in self.all()}

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
            hands=self._bench,
            saver=around.saver,
            saved=manifest,
            beside=around.judging.own(number, partition.judged),
        )
        lane.task = asyncio.ensure_future(self._run(lane))
        lane.recovered_s = time.monotonic() - started
        self._lanes[number] = lane
        self._loads.pop(number, None)
        self._seconds.taken_over(number)
        await self._intake.read_on(lane)
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

    # Records come, and time passes

    async def put(self, partition: int, waiting: Waiting) -> None:
        """A record of the log has come; waits while too much of them lies here undecided."""
        await self._intake.put(partition, waiting)

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets to read on from, of those that are taken over."""
        return {n: self._lanes[n].expected for n in partitions if n in self._lanes}

    async def each_second(self) -> None:
        loading = {number: number in self.parked for number in self._loads}
        self._seconds.pass_second(self.all(), loading)
        await self._intake.release()

    def lag(self, lane: Lane) -> int:
        """Records of the log that aren't done, as of the last look at its end."""
        return self._seconds.lag(lane)

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
        for task in self._loads.values():
            task.cancel()
        self._seconds.close()
        lanes = self.all()
        self._lanes.clear()
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
