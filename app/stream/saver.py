"""Snapshots of partitions, written: pieces, then the manifest, once Kafka has all before it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
from aiokafka.errors import KafkaError

from app.stream.partition import Frozen
from app.stream.post import Post
from app.stream.snapshots import VERSION, Manifest, encode, manifest_key, pack

Beside = Callable[[], Awaitable[dict[str, bytes]]]


async def nothing_beside() -> dict[str, bytes]:
    return {}


class Saver:
    """Writes snapshots. every_s: how often."""

    def __init__(
        self,
        post: Post,
        topic: str,
        *,
        every_s: float,
        by: str,
        clock: Callable[[], int],
        end: Callable[[int], Awaitable[int]],
        flush: Callable[[], object],
        logger: structlog.stdlib.BoundLogger,
    ) -> None:
        """end: the offset at which a partition of `topic` ends. flush: what isn't in Kafka yet of
        what was decided, made safe."""
        self._post, self._topic, self.every_s, self._by = post, topic, every_s, by
        self._clock, self._end, self._flush, self._logger = clock, end, flush, logger
        self.took_s = 0.0
        self.bytes = 0
        self._packing = asyncio.Lock()

    async def save(
        self,
        partition: int,
        frozen: Frozen,
        earlier: Sequence[Manifest],
        beside: Beside = nothing_beside,
    ) -> Manifest | None:
        """Write one; of the earlier ones all but the last are taken back. None = it failed.

        beside: more chunks, of those who keep up with the log by themselves.
        """
        started = time.monotonic()
        try:
            state, more = frozen.chunks, await beside()
            frozen = replace(frozen, chunks=lambda: {**state(), **more})
            await asyncio.to_thread(self._flush)
            manifest = await self._write(partition, frozen)
            for old in earlier[:-1]:
                await self._send([(key, None) for key in old.records()], partition)
        except (KafkaError, OSError, TimeoutError) as error:
            self._logger.error("no snapshot", partition=partition, error=str(error))
            return None
        except Exception:
            # Health tells how long there has been none.
            self._logger.exception("no snapshot", partition=partition)
            return None
        self.took_s = time.monotonic() - started
        return manifest

    async def forget(self, partition: int, keys: Sequence[bytes]) -> None:
        """Take back what others have left."""
        await self._send([(key, None) for key in keys], partition)

    async def _write(self, partition: int, frozen: Frozen) -> Manifest:
        name = f"{partition}-{frozen.offset}-{uuid.uuid4().hex[:12]}"
        # One after the other: partitions that came together are due together, and who decides
        # would wait for a core as long as all of them are packed.
        async with self._packing:
            packed = await asyncio.to_thread(lambda: pack(name, frozen.chunks()))
        starts_at = await self._end(partition)
        for piece in packed.pieces:
            await self._send([piece], partition)
        manifest = Manifest(
            version=VERSION,
            id=name,
            partition=partition,
            offset=frozen.offset,
            position=frozen.position,
            starts_at=starts_at,
            made_ms=self._clock(),
            by=self._by,
            chunks=packed.chunks,
            needs=tuple(sorted(frozen.needs)),
        )
        # Kafka has all pieces by now, and all that was decided up to here.
        await self._send([(manifest_key(name), encode(manifest))], partition)
        self.bytes = sum([len(value) for _, value in packed.pieces])
        return manifest

    async def _send(self, records: Sequence[tuple[bytes, bytes | None]], partition: int) -> None:
        await self._post.send([(self._topic, partition, key, value) for key, value in records])
