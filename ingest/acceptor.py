"""Acceptance: messages become records of the log, in one commit, and only then are answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from contracts import pack, topics
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed, OperatorCommand
from contracts.rejects import Refused, Reject
from ingest.ledger import Ledger
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.message import Message
from ingest.quarantine import Letter, Quarantine
from ingest.sorting import is_repeated, note, with_room
from ingest.storage import StoreError
from ingest.triage import Triaged, triage

CHECKPOINT_MS = 10_000
"""How often the ledger is copied to disk (proposal): the rest is read from the log at a start."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Accepted:
    """What came of a group. records: as they stand in the log, with positions.

    answers: (topic, payload) of the Confirms to publish, now that the log has the packs. All
    messages of the group may be acknowledged to the broker, the refused ones too: those are kept
    as dead letters. refused: how many of those. reasons: of their refusals.
    turned_back: packs that were left with their gateways because the disk is full.
    """

    records: list[LogRecord] = field(default_factory=list)
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    duplicates: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    turned_back: int = 0


@dataclass(slots=True)
class AcceptCounts:
    """Totals since the start. records: by kind. bytes: of their payloads.

    unclaimed: packs that were logged for their safety signals only, under another gateway's
    name. turned_back: packs left with their gateways because the disk is full.
    """

    records: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unclaimed: int = 0
    turned_back: int = 0
    failed_checkpoints: int = 0


@dataclass(slots=True)
class _Group:
    """A group on its way to the log."""

    records: list[LogRecord] = field(default_factory=list)
    triaged: list[Triaged] = field(default_factory=list)
    letters: list[tuple[str, bytes, Reject]] = field(default_factory=list)
    fresh: set[tuple[str, int, int]] = field(default_factory=set)
    boots: dict[str, set[int]] = field(default_factory=dict)
    came: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    duplicates: int = 0
    turned_back: int = 0


