"""State of partitions in the compacted topic `snapshots`: pieces first, the manifest last.

Every snapshot has a name of its own, so that two writers never mix: a worker that was paused and
comes back writes beside its successor, and what it writes is true as well, since state is a
function of the partition's records up to its offset. A reader takes the manifest with the
greatest offset whose pieces are all there. Keys are `{id}/{chunk}/{i}` and `{id}/manifest`.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.stream.client import client_options
from app.stream.settings import KafkaSettings
from app.stream.topics import PIECE_BYTES

VERSION = 1
MANIFEST = "manifest"
WINDOW = 64
"""Records that are looked at in one go for a manifest, from the end on."""
POLL_MS = 1_000
PATIENCE_S = 30.0


class SnapshotTooNew(Exception):
    """Written by a newer version."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"a snapshot has version {version}, this worker reads up to {VERSION}; "
            "run workers of the newer version"
        )


class ChunkInfo(msgspec.Struct, frozen=True):
    """One chunk: how many pieces, bytes before compression, SHA-256 of those."""

    pieces: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a snapshot whole.

    offset: of the last record of `log` in it. starts_at: no piece lies before this offset of
    `snapshots`. by, made_ms: who wrote it, and when.
    """

    version: int
    id: str
    partition: int
    offset: int
    position: int
    starts_at: int
    made_ms: int
    by: str
    chunks: dict[str, ChunkInfo]

    def records(self) -> Iterator[bytes]:
        """The keys of all its records."""
        for name, info in self.chunks.items():
            for i in range(info.pieces):
                yield piece_key(self.id, name, i)
        yield manifest_key(self.id)


@dataclass(frozen=True, slots=True)
class Packed:
    """Ready to be written. pieces: (key, value) in order."""

    chunks: dict[str, ChunkInfo]
    pieces: list[tuple[bytes, bytes]]


def piece_key(snapshot: str, chunk: str, number: int) -> bytes:
    return f"{snapshot}/{chunk}/{number}".encode()


def manifest_key(snapshot: str) -> bytes:
    return f"{snapshot}/{MANIFEST}".encode()


def pack(snapshot: str, chunks: Mapping[str, bytes]) -> Packed:
    """Compress and cut; takes a while for millions of devices."""
    infos: dict[str, ChunkInfo] = {}
    pieces: list[tuple[bytes, bytes]] = []
    for name, data in chunks.items():
        small = zlib.compress(data, 1)
        count = max(1, -(-len(small) // PIECE_BYTES))
        for i in range(count):
            value = small[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]
            pieces.append((piece_key(snapshot, name, i), value))
        infos[name] = ChunkInfo(count, len(data), hashlib.sha256(data).hexdigest())
    return Packed(infos, pieces)


def unpack(manifest: Manifest, pieces: Mapping[bytes, bytes]) -> dict[str, bytes] | None:
    """The chunks; None where a piece is missing or isn't what it was."""
    chunks: dict[str, bytes] = {}
    for name, info in manifest.chunks.items():
        keys = [piece_key(manifest.id, name, i) for i in range(info.pieces)]
        if any(key not in pieces for key in keys):
            return None
        try:
            data = zlib.decompress(b"".join([pieces[key] for key in keys]))
        except zlib.error:
            return None
        if hashlib.sha256(data).hexdigest() != info.sha256:
            return None
        chunks[name] = data
    return chunks


_manifest = msgspec.json.Decoder(Manifest)
encode = msgspec.json.Encoder().encode


def decode_manifest(value: bytes) -> Manifest:
    """Raises `SnapshotTooNew`, `msgspec.DecodeError`."""
    version = msgspec.json.decode(value)["version"]
    if version > VERSION:
        raise SnapshotTooNew(version)
    return _manifest.decode(value)


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot that was read."""

    manifest: Manifest
    chunks: dict[str, bytes]


class SnapshotReader:
    """Reads the topic; one connection for as long as it is open."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._lock = asyncio.Lock()

    async def end(self, partition: int) -> int:
        """The offset of the next record. Raises `KafkaError`."""
        at = TopicPartition(self._topic, partition)
        return int((await self._consumer.end_offsets([at]))[at])

    async def load(self, partition: int) -> Saved | None:
        """The newest that is whole. Raises `KafkaError`, `SnapshotTooNew`."""
        async with self._lock:
            return await self._load(TopicPartition(self._topic, partition))

    async def _load(self, at: TopicPartition) -> Saved | None:
        first = int((await self._consumer.beginning_offsets([at]))[at])
        end = int((await self._consumer.end_offsets([at]))[at])
        upto = end
        while upto > first:
            start = max(first, upto - WINDOW)
            found = await self._manifests(at, start, upto)
            for manifest, offset in sorted(found, key=lambda one: -one[0].offset):
                saved = await self._whole(at, manifest, offset)
                if saved is not None:
                    return saved
            upto = start
        return None

    async def _manifests(
        self, at: TopicPartition, start: int, end: int
    ) -> list[tuple[Manifest, int]]:
        """With the offset at which each lies; of one that was taken back later, nothing."""
        found: dict[bytes, tuple[Manifest, int]] = {}
        async for key, value, offset in self._read(at, start, end):
            if key is None or not key.endswith(f"/{MANIFEST}".encode()):
                continue
            if value is None:
                found.pop(key, None)
            else:
                found[key] = decode_manifest(value), offset
        return list(found.values())

    async def _whole(self, at: TopicPartition, manifest: Manifest, offset: int) -> Saved | None:
        mine = f"{manifest.id}/".encode()
        pieces = {
            key: value
            async for key, value, _ in self._read(at, manifest.starts_at, offset)
            if key is not None and value is not None and key.startswith(mine)
        }
        chunks = await asyncio.to_thread(unpack, manifest, pieces)
        return None if chunks is None else Saved(manifest, chunks)

    async def _read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[tuple[bytes | None, bytes | None, int]]:
        """The records from `start` up to before `end`; compaction has left gaps."""
        if start >= end:
            return
        consumer = self._consumer
        consumer.assign([at])
        consumer.seek(at, start)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while await consumer.position(at) < end:
            for records in (await consumer.getmany(at, timeout_ms=POLL_MS)).values():
                deadline = loop.time() + PATIENCE_S
                for record in records:
                    if record.offset < end:
                        yield record.key, record.value, record.offset
            if loop.time() > deadline:
                raise TimeoutError(f"{at.topic} {at.partition} can't be read up to {end}")


@asynccontextmanager
async def snapshot_reader(settings: KafkaSettings, topic: str) -> AsyncIterator[SnapshotReader]:
    """Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **client_options(settings)
    )
    await consumer.start()
    try:
        yield SnapshotReader(consumer, topic)
    finally:
        await consumer.stop()
