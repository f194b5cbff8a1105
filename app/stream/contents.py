"""The topic `content`: what stands behind the hashes that control records name.

Everybody who follows it keeps only where each content lies; the bytes are read when a partition
needs them, and what is built of them is kept for as long as one does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from aiokafka import ConsumerRecord, TopicPartition

from app.content import (
    ContentError,
    content_hash,
    unpack_registry,
    unpack_rules,
    unpack_settings,
)
from app.stream.partition import ContentMissing
from app.stream.ranges import RangeReader
from app.stream.records import Assembler, BadRecord, piece_of
from contracts.messages import Installed
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.registry import RegistryError
from rules import RulesInvalid
from rules.ruleset import RuleSet

Built = RuleSet | Registry | AdmissionSettings
Key = tuple[str, str]
"""(what, hash)."""
R = TypeVar("R")

KEPT_S = 600.0
"""What nobody needs any more is kept for so long (proposal): a record that names it may be about to
be decided."""


@dataclass(slots=True)
class _Pieces:
    """Of one content: offsets by number, and when the newest was written."""

    count: int
    offsets: dict[int, int]
    written_ms: int = 0


class ContentIndex:
    """Where each content lies. Use within one event loop."""

    def __init__(self) -> None:
        self._pieces: dict[str, _Pieces] = {}
        self._news = asyncio.Event()
        self.refused = 0
        """Records that are no pieces."""

    def take(self, record: ConsumerRecord) -> None:
        """One record of the topic; one that is bad is counted and left out."""
        try:
            name, number, count = piece_of(record.key or b"")
        except BadRecord:
            self.refused += 1
            return
        known = self._pieces.get(name)
        if record.value is None:
            if known is not None:
                known.offsets.pop(number, None)
                if not known.offsets:
                    del self._pieces[name]
            return
        if known is None or known.count != count:
            known = self._pieces[name] = _Pieces(count, {})
        known.offsets[number] = record.offset
        known.written_ms = record.timestamp
        if len(known.offsets) == count:
            self._news.set()
            self._news = asyncio.Event()

    def where(self, name: str) -> tuple[int, int] | None:
        """(first offset, offset behind the last) once all of it has come."""
        known = self._pieces.get(name)
        if known is None or len(known.offsets) < known.count:
            return None
        return min(known.offsets.values()), max(known.offsets.values()) + 1

    async def there(self, name: str) -> tuple[int, int]:
        """`where`, once it has come."""
        while (found := self.where(name)) is None:
            await self._news.wait()
        return found

    def forget(self, name: str) -> None:
        """It isn't what its hash says: wait for it to come anew."""
        self._pieces.pop(name, None)

    def hashes(self) -> list[str]:
        return sorted(self._pieces)

    def written_ms(self, name: str) -> int:
        """When it was written last, unix ms by Kafka."""
        return self._pieces[name].written_ms

    def keys(self, name: str) -> list[bytes]:
        """Of the records of one content."""
        known = self._pieces[name]
        return [f"{name}/{number}/{known.count}".encode() for number in sorted(known.offsets)]


async def read_content(
    reader: RangeReader, topic: str, span: tuple[int, int], name: str
) -> bytes | None:
    """The bytes; None when they aren't what their hash says. Raises `KafkaError`, TimeoutError."""
    assembler, at = Assembler(), TopicPartition(topic, 0)
    found: bytes | None = None
    async with reader.lock:
        async for records in reader.read(at, *span):
            for record in records:
                if record.value is None or not (record.key or b"").startswith(name.encode()):
                    continue
                whole = assembler.add(record.key or b"", record.value)
                found = found if whole is None else whole[1]
    return found if found is not None and content_hash(found) == name else None


class Library:
    """What partitions have in force, built of its content once, outside the deciding thread.

    `bring` it, then it is `ready` and the deciding thread may ask for it. What is damaged is ready
    too: asking for it raises what building it raised.
    """

    def __init__(
        self, fetch: Callable[[str], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """fetch: the bytes of a content, once it is there. clock: seconds."""
        self._fetch, self._clock = fetch, clock
        self._built: dict[Key, Built | Exception] = {}
        self._asked_s: dict[Key, float] = {}
        self._coming: dict[Key, asyncio.Future[None]] = {}
        self._lock = threading.Lock()

    def ready(self, installed: Installed) -> bool:
        """Of a model the record says all. Who asks is about to want it: it isn't forgotten now."""
        if installed.what == "model":
            return True
        key = installed.what, installed.hash
        with self._lock:
            there = key in self._built
            if there:
                self._asked_s[key] = self._clock()
        return there

    async def bring(self, what: str, name: str) -> None:
        """Returns when it is ready: it may take as long as the content takes to come."""
        key = what, name
        while key not in self._built:
            coming = self._coming.get(key)
            if coming is None:
                coming = self._coming[key] = asyncio.ensure_future(self._build(key))
                coming.add_done_callback(lambda _: self._coming.pop(key, None))
            # Who gives up takes it from nobody else.
            await asyncio.shield(coming)

    async def _build(self, key: Key) -> None:
        content = await self._fetch(key[1])
        built = await asyncio.to_thread(_built, key[0], content)
        with self._lock:
            self._asked_s[key] = self._clock()
            self._built[key] = built

    def rules(self, content: str) -> RuleSet:
        return self._get("rules", content, RuleSet)

    def registry(self, content: str) -> Registry:
        return self._get("registry", content, Registry)

    def settings(self, content: str) -> AdmissionSettings:
        return self._get("settings", content, AdmissionSettings)

    def _get(self, what: str, name: str, kind: type[R]) -> R:
        """Raises what building it raised, and `ContentMissing` for what wasn't brought."""
        key = what, name
        with self._lock:
            found = self._built.get(key)
            self._asked_s[key] = self._clock()
        if isinstance(found, Exception):
            raise found
        if not isinstance(found, kind):
            raise ContentMissing(name, "memory")
        return found

    def keep(self, needed: Iterable[str]) -> int:
        """Forget what none of these hashes name and nobody has asked for in a while; gives how many
        that were."""
        named, now_s = set(needed), self._clock()
        with self._lock:
            gone = [
                key
                for key in self._built
                if key[1] not in named and now_s - self._asked_s.get(key, 0.0) > KEPT_S
            ]
            for key in gone:
                del self._built[key]
                self._asked_s.pop(key, None)
        return len(gone)

    def __len__(self) -> int:
        return len(self._built)


def _built(what: str, content: bytes) -> Built | Exception:
    build: dict[str, Callable[[bytes], Built]] = {
        "rules": unpack_rules, "registry": unpack_registry, "settings": unpack_settings,
    }  # fmt: skip
    try:
        return build[what](content)
    except (ContentError, RulesInvalid, RegistryError) as error:
        return error
