"""Records on their way to lanes: no more than there is room for, and none left out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from aiokafka.errors import KafkaError

from app.stream.lane import Lane, Waiting
from app.stream.surroundings import Reading


class Intake:
    """Fills lanes. limit: bytes that may lie in all of them together, undecided."""

    def __init__(
        self,
        lanes: Mapping[int, Lane],
        reading: Reading,
        limit: int,
        logger: structlog.stdlib.BoundLogger,
    ) -> None:
        """lanes: those there are now, by partition; looked at anew each time."""
        self._lanes, self._reading, self._limit = lanes, reading, limit
        self._logger = logger
        self._held: set[int] = set()

    async def put(self, partition: int, waiting: Waiting) -> None:
        """A record of the log has come; waits while too much of them lies here undecided.

        A partition that doesn't go on keeps its share, and no more of it is read.
        """
        while sum([one.waiting_bytes for one in self._lanes.values() if one.flows()]) > self._limit:
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
            self._reading.hold(partition)

    async def release(self) -> None:
        share = self._limit // max(1, len(self._lanes))
        for number in sorted(self._held):
            lane = self._lanes.get(number)
            if lane is None:
                self._held.discard(number)
            elif lane.flows() and lane.waiting_bytes <= share // 2:
                await self.read_on(lane)

    async def read_on(self, lane: Lane) -> None:
        """From where it is. While the group is being divided that may fail: once more later."""
        self._held.discard(lane.number)
        try:
            await self._reading.resume(lane.number, lane.expected)
        except KafkaError as error:
            self._held.add(lane.number)
            self._logger.error("not read on", partition=lane.number, why=str(error))
