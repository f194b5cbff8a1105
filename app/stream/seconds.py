"""What is done for each partition once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

from app.stream.ends import Ends
from app.stream.lane import Lane
from app.stream.post import Record
from app.stream.surroundings import Surroundings
from app.stream.takeover import LogCut
from app.stream.telling import ask_record, pulse_record, show
from contracts.log import LogRecord, RecordKind, encode_bundle

LIVE_RECORDS = 100
"""With no more than so many records to go gaps are asked for (proposal): behind that, the packs
that fill them may be on their way."""
KEEP_EVERY_S = 60.0


class Seconds:
    """Use within one event loop. ends: of the log, as of the last look."""

    def __init__(
        self,
        around: Surroundings,
        decide: Callable[[Callable[[], object]], Awaitable[object]],
        *,
        marks: bool,
    ) -> None:
        """decide: in the deciding thread. marks: whether to tell the time."""
        self._around, self._decide, self._marks = around, decide, marks
        self._onces: dict[Hashable, asyncio.Task[None]] = {}
        self._shown: set[str] = set()
        self._tidied: set[int] = set()
        self._cut: set[int] = set()
        self._kept_s = 0.0
        self.ends = Ends()

    def taken_over(self, number: int) -> None:
        """What those before have left in a partition of snapshots is to be looked through."""
        self._tidied.discard(number)

    def close(self) -> None:
        for task in self._onces.values():
            task.cancel()

    def pass_second(self, lanes: list[Lane], loading: Mapping[int, bool]) -> None:
        """Tell the time, say how far we are, ask for what is missing. Nothing waits for another.

        loading: partitions that are being taken over, and whether one of them can't be.
        """
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
        self._show(lanes, loading)
        if not loading:
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
            is_cut = end is not None and end <= offset and not lane.closing
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
        if time.monotonic() - self._kept_s < KEEP_EVERY_S:
            return
        self._kept_s = time.monotonic()
        needed = {name for lane in lanes for name in lane.partition.needs()}
        await self._decide(lambda: self._around.contents.keep(needed))

    async def _asks(self, lane: Lane) -> list[Record]:
        found = await lane.asks()
        self._around.metrics.asks.inc(len(found))
        topics = self._around.topics
        return [ask_record(topics, lane, gateway, resend) for gateway, resend in found]

    def _show(self, lanes: list[Lane], loading: Mapping[int, bool]) -> None:
        metrics, now_ms = self._around.metrics, self._around.clock()
        names = {str(lane.number) for lane in lanes}
        names |= {str(number) for number in loading}
        for gone in self._shown - names:
            for gauge in metrics.of_partitions:
                with suppress(KeyError):  # One that was never taken over hasn't all of them.
                    gauge.remove(gone)
        for number, is_parked in loading.items():
            metrics.stands.labels(str(number)).set(is_parked)
        self._shown = names
        for lane in lanes:
            show(metrics, lane, self.lag(lane), now_ms)
        metrics.snapshot_s.set(self._around.saver.took_s)
        metrics.snapshot_bytes.set(self._around.saver.bytes)

    def lag(self, lane: Lane) -> int:
        """Records of the log that aren't done, as of the last look at its end."""
        return max(0, self.ends.next.get(lane.number, 0) - lane.offset - 1)
