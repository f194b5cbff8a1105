"""A partition of the log as one file: what `replay` reads on any machine, as of an embedded log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.contents import Contents
from app.stream.client import client_options, quiet_clients
from app.stream.contents import ContentIndex, read_content
from app.stream.partition import ContentMissing, prover
from app.stream.ranges import RangeReader
from app.stream.records import SIGNALS, BadRecord, decode_letter
from app.stream.settings import StreamSettings
from contracts.log import LogRecord, RecordKind, decode_known
from contracts.messages import Installed
from contracts.rejects import Reason, Refused
from ingest.log.dump import Dumped, DumpWriter
from ingest.partition import Bundle, OffsetsMissing, PartitionLog, Place

_installed_decoder = msgspec.json.Decoder(Installed)


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
    reader = RangeReader(consumer)
    contents = await _contents(reader, at, end, topics.content.name)
    log = PartitionLog(prove=prover(Contents(contents)))
    log.undecidable = await _undecidable(reader, topics.letters.name, number)
    with DumpWriter(out) as writer:
        for name in sorted(contents.found):
            writer.content(name, contents.get_content(name))
        async for records in reader.read(at, 0, end):
            taken = log.take([Bundle(one.offset, one.timestamp, one.value) for one in records])
            if taken.records:
                writer.bundle(taken.records)
    return writer.dumped


@dataclass(frozen=True, slots=True)
class _Named:
    """The contents that the control records of a partition name, as far as they are there."""

    topic: str
    found: dict[str, bytes]

    def get_content(self, content: str) -> bytes:
        """Raises `ContentMissing`."""
        if content not in self.found:
            raise ContentMissing(content, self.topic)
        return self.found[content]


async def _contents(reader: RangeReader, at: TopicPartition, end: int, topic: str) -> _Named:
    index, content = ContentIndex(), TopicPartition(topic, 0)
    begins, ends = await reader.first(content), await reader.end(content)
    async for records in reader.read(content, begins, ends):
        for record in records:
            index.take(record)
    found = _Named(topic, {})
    for name in [name async for name in _named(reader, at, end)]:
        span = index.where(name)
        if span is not None and name not in found.found:
            held = await read_content(reader, topic, span, name)
            if held is not None:
                found.found[name] = held
    return found


async def _undecidable(reader: RangeReader, topic: str, number: int) -> dict[Place, str]:
    """What the workers have left out of a partition, as their letters say."""
    at, found = TopicPartition(topic, 0), {}
    async for records in reader.read(at, await reader.first(at), await reader.end(at)):
        for record in records:
            with suppress(BadRecord):
                letter = decode_letter(record.value or b"")
                if letter.reason != Reason.UNDECIDABLE.value or letter.field == SIGNALS:
                    continue
                if letter.partition == number:
                    found[letter.offset, letter.nth] = letter.detail
    return found


async def _named(reader: RangeReader, at: TopicPartition, end: int) -> AsyncIterator[str]:
    """The contents that control records name: those stand at the head of a dump."""
    async for records in reader.read(at, 0, end):
        for one in records:
            for record in _decoded(one.value or b""):
                if record.kind is RecordKind.INSTALLED:
                    with suppress(msgspec.DecodeError):
                        yield _installed_decoder.decode(record.payload).hash


def _decoded(value: bytes) -> list[LogRecord]:
    try:
        return decode_known(value, 0)[0]
    except Refused:
        return []
