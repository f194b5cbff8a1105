"""A lane goes on past what it can't decide, and waits for what it hasn't, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from app.stream.lane import (
    FIRST_RECORDS,
    SLOW_STEP_S,
    STEP_RECORDS,
    Lane,
    Waiting,
    next_records,
)
from app.stream.mending import PAUSE_S, Mending
from app.stream.partition import Outputs, Partition, Undecidable
from app.stream.saver import Saver
from contracts.alerts import encode_event
from contracts.messages import Installed
from ingest.partition import Bundle, Place
from tests.app.stream.test_partition import Contents, Failing, a_pack, few

R = TypeVar("R")


class Nowhere:
    """Where snapshots go in these tests."""

    async def send(self, records: Sequence[tuple[str, int, bytes | None, bytes | None]]) -> None:
        del records


class Hands:
    """All that a lane asks for, done at once and remembered. fails_on: bytes of a pack."""

    def __init__(self, fails_on: bytes = b"-") -> None:
        self.at_hand: set[str] = set()
        self.fails_on = fails_on
        self.outputs: list[Outputs] = []
        self.brought = asyncio.Event()
        self.taken_up = 0

    def partition(self) -> Partition:
        made = Partition(3, Contents(), ready=lambda one: one.hash in self.at_hand)
        made.engine = Failing(made.engine, self.fails_on)  # type: ignore[assignment]
        return made

    async def decide(self, what: Callable[[], R]) -> R:
        return what()

    def work(self, partition: Partition, bundles: Sequence[Bundle], *, careful: bool) -> Outputs:
        return partition.work(bundles, careful=careful)

    async def deliver(self, partition: Partition, outputs: Outputs) -> None:
        del partition
        self.outputs.append(outputs)

    async def bring(self, installed: Installed) -> None:
        await self.brought.wait()
        self.at_hand.add(installed.hash)

    async def again(self, number: int, upto: int, undecidable: dict[Place, str]) -> Partition:
        del number
        self.taken_up += 1
        made = self.partition()
        made.log.undecidable = undecidable
        if upto >= 0:
            made.work(few()[: upto + 1])
        return made


def lane(hands: Hands) -> Lane:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

    async def end(_: int) -> int:
        return 0

    saver = Saver(
        Nowhere(), "snapshots", every_s=1e9, by="test", clock=lambda: 1, end=end,
        flush=lambda: None, logger=logger,
    )  # fmt: skip
    return Lane(hands.partition(), hands=hands, saver=saver, saved=None)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.001)


def worked(hands: Hands, step: Callable[[Lane], object] | None = None) -> list[int]:
    """Run a lane over all bundles; gives the offsets that were done, in order."""
    done: list[int] = []

    async def body() -> None:
        one = lane(hands)
        task = asyncio.ensure_future(one.run())
        for bundle in few():
            assert one.put(Waiting(bundle, lambda at=bundle.offset: done.append(at)))
        if step is not None:
            await until(lambda: bool(one.stands))
            step(one)
        await until(lambda: task.done() or one.offset == few()[-1].offset)
        assert one.stands == ""
        one.task = task
        await one.close(save=False)

    asyncio.run(body())
    return done


def told(outputs: Sequence[Outputs]) -> list[bytes]:
    return [encode_event(event) for one in outputs for event in one.events]


def test_it_waits_for_a_content_and_goes_on_when_that_comes() -> None:
    hands = Hands()

    def step(one: Lane) -> None:
        assert "doesn't have; publish them again" in one.stands
        assert not one.flows()
        assert one.undecidable == 0
        hands.brought.set()

    assert worked(hands, step) == [bundle.offset for bundle in few()]
    assert told(hands.outputs) == told([Partition(3, Contents()).work(few())])
    assert hands.taken_up == 0


def test_it_goes_on_without_what_the_engine_fails_on() -> None:
    offset, nth, record = a_pack()
    hands = Hands(record.payload)
    hands.brought.set()
    assert worked(hands) == [bundle.offset for bundle in few()]
    letters = [letter for one in hands.outputs for letter in one.letters]
    assert [
        (one.offset, one.nth) for one in letters if one.reason == "undecidable"
    ] == [(offset, nth)]  # fmt: skip
    without = Partition(3, Contents())
    without.log.undecidable = {(offset, nth): "why"}
    assert told(hands.outputs) == told([without.work(few())])
    # Once to find it, once to go on without it.
    assert hands.taken_up == 2


def test_what_cannot_be_left_out_is_tried_ever_more_seldom() -> None:
    mending = Mending()
    fault = ZeroDivisionError("x")
    assert mending.failed(Undecidable(fault, None, separable=True), 9) == 0
    assert (mending.careful(9), mending.careful(10)) == (True, False)
    pack = Undecidable(fault, (7, 2), separable=True)
    assert mending.failed(pack, 7) == 0
    assert mending.undecidable == {(7, 2): "ZeroDivisionError: x"}
    # Left out, and it fails all the same.
    assert mending.failed(pack, 7) == PAUSE_S[0]
    mark = Undecidable(fault, (8, -1), separable=False)
    assert mending.failed(mark, 8) == 2 * PAUSE_S[0]
    assert (8, -1) not in mending.undecidable
    for _ in range(20):
        last = mending.failed(mark, 8)
    assert last == PAUSE_S[1]


def test_steps_grow_while_they_are_quick_and_shrink_while_they_are_slow() -> None:
    """Where a record takes long, as when recordings are played, no step takes as long as the
    watchdog waits."""
    for record_s in (0.001, 0.5, 3.0, 20.0):
        most, took = FIRST_RECORDS, []
        for _ in range(20):
            took.append(most * record_s)
            most = next_records(most, took[-1])
        assert max(took[4:]) <= max(2 * SLOW_STEP_S, record_s)
        assert took[0] == FIRST_RECORDS * record_s
    assert next_records(STEP_RECORDS, 0.0) == STEP_RECORDS
