"""The topic `content`, followed: what stands behind the hashes that control records name."""

from __future__ import annotations

import threading

from aiokafka import ConsumerRecord

from app.content import content_hash
from app.stream.records import Assembler, BadRecord

PATIENCE_S = 60.0
"""Who publishes writes the content first, so that a record that names it can't be far ahead."""


class ContentMissing(Exception):
    """A control record names a content that isn't in the topic."""

    def __init__(self, name: str, topic: str) -> None:
        super().__init__(
            f"the log names content {name[:16]}, which {topic} doesn't have; "
            "publish the same rules or registry again (gridwarden publish)"
        )


class ContentTopic:
    """Filled by one thread (`take`), asked by another (`get_content`, which may wait)."""

    def __init__(self, topic: str, *, patience_s: float = PATIENCE_S) -> None:
        self._topic, self._patience_s = topic, patience_s
        self._assembler = Assembler()
        self._found: dict[str, bytes] = {}
        self._came = threading.Condition()
        self.refused = 0
        """Records that are no pieces, and contents that aren't what their hash says."""

    def take(self, record: ConsumerRecord) -> None:
        """One record of the topic; one that is bad is counted and left out."""
        if record.key is None or record.value is None:
            return
        try:
            whole = self._assembler.add(record.key, record.value)
        except BadRecord:
            self.refused += 1
            return
        if whole is None:
            return
        name, content = whole
        if content_hash(content) != name:
            self.refused += 1
            return
        with self._came:
            self._found[name] = content
            self._came.notify_all()

    def get_content(self, content: str) -> bytes:
        """Raises `ContentMissing` when it doesn't come."""
        with self._came:
            self._came.wait_for(lambda: content in self._found, self._patience_s)
            if content not in self._found:
                raise ContentMissing(content, self._topic)
            return self._found[content]

    def hashes(self) -> list[str]:
        with self._came:
            return sorted(self._found)
