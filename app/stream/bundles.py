"""Messages into bundles: one Kafka record holds whole packs of one partition. Pure.

A bundle is closed by its size, its age, or a message that can't wait; time is an argument. What
it holds stays in the order in which it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from contracts import topics
from contracts.log import LogRecord, encode_bundle
from contracts.messages import BootConfirm, Confirm
from contracts.pack import boot_text
from ingest.message import Message
from ingest.triage import Triaged

RECORD_BYTES = 16
"""Of a record's head, beside its source and payload."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Bundle:
    """Records of one partition on their way to Kafka.

    opened_ms: of the caller's own clock. messages: what they came in, to be acknowledged with
    them. packs: (gateway, boot) -> sequences of the packs that speak for their gateway.
    senders: gateways, and "" for a foreign device.
    """

    partition: int
    opened_ms: float
    records: list[LogRecord] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    packs: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    senders: set[str] = field(default_factory=set)
    size: int = 0

    def key(self) -> bytes:
        """The gateway when the bundle is of one, else empty."""
        return next(iter(self.senders)).encode() if len(self.senders) == 1 else b""

    def value(self) -> bytes:
        return encode_bundle(self.records)

    def confirms(self) -> list[tuple[str, bytes]]:
        """(topic, payload) of what gateways may be told once Kafka has the bundle.

        Ranges only: what else a gateway sent may have gone through another bridge, and be lost.
        """
        told: dict[str, list[BootConfirm]] = {}
        for (gateway, boot), sequences in self.packs.items():
            confirm = BootConfirm(boot=boot_text(boot), upto=0, ranges=ranges(sequences))
            told.setdefault(gateway, []).append(confirm)
        return [
            (topics.ack(gateway), _encode(Confirm(confirms=tuple(confirms))))
            for gateway, confirms in told.items()
        ]


def ranges(sequences: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Closed ranges, ascending and apart.

    >>> ranges([3, 1, 2, 7, 2])
    ((1, 3), (7, 7))
    """
    found: list[tuple[int, int]] = []
    for sequence in sorted(set(sequences)):
        if found and found[-1][1] == sequence - 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return tuple(found)


class Bundler:
    """One open bundle a partition. max_bytes: a single larger record makes a bundle alone."""

    def __init__(self, *, max_bytes: int, max_age_ms: float) -> None:
        self._max_bytes, self._max_age_ms = max_bytes, max_age_ms
        self._open: dict[int, Bundle] = {}
        self._closed: list[Bundle] = []

    def add(self, partition: int, message: Message, found: Triaged, stamps: Stamps) -> None:
        """A message that belongs into the log."""
        record = LogRecord(found.kind, stamps.wall_ms, found.source, message.payload)
        size = RECORD_BYTES + len(record.source.encode()) + len(record.payload)
        bundle = self._open.get(partition)
        if bundle is not None and bundle.size + size > self._max_bytes:
            self._close(partition)
            bundle = None
        if bundle is None:
            bundle = self._open[partition] = Bundle(partition, stamps.now_ms)
        bundle.records.append(record)
        bundle.messages.append(message)
        bundle.size += size
        bundle.senders.add("" if "/" in found.source else found.source)
        header = found.header
        if header is not None:
            bundle.packs.setdefault((header.gateway, header.boot), []).append(header.seq)
        if bundle.size >= self._max_bytes or is_urgent(message, found):
            self._close(partition)

    def due(self, now_ms: float) -> list[Bundle]:
        """The bundles that are to be sent now, in the order in which they were closed."""
        for partition, bundle in list(self._open.items()):
            if now_ms - bundle.opened_ms >= self._max_age_ms:
                self._close(partition)
        closed, self._closed = self._closed, []
        return closed

    def rest(self) -> list[Bundle]:
        """All of them, at the end."""
        for partition in list(self._open):
            self._close(partition)
        closed, self._closed = self._closed, []
        return closed

    def wait_ms(self, now_ms: float) -> float | None:
        """How long until the next is due; None while nothing waits."""
        if self._closed:
            return 0.0
        opened = [bundle.opened_ms for bundle in self._open.values()]
        return max(0.0, min(opened) + self._max_age_ms - now_ms) if opened else None

    def _close(self, partition: int) -> None:
        self._closed.append(self._open.pop(partition))


@dataclass(frozen=True, slots=True)
class Stamps:
    """When a message was taken. wall_ms: unix ms, for the log. now_ms: a clock that never jumps."""

    wall_ms: int
    now_ms: float


def is_urgent(message: Message, found: Triaged) -> bool:
    """Whether it can't wait for others: an alarm pack, one that can't be read without looking
    closer (it is taken for its safety signals), or a foreign device's event."""
    if found.header is not None:
        return found.header.alarm
    return found.status is None and not message.topic.endswith("/tele")
