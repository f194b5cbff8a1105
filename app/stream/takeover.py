"""The state of a partition, from its newest snapshot or from the beginning of its log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from aiokafka import TopicPartition

from app.engine import read_head
from app.stream.contents import Library
from app.stream.ends import Ends
from app.stream.partition import Partition
from app.stream.ranges import RangeReader
from app.stream.snapshots import Manifest, Saved, SnapshotReader
from ingest.partition import Bundle, Place


class LogShort(Exception):
    """Records are gone from the log that no snapshot covers."""

    def __init__(self, wanted: int, first: int) -> None:
        super().__init__(
            f"the log begins at offset {first}, but what is decided ends before {wanted}: lengthen "
            "topics.log_days, restore the topic snapshots, or set worker.from_earliest = true to "
            "go on without what is gone"
        )


class LogCut(Exception):
    """The log ends before what is decided: Kafka has lost its end, or it is another topic."""

    def __init__(self, wanted: int, end: int) -> None:
        super().__init__(
            f"the log ends at offset {end}, but is decided up to {wanted}: Kafka has lost records, "
            "or the topic was made anew; what came since would be passed over. Set "
            "worker.from_earliest = true and start the worker again to go on from that end"
        )


class Takeover:
    """Loads one partition after the other, beside what is being decided."""

    def __init__(
        self,
        *,
        log: str,
        contents: Library,
        snapshots: SnapshotReader,
        ranges: RangeReader,
        ends: Callable[[Iterable[int]], Awaitable[Ends]],
        from_earliest: bool,
        detectors: Collection[str] = (),
    ) -> None:
        """log: the topic, which `ranges` reads. detectors: names of those who get signals."""
        self._detectors = detectors
        self._log, self._contents, self._snapshots = log, contents, snapshots
        self._ranges, self._ends, self._from_earliest = ranges, ends, from_earliest
        self._one = asyncio.Semaphore(1)

    async def state(
        self, number: int, tell: Callable[[str], None]
    ) -> tuple[Partition, Manifest | None]:
        """And the snapshot that it was made of. tell: gets what it waits for, "" when it came.

        Raises `LogShort`, `LogCut`, `KafkaError`, TimeoutError, and what snapshots of other
        versions raise.
        """
        async with self._one:
            saved = await self._snapshots.load(number)
        ends = await self._ends([number])
        if number not in ends.next:
            raise TimeoutError("no broker tells where its log ends")
        first, end = ends.first[number], ends.next[number]
        if saved is None:
            if first > 0 and not self._from_earliest:
                raise LogShort(0, first)
            contents = self._contents
            partition = Partition(
                number,
                contents,
                ready=contents.ready,
                first_offset=first,
                detectors=self._detectors,
            )
            return partition, None
        await self._bring(saved, tell)
        async with self._one:
            partition = await asyncio.to_thread(self._restored, number, saved)
        self._check(partition, first, end)
        return partition, saved.manifest

    async def _bring(self, saved: Saved, tell: Callable[[str], None]) -> None:
        """Whoever waits for a content lets the others load."""
        head = read_head(saved.chunks)
        for what, name in (
            ("rules", head.rules),
            ("rules", head.coming),
            ("registry", head.registry),
            ("settings", head.settings),
        ):
            if name:
                tell(f"waits for the {what} {name[:16]} of its snapshot (gridwarden publish)")
                await self._contents.bring(what, name)
        tell("")

    def _restored(self, number: int, saved: Saved) -> Partition:
        contents = self._contents
        return Partition.restored(
            number, contents, saved.chunks, ready=contents.ready, detectors=self._detectors
        )

    def _check(self, partition: Partition, first: int, end: int) -> None:
        """Between what is decided and the log's records nothing is missing, or the settings say
        that it may be. Raises `LogShort`, `LogCut`."""
        wanted = partition.offset + 1
        if first > wanted:
            if not self._from_earliest:
                raise LogShort(wanted, first)
            partition.log.skip_to(first)
        elif end < wanted:
            if not self._from_earliest:
                raise LogCut(wanted, end)
            partition.log.skip_to(end)

    async def again(
        self, number: int, upto: int, undecidable: dict[Place, str], tell: Callable[[str], None]
    ) -> Partition:
        """After the record at `upto`, or a later one; what comes of it was sent before.

        Raises what `state` and `Partition.work` raise.
        """
        partition, _ = await self.state(number, tell)
        partition.log.undecidable = undecidable
        at = TopicPartition(self._log, number)
        async with self._ranges.lock:
            async for records in self._ranges.read(at, partition.offset + 1, upto + 1):
                bundles = [Bundle(one.offset, one.timestamp, one.value) for one in records]
                while bundles:
                    outputs = await asyncio.to_thread(partition.work, bundles)
                    bundles = [one for one in bundles if one.offset > outputs.offset]
                    if outputs.waits_for is not None:
                        wanted = outputs.waits_for
                        await self._contents.bring(wanted.what, wanted.hash)
        return partition
