"""State of partitions in the compacted topic `snapshots`: pieces first, the manifest last.

Every snapshot has a name of its own, so that two writers never mix: a worker that was paused and
comes back writes beside its successor, and what it writes is true as well, since state is a
function of the partition's records up to its offset. From the topic's end on, `WINDOW` records at
a time, a reader takes the first window that has a whole snapshot, and of several there the one with
the greatest offset. A straggler's may hide a newer one: that costs the time to work on from it.
Keys are `{id}/{chunk}/{i}` and `{id}/manifest`.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import msgspec
from aiokafka import TopicPartition

from app.stream.ranges import RangeReader
from app.stream.topics import PIECE_BYTES

VERSION = 1
MANIFEST = "manifest"
SEGMENT_BYTES = 256 << 10
SAMPLE_BYTES = 8 << 10
SHRINKS = 0.9
_ZLIB_HEAD = b"\x78\x01"
_LAST_BLOCK = b"\x03\x00"
"""Empty (RFC 1951, 3.2.6)."""
WINDOW = 64
"""Records that are looked at in one go for a manifest, from the end on."""


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
    `snapshots`. by, made_ms: who wrote it, and when. needs: hashes of the contents that it names,
    None = written before they were noted.
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
    needs: tuple[str, ...] | None = None

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
        small = deflated(data)
        count = max(1, -(-len(small) // PIECE_BYTES))
        for i in range(count):
            value = small[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]
            pieces.append((piece_key(snapshot, name, i), value))
        infos[name] = ChunkInfo(count, len(data), hashlib.sha256(data).hexdigest())
    return Packed(infos, pieces)


def deflated(data: bytes) -> bytes:
    """One zlib stream. Parts of which a sample doesn't shrink, as fingerprints of readings, are
    stored as they are: trying it in vain would cost most of the time."""
    view = memoryview(data)
    parts = [_ZLIB_HEAD]
    for start in range(0, len(data), SEGMENT_BYTES):
        segment = view[start : start + SEGMENT_BYTES]
        sample = segment[len(segment) // 2 :][:SAMPLE_BYTES]
        shrinks = len(zlib.compress(sample, 1)) < SHRINKS * len(sample)
        part = zlib.compressobj(int(shrinks), zlib.DEFLATED, -zlib.MAX_WBITS)
        # Whole bytes, so that the next part can follow.
        parts += [part.compress(segment), part.flush(zlib.Z_FULL_FLUSH)]
    parts += [_LAST_BLOCK, zlib.adler32(data).to_bytes(4, "big")]
    return b"".join(parts)


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
    """Reads the topic."""

    def __init__(self, reader: RangeReader, topic: str) -> None:
        self._reader, self._topic = reader, topic

    async def end(self, partition: int) -> int:
        """The offset of the next record. Raises `KafkaError`."""
        return await self._reader.end(TopicPartition(self._topic, partition))

    async def load(self, partition: int) -> Saved | None:
        """The newest that is whole. Raises `KafkaError`, `SnapshotTooNew`, TimeoutError."""
        async with self._reader.lock:
            return await self._load(TopicPartition(self._topic, partition))

    async def _load(self, at: TopicPartition) -> Saved | None:
        first, upto = await self._reader.first(at), await self._reader.end(at)
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
        async for records in self._reader.read(at, start, end):
            for record in records:
                key, value = record.key, record.value
                if key is None or not key.endswith(f"/{MANIFEST}".encode()):
                    continue
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = decode_manifest(value), record.offset
        return list(found.values())

    async def _whole(self, at: TopicPartition, manifest: Manifest, offset: int) -> Saved | None:
        mine = f"{manifest.id}/".encode()
        pieces: dict[bytes, bytes] = {}
        async for records in self._reader.read(at, manifest.starts_at, offset):
            for record in records:
                if record.key and record.value is not None and record.key.startswith(mine):
                    pieces[record.key] = record.value
        chunks = await asyncio.to_thread(unpack, manifest, pieces)
        return None if chunks is None else Saved(manifest, chunks)

    async def leftovers(self, partition: int, kept: Collection[str], before: int) -> list[bytes]:
        """Keys of what older snapshots have left: of those that are not `kept` and hold no more
        than the records up to `before`. Raises `KafkaError`, TimeoutError."""
        at = TopicPartition(self._topic, partition)
        found: dict[bytes, bool] = {}
        async with self._reader.lock:
            start, end = await self._reader.first(at), await self._reader.end(at)
            async for records in self._reader.read(at, start, end):
                for record in records:
                    if record.key:
                        found[record.key] = record.value is not None
        return [key for key, there in found.items() if there and _is_old(key, kept, before)]


def _is_old(key: bytes, kept: Collection[str], before: int) -> bool:
    """By its name, `{partition}-{offset}-{random}/...`: pieces tell nothing else."""
    name = key.decode(errors="replace").split("/")[0]
    parts = name.split("-")
    numbered = len(parts) == 3 and parts[1].isdigit()
    return numbered and name not in kept and int(parts[1]) <= before
