"""What is wrong with one partition doesn't touch the others of a worker, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import structlog
from aiokafka.errors import IllegalStateError

from app.stream.contents import Library
from app.stream.ends import Ends
from app.stream.judging import Judging
from app.stream.lane import Waiting
from app.stream.lanes import Lanes
from app.stream.partition import Partition
from app.stream.saver import Saver
from app.stream.settings import KafkaSettings
from app.stream.snapshots import Manifest
from app.stream.surroundings import Surroundings
from app.stream.topics import TopicPlan, topics_of
from app.stream.worker_metrics import WorkerMetrics
from tests.app.stream.test_partition import Contents, few

TOPICS = topics_of(TopicPlan(partitions=4))
Record = tuple[str, int, bytes | None, bytes | None]


class World:
    """Takeovers that fail or hang, a post that takes nothing for some partitions."""

    def __init__(self) -> None:
        self.fails: set[int] = set()
        self.hangs: dict[int, asyncio.Event] = {}
        self.blocked: set[tuple[str, int]] = set()
        self.sent: list[tuple[str, int]] = []
        self.resumed: list[tuple[int, int]] = []
        self.held: list[int] = []
        self.failed: list[str] = []
        self.refused: list[int] = []
        self.end = len(few())

    async def state(
        self, number: int, tell: Callable[[str], None]
    ) -> tuple[Partition, Manifest | None]:
        if number in self.fails:
            raise TimeoutError("its snapshot can't be read")
        if number in self.hangs:
            tell("waits for rules")
            await self.hangs[number].wait()
            tell("")
        return Partition(number, Contents()), None

    async def send(self, records: Sequence[Record]) -> None:
        while any((topic, n) in self.blocked for topic, n, _, _ in records):
            await asyncio.sleep(0.001)
        self.sent += [(topic, n) for topic, n, _, _ in records]

    async def resume(self, number: int, offset: int) -> None:
        if number in self.refused:
            self.refused.remove(number)
            raise IllegalStateError("the group is being divided")
        self.resumed.append((number, offset))

    def hold(self, number: int) -> None:
        self.held.append(number)

    async def ends(self, partitions: Iterable[int]) -> Ends:
        return Ends(dict.fromkeys(partitions, 0), dict.fromkeys(partitions, self.end))


def lanes(world: Any, waiting_bytes: int = 1 << 20) -> Lanes:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

    async def end(_: int) -> int:
        return 0

    async def fetch(_: str) -> bytes:
        raise AssertionError

    saver = Saver(
        world, TOPICS.snapshots.name, every_s=1e9, by="test", clock=lambda: 1, end=end,
        flush=lambda: None, logger=logger,
    )  # fmt: skip
    around = Surroundings(
        topics=TOPICS, contents=Library(fetch), takeover=world, reader=world, reading=world,
        post=world, saver=saver, ends=world.ends, troubled=lambda: False, telemetry=None,
        metrics=WorkerMetrics(), logger=logger, clock=lambda: 1, failed=world.failed.append,
        judging=Judging(
            KafkaSettings(), TOPICS, Library(fetch), world, {}, logger, nowhere=lambda _: False
        ),
    )  # fmt: skip
    return Lanes(around, waiting_bytes=waiting_bytes, marks=True)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.001)


def run(body: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World()
        await body(world)
        assert world.failed == []

    asyncio.run(whole())


async def feed(made: Lanes, number: int) -> None:
    for bundle in few():
        await made.put(number, Waiting(bundle, lambda: None))


def offsets(made: Lanes) -> dict[int, int]:
    return {lane.number: lane.offset for lane in made.all()}


LAST = len(few()) - 1


def test_held_partitions_go_on_while_others_are_taken_over_or_cannot_be() -> None:
    async def body(world: World) -> None:
        made = lanes(world)
        made.own({0})
        await until(lambda: len(made) == 1)
        world.fails, world.hangs = {1}, {2: asyncio.Event()}
        made.own({0, 1, 2, 3})
        await feed(made, 0)
        await until(lambda: offsets(made) == {0: LAST, 3: -1})
        await until(lambda: set(made.standing()) == {1, 2})
        assert made.standing()[1] == "its snapshot can't be read"
        assert made.positions([0, 1, 2, 3]) == {0: LAST + 1, 3: 0}
        world.fails.clear()
        world.hangs[2].set()
        await until(lambda: len(made) == 4)
        assert made.standing() == {}
        assert world.resumed == [(0, 0), (3, 0), (2, 0), (1, 0)]
        # One that is ours no more while it is being taken over doesn't come.
        world.hangs = {5: asyncio.Event()}
        made.own({0, 5})
        made.own({0})
        world.hangs[5].set()
        await until(lambda: made.loading == set())
        assert set(offsets(made)) == {0}
        await made.close()

    run(body)


def test_a_partition_whose_outputs_nobody_takes_holds_up_nobody() -> None:
    async def body(world: World) -> None:
        made = lanes(world, waiting_bytes=2 * max(len(one.value or b"") for one in few()))
        made.own({0, 1})
        await until(lambda: len(made) == 2)
        blocked = {(TOPICS.log.name, 0)} | {(TOPICS.alerts.name, n) for n in range(4)}
        world.blocked = blocked
        feeding = asyncio.ensure_future(feed(made, 0))
        await until(lambda: next(one for one in made.all() if one.number == 0).delivering)
        stuck = next(one for one in made.all() if one.number == 0)
        stuck.decided_s -= 100
        await feeding
        assert world.held
        await made.each_second()
        world.blocked = {(TOPICS.log.name, 0)}
        await until(lambda: (TOPICS.log.name, 1) in world.sent)
        await until(lambda: stuck.offset == LAST)
        assert (TOPICS.log.name, 0) not in world.sent
        await made.each_second()
        assert world.resumed[-1] == (0, stuck.expected)
        await feed(made, 1)
        await until(lambda: offsets(made)[1] == LAST)
        world.blocked = set()
        await made.close()

    run(body)


def test_what_was_lost_on_its_way_to_a_held_partition_is_read_once_more() -> None:
    """Who reads throws away what it has fetched of a partition that is held by then."""

    async def body(world: World) -> None:
        made = lanes(world)
        made.own({0})
        await until(lambda: len(made) == 1)
        records = [Waiting(one, lambda: None) for one in few()]
        for one in (*records[:5], *records[8:]):
            await made.put(0, one)
        assert 0 in world.held
        await until(lambda: offsets(made)[0] == 4)
        await made.each_second()
        assert world.resumed[-1] == (0, 5)
        for one in records[5:]:
            await made.put(0, one)
        await until(lambda: offsets(made)[0] == LAST)
        await made.close()

    run(body)


def test_what_cannot_be_read_on_at_once_is_read_on_later() -> None:
    async def body(world: World) -> None:
        world.refused = [0]
        made = lanes(world)
        made.own({0})
        await until(lambda: len(made) == 1)
        (lane,) = made.all()
        await until(lambda: not world.refused)
        await made.each_second()
        assert world.resumed == [(0, 0)]
        assert made.standing() == {}
        assert made.all() == [lane]
        world.refused = [0]
        await feed(made, 0)
        await until(lambda: offsets(made)[0] == LAST)
        await made.close()

    run(body)


def test_only_a_log_that_ends_too_early_twice_is_cut() -> None:
    async def body(world: World) -> None:
        made = lanes(world)
        made.own({0})
        await until(lambda: len(made) == 1)
        await feed(made, 0)
        await until(lambda: offsets(made)[0] == LAST)
        (lane,) = made.all()

        async def look(end: int) -> None:
            world.end = end
            asked = made.ends.next.get(0)
            await made.each_second()
            await until(lambda: made.ends.next.get(0) == end or asked == end)

        for end in (3, LAST + 1, 3):
            await look(end)
        assert lane.stands == ""
        world.end = 2
        await made.each_second()
        await until(lambda: "the log ends at offset 2" in lane.stands)
        await made.close()

    run(body)
