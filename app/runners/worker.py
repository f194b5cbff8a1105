"""`gridwarden worker`: a faust app that gives partitions of the log to lanes.

faust divides the partitions among the workers of a group, reads them and tells when they come and
go. What it keeps for itself is not needed: state is in our snapshots, outputs go by a producer of
our own, and reading begins where the state says, whatever the group has committed. The committed
offset only shows others how far we are.

A worker that can't go on ends at once, by `os._exit`: what starts it starts it again, and nothing
that wasn't done is taken for done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NoReturn, cast

import faust
import msgspec
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from app.gaps import gaps_of
from app.logs import logger
from app.runners.detectors import open_models
from app.stream import admin
from app.stream.client import quiet_clients, ssl_context
from app.stream.contents import ContentIndex, Library, read_content
from app.stream.ends import looker
from app.stream.forgetting import forget_contents
from app.stream.judging import Judging
from app.stream.lane import Saver, Waiting
from app.stream.lanes import Lanes, Surroundings
from app.stream.outlet import Outlet
from app.stream.post import OutletPost
from app.stream.ranges import RangeReader, range_reader
from app.stream.readings import Readings
from app.stream.settings import KafkaSettings, StreamSettings, secret
from app.stream.snapshots import SnapshotReader
from app.stream.tails import Tail
from app.stream.takeover import Takeover
from app.stream.topics import RECORD_BYTES
from app.stream.vitals import Vitals
from app.stream.watch import Facts, clock_problem, stuck
from app.stream.worker_metrics import WorkerMetrics
from ingest.partition import Bundle

FAILED = 1
TURN_S = 1.0
LONGEST_PAUSE_S = 10.0
SLOW_S = 5.0
"""A record that Kafka hasn't taken for so long is a problem to tell of (proposal)."""
BUFFER_RECORDS = 64
"""Records between faust and the lanes (proposal)."""
FORGET_EVERY_S = 3600.0
UNSAVED_TIMES = 5
"""So many intervals without a snapshot are a problem (proposal): recovery grows, and the log may
forget what only it has."""
GOODBYE_S = 30.0
"""To save all state and leave the group; then the process ends all the same."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Consumer(driver.Consumer):
    """Reads on from where the lanes are, instead of from what the group has committed."""

    async def perform_seek(self) -> None:
        app = cast(_App, self.app)
        here = {tp.partition: tp for tp in self.assignment() if tp.topic == app.log_topic}
        known = app.positions(here)
        # Those that are still being taken over are read once they are.
        self.pause_partitions({tp for number, tp in here.items() if number not in known})
        for number, offset in known.items():
            await self.seek_on(here[number], offset)

    async def seek_on(self, tp: TP, offset: int) -> None:
        await self.seek(tp, offset)
        self._committed_offset[tp] = offset or None


class _Transport(driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    log_topic = ""
    positions: Callable[[Iterable[int]], dict[int, int]]


class _Reading:
    """What lanes have of faust's consumer. A rebalance that is under way seeks for itself."""

    def __init__(self, app: _App) -> None:
        self._app = app

    def _here(self, number: int) -> set[TP]:
        tp = TP(self._app.log_topic, number)
        return {tp} & set(self._app.consumer.assignment())

    async def resume(self, number: int, offset: int) -> None:
        consumer = cast(_Consumer, self._app.consumer)
        for tp in self._here(number):
            await consumer.seek_on(tp, offset)
            consumer.resume_partitions({tp})

    def hold(self, number: int) -> None:
        self._app.consumer.pause_partitions(self._here(number))


