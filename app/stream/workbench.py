"""What lanes have done for them: deciding in the one thread for it, and delivering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.stream.partition import Outputs, Partition
from app.stream.post import Record
from app.stream.records import encode
from app.stream.routes import by_checksum
from app.stream.surroundings import Surroundings
from contracts.alerts import encode_event
from contracts.messages import Installed
from ingest.partition import Bundle, Place

R = TypeVar("R")

RETRY_S = (1.0, 60.0)
"""After a state could not be taken up (proposal)."""
ASKED_S = 10.0


class Workbench:
    """`app.stream.lane.Hands`, for all lanes of a process. Use within one event loop."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deciding")

    async def decide(self, what: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def in_deciding(self, what: Callable[[], R]) -> R:
        """`decide` for other threads; they wait. Raises TimeoutError."""
        return self._thread.submit(what).result(ASKED_S)

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
