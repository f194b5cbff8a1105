"""One partition at work: records wait, are decided, what comes of it is sent, then they are done.

A lane is one task, so that the order of things is the order of its lines: a record counts as done
when Kafka has all that came of it, and a snapshot is taken only then. Deciding itself runs in the
one deciding thread of the process, lane by lane.

A lane stands when it can't go on: it waits for a content, or takes up an earlier state because the
engine failed. The others don't notice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from app.stream.mending import Mending
from app.stream.partition import Frozen, Outputs, Partition, Undecidable
from app.stream.saver import Beside, Saver, nothing_beside
from app.stream.snapshots import Manifest
from contracts.messages import Installed, Resend
from ingest.partition import Bundle, Place

R = TypeVar("R")

STEP_BYTES = 384 << 10
"""Records of a step, as on one box (proposal): an alarm's event leaves at the end of its step."""
STEP_RECORDS = 64
"""However small they are (proposal): time marks that they bring cost as much as readings."""
FIRST_RECORDS = 4
SLOW_STEP_S = 4.0
"""A step that takes longer is too big for this machine, whatever it holds (proposal): the watchdog
would take a worker for stuck that works, and whoever comes next would begin with the same."""
FLOWS_S = 5.0
"""With nothing done for so long a lane keeps what waits there (proposal)."""
BUSY_BYTES = 4 << 20
BUSY_STEP_BYTES = 2 << 20
"""With so much waiting nothing is on time any more, and big steps cost less (proposal)."""


class Hands(Protocol):
    """What a lane has others do."""

    async def decide(self, what: Callable[[], R]) -> R:
        """In the deciding thread."""

    def work(self, partition: Partition, bundles: Sequence[Bundle], *, careful: bool) -> Outputs:
        """In the deciding thread. Raises `Undecidable`."""

    async def deliver(self, partition: Partition, outputs: Outputs) -> None:
        """Returns when Kafka has all of it."""

    async def bring(self, installed: Installed) -> None:
        """Returns when a content is at hand."""

    async def again(self, number: int, upto: int, undecidable: dict[Place, str]) -> Partition:
        """The partition's state after the record at `upto`, or a later one, made anew."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One record of the log. done: to be called when all that came of it is safe."""

    bundle: Bundle
    done: Callable[[], object]