def _app(settings: StreamSettings) -> _App:
    kafka, worker = settings.kafka, settings.worker
    session_s = worker.session_s
    app = _App(
        settings.workers,
        broker=[URL(f"aiokafka://{server}") for server in kafka.servers],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=max(1.0, session_s / 10),
        broker_request_timeout=max(40.0, session_s + 10),
        broker_rebalance_timeout=max(60.0, session_s),
        consumer_group_instance_id=worker.instance or None,
        # faust's own assignor leaves partitions where they are when workers come and go. What it
        # tells the group of itself is another thing after a restart, though, which makes Kafka
        # divide anew; so who has a name goes by the plain assignor (it takes it without standbys).
        table_standby_replicas=0 if worker.instance else 1,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=RECORD_BYTES,
        stream_buffer_maxsize=BUFFER_RECORDS,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        store="memory://",
    )
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def _credentials(kafka: KafkaSettings) -> Any:
    context = ssl_context(kafka)
    if kafka.sasl:
        return faust.SASLCredentials(
            username=kafka.username,
            password=secret(kafka.password_file),
            ssl_context=context,
            mechanism=kafka.sasl,
        )
    return None if context is None else faust.SSLCredentials(context)


class Worker:
    """Build it, `run` it. `say` gets a line for a person at each step of the start."""

    def __init__(self, settings: StreamSettings, say: Callable[[str], None]) -> None:
        self.settings, self._say = settings, say
        self._logger: structlog.stdlib.BoundLogger = logger("worker")
        self.metrics = WorkerMetrics()
        self._topics = settings.layout
        self._stopping = asyncio.Event()
        self._away = ""
        self._opened = False
        self._beat_s = time.monotonic()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; state is saved then. Raises what the start raises:
        `TopicsWrong`, `KafkaError`, `SettingsError`."""
        quiet_clients()
        for name in ("faust", "mode", "kafka"):
            logging.getLogger(name).setLevel(logging.ERROR)
        async with AsyncExitStack() as stack:
            settings = self.settings.http
            pages = {"/gaps": self.gaps}
            vitals = Vitals(settings, self.health, self._exposition, pages)
            vitals.start()
            stack.callback(vitals.stop)
            self._say(f"health and metrics on http://{settings.host}:{vitals.port}")
            await self._reach()
            await self._open(stack)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
            await self._app.start()
            self._say(f"worker of {self.settings.workers} on {self.settings.kafka.bootstrap}")
            await self._stopping.wait()
            await self._stop()

    async def _reach(self) -> None:
        """Wait for a Kafka that is away, and look whether its topics are as they must be."""
        pause_s = TURN_S
        while True:
            try:
                async with admin.admin(self.settings.kafka) as client:
                    await admin.demand(client, self._topics)
            except (admin.KafkaAway, admin.KafkaError) as error:
                if self._away != str(error):
                    self._logger.error("waiting for kafka", why=str(error))
                self._away = str(error)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self._away = ""
                return

    async def _open(self, stack: AsyncExitStack) -> None:
        settings, topics = self.settings, self._topics
        self._outlet = Outlet(settings.kafka)
        stack.push_async_callback(self._outlet.close)
        reader = SnapshotReader(await self._reader(stack), topics.snapshots.name)
        self._looker = await stack.enter_async_context(looker(settings.kafka, topics.log.name))
        contents = await self._library(stack)
        post = self._post = OutletPost(self._outlet)
        self._readings = Readings(settings, post, clock=now_ms)
        stack.push_async_callback(self._readings.close)
        self._judging = Judging(
            settings.kafka,
            topics,
            contents,
            post,
            open_models(settings.detect),
            self._logger,
            nowhere=lambda name: not self._kafka_error and self._index.where(name) is None,
        )
        self._spawn(stack, "judging", self._judging.run())
        self._app = _app(settings)
        self._app.log_topic = topics.log.name
        self.lanes = Lanes(
            Surroundings(
                topics=topics,
                contents=contents,
                takeover=Takeover(
                    log=topics.log.name,
                    contents=contents,
                    snapshots=reader,
                    ranges=await self._reader(stack),
                    ends=self._looker.look,
                    from_earliest=settings.worker.from_earliest,
                    detectors=self._judging.names,
                ),
                reader=reader,
                reading=_Reading(self._app),
                post=post,
                saver=Saver(
                    post,
                    topics.snapshots.name,
                    every_s=settings.worker.snapshot_every_s,
                    by=settings.worker.instance or socket.gethostname(),
                    clock=now_ms,
                    end=reader.end,
                    flush=self._readings.flush,
                    logger=self._logger,
                ),
                ends=self._looker.look,
                troubled=lambda: bool(self._outlet.troubles() or self._kafka_error),
                telemetry=self._readings.store,
                metrics=self.metrics,
                logger=self._logger,
                clock=now_ms,
                failed=self._fail,
                judging=self._judging,
            ),
            waiting_bytes=settings.worker.waiting_bytes,
            marks=settings.worker.marks,
        )
        self._app.positions = self.lanes.positions
        self._wire()
        self._opened = True
        self._spawn(stack, "seconds", self._seconds())
        self._spawn(stack, "forgetting", self._forget())
        self._spawn(stack, "watching", self._beat())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    async def _reader(self, stack: AsyncExitStack) -> RangeReader:
        return await stack.enter_async_context(range_reader(self.settings.kafka))

    async def _library(self, stack: AsyncExitStack) -> Library:
        """Knows where all contents lie that were published up to now."""
        topic, index = self._topics.content.name, ContentIndex()
        self._index = index
        reader = await self._reader(stack)
        tail = Tail(self.settings.kafka, topic, index.take)
        self._spawn(stack, "content", tail.run())
        await tail.caught_up.wait()

        async def fetch(name: str) -> bytes:
            while True:
                try:
                    content = await read_content(reader, topic, await index.there(name), name)
                except (admin.KafkaError, OSError, TimeoutError) as error:
                    # Its partition stands meanwhile, and says so.
                    self._logger.error("a content can't be read", content=name, why=str(error))
                    await asyncio.sleep(TURN_S)
                    continue
                if content is not None:
                    return content
                self._logger.error("a content isn't what its hash says", content=name)
                index.forget(name)

        return Library(fetch)

    def _exposition(self) -> bytes:
        if self._opened and self._readings.store is not None:
            self.metrics.store.show(self._readings.store.state())
        return self.metrics.exposition()

    def _wire(self) -> None:
        app = self._app
        log = app.topic(
            self._topics.log.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=self._topics.log.partitions,
            allow_empty=True,
        )

        async def read(stream: Any) -> None:
            async for event in stream.noack().events():
                message = event.message
                bundle = Bundle(message.offset, round(message.timestamp * 1000), message.value)
                await self.lanes.put(message.partition, Waiting(bundle, event.ack))

        app.agent(log, name="log", concurrency=1)(read)

        async def on_revoked(_app: Any, *_: Any, **__: Any) -> None:
            self.lanes.pause()

        async def on_divided(_app: Any, *_: Any, **__: Any) -> None:
            mine = {
                tp.partition
                for tp in app.consumer.assignment()
                if tp.topic == self._topics.log.name
            }
            self.lanes.own(mine)

        # Its types want a parameter that it never gives.
        cast(Any, app.on_partitions_revoked).connect(on_revoked)
        cast(Any, app.on_rebalance_complete).connect(on_divided)

    def _spawn(self, stack: AsyncExitStack, name: str, work: Any) -> None:
        """A task whose end is the end of the process."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._logger.exception("a task failed", task=name)
                self._fail(f"{name}: {type(error).__name__}: {error}")

        task = asyncio.ensure_future(guarded())

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)

    async def _seconds(self) -> None:
        """Shortly after each whole second, so that its mark comes soon."""
        while True:
            await asyncio.sleep(TURN_S - time.time() % TURN_S + 0.005)
            await self.lanes.each_second()

    async def _forget(self) -> None:
        """Now and then, by whoever has the first partition."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            if 0 not in {lane.number for lane in self.lanes.all()}:
                continue
            try:
                names = await forget_contents(self.settings, self._index, self._post, now_ms())
            except (admin.KafkaError, OSError, TimeoutError) as error:
                self._logger.error("contents not looked through", error=str(error))
                continue
            if names:
                self._logger.info("contents nobody needs", forgotten=len(names))

    async def _beat(self) -> None:
        """Shows that the loop turns, and looks at what must never end."""
        while True:
            self._beat_s = time.monotonic()
            for fault in self._outlet.faults:
                raise fault
            if self._app.should_stop and not self._stopping.is_set():
                raise RuntimeError(f"faust stopped: {self._app.crash_reason!r}")
            await asyncio.sleep(0.5)

    def _watch(self) -> None:
        """In a thread of its own: it sees also a loop that hangs."""
        while True:
            time.sleep(1.0)
            try:
                why = stuck(self._facts(), self.settings.worker.stuck_s)
            except Exception as error:
                self._logger.exception("the watchdog failed")
                self._fail(f"the watchdog failed: {type(error).__name__}: {error}")
            if why and not self._stopping.is_set():
                self._fail(f"stuck: {why}")

    def _facts(self) -> Facts:
        lanes = self.lanes
        return Facts(
            now_s=time.monotonic(),
            beat_s=self._beat_s,
            kafka_away=bool(self._kafka_error),
            moved_s=lanes.moved_s,
            behind=lanes.behind(),
        )

    @property
    def _kafka_error(self) -> str:
        told = self._outlet.last_error or self._looker.last_error
        waiting_s = self._outlet.oldest_s()
        if not told and waiting_s > SLOW_S:
            # The client tries again by itself and says nothing.
            told = f"a record has waited {waiting_s:.0f} s for an acknowledgement"
        return told

    def health(self) -> dict[str, Any]:
        """From any thread."""
        if not self._opened:
            problems = [self._away or "starting"]
            return {"ok": False, "ready": False, "problems": problems, "partitions": []}
        kafka = self._kafka_error
        lanes = self.lanes
        partitions = lanes.document()
        standing = lanes.standing()
        problems = [f"kafka: {kafka}"] if kafka else []
        problems += [f"partition {n} stands: {why}" for n, why in sorted(standing.items())]
        problems += [f"kafka: {at}: {why}" for at, why in self._outlet.troubles().items()]
        problems += [
            f"partition {one['partition']} refused rules: {one['rules_refused']}"
            for one in partitions
            if one["rules_refused"]
        ]
        problems += [
            f"partition {one['partition']} has no rules: run gridwarden publish"
            for one in partitions
            if not one["rules"] and one["offset"] >= 0
        ]
        longest_s = UNSAVED_TIMES * self.settings.worker.snapshot_every_s
        problems += [
            f"partition {one['partition']}: no snapshot for {one['unsaved_s']:.0f} s"
            for one in partitions
            if one["unsaved_s"] > longest_s
        ]
        problems += self._judging.problems()
        problems += filter(None, [clock_problem(self._outlet.ahead_ms)])
        store = self._readings.store
        telemetry = None if store is None else store.state()
        if telemetry is not None and telemetry.problem:
            problems.append(f"telemetry store: {telemetry.problem}")
        return {
            "ok": not problems,
            "ready": not kafka and not lanes.loading - set(standing),
            "problems": problems,
            "group": self.settings.workers,
            "instance": self.settings.worker.instance,
            "loading": sorted(lanes.loading),
            "standing": {str(number): why for number, why in sorted(standing.items())},
            "partitions": partitions,
            "telemetry": None if telemetry is None else msgspec.to_builtins(telemetry),
        }

    def gaps(self, asked: Mapping[str, str]) -> dict[str, Any] | None:
        """From any thread. Of the gateway that is asked for, or the names of those that miss
        packs."""
        if not self._opened:
            return None
        lanes, gateway = self.lanes, asked.get("gateway")
        return lanes.in_deciding(lambda: gaps_of(lanes.logs(), gateway))

    def _fail(self, why: str) -> NoReturn:
        """Nothing is cleaned up: whoever cleans up may take for done what isn't."""
        os.write(2, f"gridwarden: {why}\n".encode())
        os._exit(FAILED)

    async def _stop(self) -> None:
        """Save first, then leave the group: who takes over finds it all."""
        late = threading.Timer(GOODBYE_S, lambda: self._fail("the end took too long"))
        late.daemon = True  # What comes after the last line here may take its time.
        late.start()
        await self.lanes.close()
        self._say("state saved")
        await self._app.stop()
