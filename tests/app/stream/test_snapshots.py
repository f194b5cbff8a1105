"""Snapshots: what is whole is found, what is torn is passed over, two writers do no harm."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.logs import logger
from app.stream import admin
from app.stream.outlet import Outlet
from app.stream.partition import Frozen
from app.stream.post import OutletPost
from app.stream.ranges import range_reader
from app.stream.saver import Saver
from app.stream.settings import KafkaSettings
from app.stream.snapshots import (
    SEGMENT_BYTES,
    VERSION,
    WINDOW,
    Manifest,
    Saved,
    SnapshotReader,
    SnapshotTooNew,
    decode_manifest,
    deflated,
    encode,
    manifest_key,
    pack,
    unpack,
)
from app.stream.topics import PIECE_BYTES, TopicPlan, topics_of


def manifest(name: str, offset: int, chunks: dict[str, bytes]) -> Manifest:
    return Manifest(
        version=VERSION, id=name, partition=0, offset=offset, position=offset, starts_at=0,
        made_ms=1, by="test", chunks=pack(name, chunks).chunks,
    )  # fmt: skip


def big(seed: int) -> dict[str, bytes]:
    """Three pieces, and one that is empty."""
    return {"head": b"", "rules": random.Random(seed).randbytes(2 * PIECE_BYTES + 5)}


def test_pieces_make_the_chunks_again_or_nothing() -> None:
    packed = pack("x", big(1))
    whole = manifest("x", 3, big(1))
    assert len(packed.pieces) == 4
    assert unpack(whole, dict(packed.pieces)) == big(1)
    for key, value in packed.pieces:
        others = {k: v for k, v in packed.pieces if k != key}
        assert unpack(whole, others) is None
        assert unpack(whole, {**others, key: value[:-1] + b"?"}) is None
    assert set(whole.records()) == {*(key for key, _ in packed.pieces), manifest_key("x")}


def test_a_newer_version_is_refused() -> None:
    newer = msgspec.structs.replace(manifest("x", 3, {}), version=VERSION + 1)
    assert decode_manifest(encode(manifest("x", 3, {}))).offset == 3
    with pytest.raises(SnapshotTooNew, match="run workers of the newer version"):
        decode_manifest(encode(newer))


@dataclass(frozen=True)
class Rig:
    """A topic, and what writes it."""

    name: str
    post: OutletPost
    saver: Saver
    reader: SnapshotReader
    load: Callable[[], asyncio.Future[Saved | None]]

    async def put(self, *records: tuple[bytes, bytes | None]) -> None:
        await self.post.send([(self.name, 0, key, value) for key, value in records])


def run(bootstrap: str, prefix: str, body: Callable[[Rig], object]) -> None:
    asyncio.run(_run(bootstrap, prefix, body))


async def _run(bootstrap: str, prefix: str, body: Callable[[Rig], object]) -> None:
    settings = KafkaSettings(bootstrap=bootstrap)
    topic = topics_of(TopicPlan(prefix=prefix, partitions=1)).snapshots
    async with admin.admin(settings) as client:
        await admin.apply(client, [topic])
    outlet = Outlet(settings)
    async with range_reader(settings) as ranges:
        reader = SnapshotReader(ranges, topic.name)
        post = OutletPost(outlet)
        saver = Saver(
            post, topic.name, every_s=1, by="test", clock=lambda: 1, end=reader.end,
            flush=lambda: None, logger=logger("test"),
        )  # fmt: skip
        rig = Rig(topic.name, post, saver, reader, lambda: asyncio.ensure_future(reader.load(0)))
        try:
            await body(rig)  # type: ignore[misc]
        finally:
            await outlet.close()


def frozen(offset: int) -> Frozen:
    return Frozen(offset, offset, lambda: big(offset))


@pytest.mark.kafka
def test_the_newest_that_is_whole_is_loaded(kafka: str, topic_prefix: str) -> None:
    async def body(rig: Rig) -> None:
        assert await rig.load() is None
        first = await rig.saver.save(0, frozen(10), [])
        second = await rig.saver.save(0, frozen(20), [first])
        loaded = await rig.load()
        assert loaded == Saved(second, big(20))
        # Killed before its manifest.
        await rig.put(*pack("torn", big(30)).pieces)
        assert (await rig.load()).manifest == second
        # Its manifest stands, but a piece has gone.
        await rig.put(*pack("half", big(40)).pieces[:-1])
        await rig.put((manifest_key("half"), encode(manifest("half", 40, big(40)))))
        assert (await rig.load()).manifest == second

    run(kafka, topic_prefix, body)


@pytest.mark.kafka
def test_who_was_away_and_writes_again_does_no_harm(kafka: str, topic_prefix: str) -> None:
    async def body(rig: Rig) -> None:
        old = await rig.saver.save(0, frozen(10), [])
        older = msgspec.structs.replace(old, id="older", offset=5)
        new = await rig.saver.save(0, frozen(50), [old])
        # The one that slept knows nothing of `new`, and takes back only what he knows.
        late = await rig.saver.save(0, frozen(12), [older, old])
        assert late.offset == 12
        assert (await rig.load()).manifest == new

    run(kafka, topic_prefix, body)


@pytest.mark.kafka
def test_a_manifest_is_found_behind_a_window_of_others(kafka: str, topic_prefix: str) -> None:
    async def body(rig: Rig) -> None:
        saved = await rig.saver.save(0, frozen(10), [])
        await rig.put(*((f"gone/rules/{n}".encode(), None) for n in range(2 * WINDOW)))
        assert await rig.load() == Saved(saved, big(10))

    run(kafka, topic_prefix, body)


@pytest.mark.kafka
def test_what_earlier_owners_left_is_found_and_nothing_else(kafka: str, topic_prefix: str) -> None:
    async def body(rig: Rig) -> None:
        first = await rig.saver.save(0, frozen(10), [])
        # Killed before its manifest, and one that was written by a worker that went on elsewhere.
        torn = pack("0-15-abc", big(15)).pieces
        await rig.put(*torn)
        await rig.put((b"0-7-abc/rules/0", b"x"), (b"0-7-abc/rules/0", None), (b"odd", b"x"))
        second = await rig.saver.save(0, frozen(20), [])
        third = await rig.saver.save(0, frozen(30), [second])
        await rig.put(*pack("0-40-newer", big(40)).pieces)
        left = await rig.reader.leftovers(0, {second.id, third.id}, second.offset)
        assert set(left) == {*first.records(), *(key for key, _ in torn)}
        await rig.saver.forget(0, left)
        assert await rig.reader.leftovers(0, {second.id, third.id}, second.offset) == []
        assert (await rig.load()).manifest == third

    run(kafka, topic_prefix, body)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, SEGMENT_BYTES)), max_size=4))
@settings(max_examples=30, deadline=None)
def test_one_zlib_stream_of_what_shrinks_and_what_does_not(parts: list[tuple[bool, int]]) -> None:
    """Every version of a worker reads it."""
    data = b"".join(random.Random(n).randbytes(n) if noise else bytes(n) for noise, n in parts)
    small = deflated(data)
    assert zlib.decompress(small) == data
    assert len(small) <= len(data) + len(data) // 100 + 64
    if not any(noise for noise, _ in parts):
        assert len(small) <= 64 + len(data) // 50