class Lane:
    """expected: the offset of the next record to come. decided_s: monotonic, of the last step.

    saved_offset: of the last snapshot, -1 = none. recovered_s: how long it took to take it over.
    """

    def __init__(
        self,
        partition: Partition,
        *,
        hands: Hands,
        saver: Saver,
        saved: Manifest | None,
        beside: Beside = nothing_beside,
    ) -> None:
        """beside: for `Saver.save`."""
        self.partition = partition
        self.expected = partition.offset + 1
        self._hands, self._saver, self._beside = hands, saver, beside
        self._waiting: deque[Waiting] = deque()
        self.waiting_bytes = 0
        self._wake, self._closed = asyncio.Event(), asyncio.Event()
        self._closing = False
        self.offset = partition.offset
        """Of the last record that is done."""
        self.position, self.heard_ms = partition.log.position, partition.log.last_ms
        self.decided_s = time.monotonic()
        self.recovered_s = 0.0
        self.safe_s = time.monotonic()
        """When state was saved last, or taken over."""
        self._saves = [] if saved is None else [saved]
        self._saved_s = time.monotonic()
        self.stands = ""
        """Why it doesn't go on at the moment."""
        self.delivering = False
        """What came of the last records is on its way to Kafka."""
        self._spoiled = self._halted = False
        self._most = FIRST_RECORDS
        self.saves = 0
        """Snapshots that were made here."""
        self._mending = Mending()
        self._named: dict[str, int] = {}
        """Contents named since the oldest snapshot, with the offset at which each is decided."""
        self._saving: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        return self.partition.number

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def saved_offset(self) -> int:
        return self._saves[-1].offset if self._saves else -1

    @property
    def kept(self) -> set[str]:
        """Names of the snapshots that are still good."""
        return {manifest.id for manifest in self._saves}

    @property
    def oldest_kept(self) -> int:
        """The offset of the oldest of them, -1 = none."""
        return self._saves[0].offset if self._saves else -1

    def flows(self) -> bool:
        """Whether what waits here gets less by itself."""
        still_s = time.monotonic() - self.decided_s
        return not self.stands and (not self._waiting or still_s < FLOWS_S)

    @property
    def undecidable(self) -> int:
        """Records that were left out as such."""
        return len(self._mending.undecidable)

    def needs(self) -> set[str] | None:
        """Contents without which this partition can't be taken up, by whomever. None = a snapshot
        doesn't say."""
        saved = {name for manifest in self._saves for name in manifest.needs or ()}
        if any(manifest.needs is None for manifest in self._saves):
            return None
        return {*saved, *self._named, *self.partition.needs()}

    def put(self, waiting: Waiting) -> bool:
        """Take the next record; False for another one: it was seen before, or is out of turn."""
        if waiting.bundle.offset != self.expected or self._closing:
            return False
        self.expected += 1
        if not self._waiting:
            # It has been idle until now, which isn't standing still.
            self.decided_s = time.monotonic()
        self._waiting.append(waiting)
        self.waiting_bytes += len(waiting.bundle.value or b"")
        self._wake.set()
        return True

    def forget(self) -> None:
        """The group is being divided anew: what waits will be read again, by whomever."""
        taken = {waiting.bundle.offset for waiting in self._waiting}
        self.expected = min(taken, default=self.expected)
        self._waiting.clear()
        self.waiting_bytes = 0

    async def run(self) -> None:
        """Until `close`. Raises what ends the process: what is wrong with it, not with a record."""
        while not self._closing:
            if self._halted:
                await self._closed.wait()
                continue
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._step()
            if self._save_is_due():
                # All of it is delivered here, and no step is under way.
                frozen = await self._hands.decide(self.partition.freeze)
                self._saving = asyncio.ensure_future(self._save(frozen))

    async def _step(self) -> None:
        careful = self._mending.careful(self.offset + 1)
        part = self._portion(1 if careful else self._most)
        began_s = time.monotonic()
        bundles = [waiting.bundle for waiting in part]
        partition, work = self.partition, self._hands.work
        try:
            outputs = await self._hands.decide(lambda: work(partition, bundles, careful=careful))
        except Undecidable as error:
            self._spoiled = True
            self._put_back(part)
            await self._mend(error, part[-1].bundle.offset)
            return
        self.decided_s = time.monotonic()
        self._most = next_records(self._most, self.decided_s - began_s)
        self.delivering = True
        await self._hands.deliver(self.partition, outputs)
        self.delivering = False
        self.decided_s = time.monotonic()
        self.offset, self.position = outputs.offset, outputs.position
        self.heard_ms = outputs.heard_ms
        self._named |= dict.fromkeys(outputs.named, outputs.offset)
        for waiting in part:
            if waiting.bundle.offset <= outputs.offset:
                waiting.done()
        if outputs.waits_for is not None:
            self._put_back([one for one in part if one.bundle.offset > outputs.offset])
            await self._wait_for(outputs.waits_for)

    def _put_back(self, part: list[Waiting]) -> None:
        self._waiting.extendleft(reversed(part))
        self.waiting_bytes += sum([len(one.bundle.value or b"") for one in part])

    async def _wait_for(self, installed: Installed) -> None:
        self.stands = (
            f"waits for the {installed.what} {installed.hash[:16]}, which the topic content "
            "doesn't have; publish them again (gridwarden publish)"
        )
        await self._or_closed(self._hands.bring(installed))
        self._goes_on()

    async def _mend(self, error: Undecidable, last: int) -> None:
        """Take up an earlier state, then go on without what can't be decided."""
        pause_s = self._mending.failed(error, last)
        self.stands = f"behind offset {self.offset}: {error.why}"
        if pause_s:
            await self._or_closed(asyncio.sleep(pause_s))
        if not self._closing:
            again = self._hands.again(self.number, self.offset, self._mending.undecidable)
            await self._or_closed(self._take_up(again))
        self._goes_on()

    async def _take_up(self, again: Awaitable[Partition]) -> None:
        self.partition, self._spoiled = await again, False
        self.offset = self.partition.offset
        self.expected = max(self.expected, self.offset + 1)
        self.position, self.heard_ms = self.partition.log.position, self.partition.log.last_ms

    def halt(self, why: str) -> None:
        """For good, as far as this life goes."""
        self.stands, self._halted = why, True
        self._wake.set()

    def _goes_on(self) -> None:
        if not self._halted:
            self.stands = ""
        self.decided_s = time.monotonic()

    async def _or_closed(self, work: Awaitable[object]) -> None:
        """Whoever closes doesn't wait for it."""
        task, closed = asyncio.ensure_future(work), asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((task, closed), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for one in (task, closed):
                one.cancel()
            await asyncio.gather(task, closed, return_exceptions=True)

    def _portion(self, most: int) -> list[Waiting]:
        limit = BUSY_STEP_BYTES if self.waiting_bytes > BUSY_BYTES else STEP_BYTES
        part: list[Waiting] = []
        size = 0
        while self._waiting:
            size += len(self._waiting[0].bundle.value or b"")
            if part and (size > limit or len(part) >= most):
                break
            part.append(self._waiting.popleft())
        self.waiting_bytes -= sum([len(one.bundle.value or b"") for one in part])
        return part

    def _save_is_due(self) -> bool:
        if time.monotonic() - self._saved_s < self._saver.every_s:
            return False
        if self.offset <= self.saved_offset:
            return False
        if self._saving is not None and not self._saving.done():
            return False
        self._saved_s = time.monotonic()
        return True

    async def _save(self, frozen: Frozen) -> None:
        """Beside the work. One that fails costs only time at a restart; the next is tried."""
        manifest = await self._saver.save(self.number, frozen, self._saves, self._beside)
        if manifest is not None:
            self.safe_s = time.monotonic()
            self._saves.append(manifest)
            del self._saves[:-2]
            self.saves += 1
            oldest = self._saves[0].offset
            self._named = {name: at for name, at in self._named.items() if at > oldest}

    async def close(self, *, save: bool) -> None:
        """Finish the step in hand, and save all state. What waits is left to the next worker."""
        self._closing = True
        self._wake.set()
        self._closed.set()
        if self.task is not None:
            await self.task
        if self._saving is not None:
            await self._saving
        if save and not self._spoiled and self.offset > self.saved_offset:
            await self._save(await self._hands.decide(self.partition.freeze))

    async def asks(self) -> list[tuple[str, Resend]]:
        return [] if self.stands else await self._hands.decide(self.partition.asks)


def next_records(most: int, took_s: float) -> int:
    """How many records the next step may have, after one of up to `most` that took so long."""
    if took_s > SLOW_STEP_S:
        return max(1, most // 2)
    return min(STEP_RECORDS, 2 * most) if took_s < SLOW_STEP_S / 4 else most