class Acceptor:
    """The only writer of the log. Any thread may call; records keep the order of the calls."""

    def __init__(
        self,
        log: SqliteLog,
        ledger: Ledger,
        quarantine: Quarantine,
        *,
        clock: Callable[[], int],
        ledger_store: LedgerStore | None = None,
    ) -> None:
        """clock: unix ms. ledger: at the end of the log, as `LedgerStore.load` gives it."""
        self._log = log
        self.ledger = ledger
        self._quarantine = quarantine
        self._clock = clock
        self._ledger_store = ledger_store
        self._checkpoint_ms = clock()
        self._lock = threading.RLock()
        self.counts = AcceptCounts()
        self._unmarked: list[Letter] = []
        self.sparing = False
        """With a full disk: of the packs only those with alarms are taken, see `Retention`."""

    def accept(
        self, messages: Sequence[Message], *, mark: bool = False, inner: bool = False
    ) -> Accepted:
        """Write what is new of a group in one commit; with `mark`, a time mark behind it.

        inner: the messages are of a detector of this server.
        Raises `StoreFull` or `StoreFailed`: then nothing was accepted and nothing may be
        acknowledged; the same group may be offered again.
        """
        with self._lock:
            now_ms = self._clock()
            group = _Group()
            for message in messages:
                self._sort(message, now_ms, group, inner=inner)
            if mark:
                group.records.append(LogRecord(RecordKind.MARK, now_ms, "", b""))
            return self._settle(group, now_ms)

    def _sort(self, message: Message, now_ms: int, group: _Group, *, inner: bool = False) -> None:
        topic, payload = message.topic, message.payload
        try:
            found = triage(topic, payload, inner=inner)
            if found.kind is RecordKind.FOREIGN:
                group.records.append(LogRecord(found.kind, now_ms, topic, payload))
                group.triaged.append(found)
                return
            found = with_room(self.ledger, found, payload)
        except Refused as refused:
            group.letters.append((topic, payload, refused.reject))
            return
        header = found.header
        if header is not None:
            if self.sparing and not inner and not header.alarm and not header.tombstone:
                # Not confirmed, so the agent keeps it and sends it again.
                group.turned_back += 1
                return
            group.boots.setdefault(header.gateway, set()).add(header.boot)
            group.came.setdefault(header.gateway, []).append((header.boot, header.seq))
            key = header.gateway, header.boot, header.seq
            if key in group.fresh or is_repeated(self.ledger, found):
                group.duplicates += 1
                return
            group.fresh.add(key)
        elif found.status is not None and found.status.type != "offline":
            boots = group.boots.setdefault(found.status.gateway, set())
            boots.update(int(held.boot, 16) for held in found.status.boots)
        group.records.append(LogRecord(found.kind, now_ms, found.source, payload))
        group.triaged.append(found)

    def _settle(self, group: _Group, now_ms: int) -> Accepted:
        """Commit, then note, keep and answer."""
        records = self._log.commit(group.records)
        for record, found in zip(records, group.triaged, strict=False):
            self._note(record, found)
        self._quarantine.put(group.letters, now_ms)
        self._count(records, group)
        self._checkpoint(now_ms)
        return Accepted(
            records,
            self._answers(group),
            duplicates=group.duplicates,
            refused=len(group.letters),
            reasons=Counter(reject.reason.value for _, _, reject in group.letters),
            turned_back=group.turned_back,
        )

    def _note(self, record: LogRecord, found: Triaged) -> None:
        note(self.ledger, found, record.accepted_ms)
        if found.kind is RecordKind.PACK and found.header is None:
            self.counts.unclaimed += 1

    def _answers(self, group: _Group) -> list[tuple[str, bytes]]:
        answers = []
        for gateway, boots in group.boots.items():
            confirm = self.ledger.confirm(gateway, boots, group.came.get(gateway, ()))
            if confirm is not None:
                answers.append((topics.ack(gateway), _encode(confirm)))
        return answers

    def _count(self, records: Sequence[LogRecord], group: _Group) -> None:
        counts = self.counts
        counts.duplicates += group.duplicates
        counts.turned_back += group.turned_back
        for kind, number in Counter([record.kind for record in records]).items():
            counts.records[kind.name.lower()] += number
        counts.bytes += sum([len(record.payload) for record in records])
        for _, _, reject in group.letters:
            counts.refused[reject.reason.value] += 1

    def append_command(self, command: OperatorCommand) -> LogRecord:
        payload = _encode(command)
        return self._append(LogRecord(RecordKind.COMMAND, self._clock(), "", payload))

    def append_installed(self, installed: Installed, content: bytes) -> LogRecord:
        """Rules or a registry that are in force from this record on; the content goes first."""
        self._log.put_content(installed.hash, content)
        payload = _encode(installed)
        return self._append(LogRecord(RecordKind.INSTALLED, self._clock(), "", payload))

    def append_model(self, installed: Installed) -> LogRecord:
        """What judges for a detector from this record on: there is no content to it."""
        payload = _encode(installed)
        return self._append(LogRecord(RecordKind.INSTALLED, self._clock(), "", payload))

    def append_rules(self, name: str, content: bytes, after_ms: int) -> LogRecord:
        """Rules that come into force `after_ms` after this moment, in event time.

        That is ahead of every watermark: those stay behind the time of acceptance.
        """
        with self._lock:
            now_ms = max(self._clock(), self._log.last_accepted_ms)
            installed = Installed(
                what="rules", hash=name, active_ms=now_ms, activate_ms=now_ms + after_ms
            )
            return self.append_installed(installed, content)

    def _append(self, record: LogRecord) -> LogRecord:
        with self._lock:
            group = _Group(records=[record])
            return self._settle(group, record.accepted_ms).records[0]

    def accept_replays(self, limit: int = 500) -> Accepted:
        """Take dead letters again that somebody asked for; see `Quarantine.want_replay`.

        What never entered the log goes the normal way. What admission refused of a record is
        appended as a record of its own: rows that were taken before are found to be equal.
        """
        with self._lock:
            self._mark_replayed()
            letters = self._quarantine.wanted(limit)
            if not letters:
                return Accepted()
            now_ms = self._clock()
            group = _Group()
            for letter in letters:
                if letter.position == 0:
                    self._sort(Message(letter.source, letter.payload), now_ms, group)
                else:
                    record = _again(letter, now_ms)
                    group.records.append(record)
                    group.triaged.append(Triaged(record.kind, record.source))
            accepted = self._settle(group, now_ms)
            self._unmarked = letters
            # The records are in the log and must be handed on, whatever becomes of the marks.
            with suppress(StoreError):
                self._mark_replayed()
            return accepted

    def _mark_replayed(self) -> None:
        """Until this is done no other letters are taken. Raises `StoreError`."""
        if self._unmarked:
            self._quarantine.mark_replayed(self._unmarked)
            self._unmarked = []

    def resends(self, now_ms: int) -> list[tuple[str, bytes]]:
        """(topic, payload) of the commands that ask gateways for what is missing."""
        with self._lock:
            wanted = self.ledger.missing(now_ms)
        return [(topics.cmd(gateway), _encode(resend)) for gateway, resend in wanted]

    def _checkpoint(self, now_ms: int) -> None:
        if now_ms - self._checkpoint_ms >= CHECKPOINT_MS:
            self.checkpoint(now_ms)

    def checkpoint(self, now_ms: int) -> bool:
        """Copy the ledger to disk; a failure costs only time at the next start, and is counted."""
        with self._lock:
            self._checkpoint_ms = now_ms
            if self._ledger_store is None:
                return True
            try:
                self._ledger_store.save(self.ledger, self._log.last_position, now_ms)
            except StoreError:
                self.counts.failed_checkpoints += 1
                return False
            return True

    @property
    def needed_from(self) -> int:
        """The first position that the ledger on disk would need at a start."""
        return 1 if self._ledger_store is None else self._ledger_store.position + 1


def _again(letter: Letter, now_ms: int) -> LogRecord:
    if letter.payload[:4] == pack.MAGIC:
        return LogRecord(RecordKind.PACK, now_ms, letter.source, letter.payload)
    # A row of a pack is native JSON of its own, and names the gateway, which isn't a topic.
    source = letter.source if "/" in letter.source else ""
    return LogRecord(RecordKind.FOREIGN, now_ms, source, letter.payload)
