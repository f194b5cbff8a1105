"""A partition of the log as one file: what `replay` reads on any machine, as of an embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from app.contents import Contents
from app.stream.client import client_options, quiet_clients
from app.stream.contents import ContentMissing, ContentTopic
from app.stream.partition import prover
from app.stream.settings import StreamSettings
from contracts.log import LogRecord, RecordKind, decode_bundle
from contracts.messages import Installed
from contracts.rejects import Refused
from ingest.log.dump import Dumped, DumpWriter
from ingest.partition import Bundle, OffsetsMissing, PartitionLog

POLL_MS = 1_000
QUIET_S = 30.0
"""So long without a record that should be there, and it is given up."""


class CantDump(Exception):
    """The text names the reason and the mend."""


async def dump_partition(
    settings: StreamSettings, number: int, out: Path, upto: int | None = None
) -> Dumped:
    """Write it up to where it ends now, or up to before the offset `upto`; gives what was written.
    Raises `CantDump`, `SettingsError`, `OSError`."""
    topics = settings.layout
    if number >= topics.log.partitions:
        raise CantDump(f"--partition {number}: there are {topics.log.partitions}, from 0")
    quiet_clients()
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **client_options(settings.kafka)
    )
    try:
        await consumer.start()
        return await _dump(consumer, settings, number, out, upto)
    except (KafkaError, TimeoutError) as error:
        raise CantDump(f"kafka at {settings.kafka.bootstrap}: {error}; is it running?") from None
    except (ContentMissing, OffsetsMissing) as error:
        raise CantDump(f"partition {number}: {error}") from None
    finally:
        await consumer.stop()


async def _dump(
    consumer: AIOKafkaConsumer, settings: StreamSettings, number: int, out: Path, upto: int | None
) -> Dumped:
    topics = settings.layout
    at = TopicPartition(topics.log.name, number)
    first = int((await consumer.beginning_offsets([at]))[at])
    end = int((await consumer.end_offsets([at]))[at])
    if first > 0:
        raise CantDump(
            f"partition {number} begins at offset {first}: what was before is gone, and a replay "
            "without it would give other answers; lengthen topics.log_days"
        )
    end = end if upto is None else min(end, upto)
    contents = ContentTopic(topics.content.name, patience_s=0)
    content = TopicPartition(topics.content.name, 0)
    last = int((await consumer.end_offsets([content]))[content])
    async for records in _records(consumer, content, last):
        for record in records:
            contents.take(record)
    named = [hash_ async for hash_ in _named(consumer, at, end)]
    log = PartitionLog(prove=prover(Contents(contents)))
    with DumpWriter(out) as writer:
        for name in sorted(set(named) & set(contents.hashes())):
            writer.content(name, contents.get_content(name))
        async for records in _records(consumer, at, end):
            taken = log.take([Bundle(one.offset, one.timestamp, one.value) for one in records])
            if taken.records:
                writer.bundle(taken.records)
    return writer.dumped


async def _named(consumer: AIOKafkaConsumer, at: TopicPartition, end: int) -> AsyncIterator[str]:
    """The contents that control records name: those stand at the head of a dump."""
    async for records in _records(consumer, at, end):
        for one in records:
            for record in _decoded(one.value or b""):
                if record.kind is RecordKind.INSTALLED:
                    try:
                        yield msgspec.json.decode(record.payload, type=Installed).hash
                    except msgspec.DecodeError:
                        continue


def _decoded(value: bytes) -> list[LogRecord]:
    try:
        return decode_bundle(value, 0)
    except Refused:
        return []


async def _records(
    consumer: AIOKafkaConsumer, at: TopicPartition, end: int
) -> AsyncIterator[list[ConsumerRecord]]:
    """From the beginning up to before `end`."""
    consumer.assign([at])
    await consumer.seek_to_beginning(at)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + QUIET_S
    while await consumer.position(at) < end:
        for records in (await consumer.getmany(at, timeout_ms=POLL_MS)).values():
            deadline = loop.time() + QUIET_S
            yield [record for record in records if record.offset < end]
        if loop.time() > deadline:
            raise TimeoutError(f"{at.topic} {at.partition} can't be read up to {end}")
