"""`gridwarden worker`: faust gives it partitions of the log, and it gives them to lanes.

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
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NoReturn

import structlog

from app.gaps import gaps_of
from app.logs import logger
from app.runners.detectors import open_models
from app.stream import admin
from app.stream.client import quiet_clients
from app.stream.contents import ContentIndex, Library
from app.stream.ends import looker
from app.stream.faust_app import FaustReading, make_app, wire
from app.stream.fetching import fetched
from app.stream.forgetting import forget_contents
from app.stream.judging import Judging
from app.stream.lanes import Lanes
from app.stream.outlet import Outlet
from app.stream.post import OutletPost
from app.stream.ranges import RangeReader, range_reader
from app.stream.readings import Readings
from app.stream.saver import Saver
from app.stream.settings import StreamSettings
from app.stream.snapshots import SnapshotReader
from app.stream.surroundings import Surroundings
from app.stream.tails import Tail
from app.stream.takeover import Takeover
from app.stream.vitals import Vitals
from app.stream.watch import Facts, stuck
from app.stream.worker_health import KafkaState, WorkerHealth
from app.stream.worker_metrics import WorkerMetrics

FAILED = 1
TURN_S = 1.0
LONGEST_PAUSE_S = 10.0
FORGET_EVERY_S = 3600.0
GOODBYE_S = 30.0
"""To save all state and leave the group; then the process ends all the same."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


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
        self._kafka = KafkaState(self._outlet, self._looker)
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
            nowhere=lambda name: not self._kafka.error and self._index.where(name) is None,
        )
        self._spawn(stack, "judging", self._judging.run())
        self._app = make_app(settings)
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
                reading=FaustReading(self._app),
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
                troubled=lambda: bool(self._outlet.troubles() or self._kafka.error),
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
        self._health = WorkerHealth(
            settings, self._kafka, self.lanes, self._judging, self._readings
        )
        self._app.positions = self.lanes.positions
        wire(self._app, topics.log, put=self.lanes.put, pause=self.lanes.pause, own=self.lanes.own)
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

        return Library(partial(fetched, reader, topic, index, self._logger))

    def _exposition(self) -> bytes:
        if self._opened and self._readings.store is not None:
            self.metrics.store.show(self._readings.store.state())
        return self.metrics.exposition()

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
            kafka_away=bool(self._kafka.error),
            moved_s=lanes.moved_s,
            behind=lanes.behind(),
        )

    def health(self) -> dict[str, Any]:
        """From any thread."""
        if not self._opened:
            problems = [self._away or "starting"]
            return {"ok": False, "ready": False, "problems": problems, "partitions": []}
        return self._health.document()

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
