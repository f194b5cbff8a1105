"""One partition of Kafka's log and the engine on it: bundles in, what is to be sent out.

Nothing of Kafka is here. What comes out is a function of the partition's records: read again from
a snapshot, or by another worker, the same comes out again, with the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.changeover import RulesNews
from app.content import ContentError
from app.engine import Engine, SnapshotMismatch, Sources, read_head
from app.stream.records import KEPT_BYTES, DeadLetter
from contracts.alerts import AlertEvent
from contracts.batch import TaggedBatch
from contracts.messages import Installed, Resend
from contracts.registry import Registry
from contracts.rejects import Reason, Refused
from ingest.admission import AdmissionSettings, RowReject
from ingest.partition import Bundle, Letter, PartitionLog, Proof, Taken
from ingest.registry import RegistryError
from rules import RulesInvalid
from rules.ruleset import RuleSet

LOG_CHUNK = "log"
"""The name of our own chunk beside those of the engine."""


class Contents(Protocol):
    """What stands behind the hash of an INSTALLED record: `app.contents.Contents`."""

    def rules(self, content: str) -> RuleSet: ...

    def registry(self, content: str) -> Registry: ...

    def settings(self, content: str) -> AdmissionSettings: ...


def prover(contents: Contents) -> Proof:
    """Refuses what can't be put in force; the same content always fails alike.

    What isn't there at all is another matter: that is for the caller, as an error.
    """

    def prove(installed: Installed) -> None:
        if installed.what == "model":
            return  # The record says all of it.
        try:
            build: Callable[[str], object] = getattr(contents, installed.what)
            build(installed.hash)
        except (ContentError, RulesInvalid, RegistryError) as error:
            detail = f"{installed.hash[:16]}: {error}"[:300]
            raise Refused(Reason.BAD_STRUCTURE, field=installed.what, detail=detail) from None

    return prove


@dataclass(slots=True)
class Outputs:
    """What some bundles came to. offset: of the last; heard_ms: the time of the last record.

    events: alert events in order. letters: for dead letters. batches: accepted rows, for the
    telemetry store. rows: how many went which way. records: how many of a kind came, and
    `duplicate` packs. news: what became of rule sets.
    """

    offset: int
    position: int
    heard_ms: int
    events: list[AlertEvent] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    batches: list[TaggedBatch] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    news: list[RulesNews] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    """All state after the record at `offset`. chunks: packs it, later and in any thread."""

    offset: int
    position: int
    chunks: Callable[[], dict[str, bytes]]


class Partition:
    """Everything that is known of one partition. One thread at a time."""

    def __init__(self, number: int, contents: Contents, *, first_offset: int = 0) -> None:
        self.number = number
        self._contents = contents
        self.log = PartitionLog(prove=prover(contents), first_offset=first_offset)
        self.engine = Engine(Registry(), RuleSet.empty(), sources=self._sources())

    @property
    def offset(self) -> int:
        """Of the last record that was worked off, -1 = none."""
        return self.log.offset

    def _sources(self) -> Sources:
        contents = self._contents
        return Sources(rules=contents.rules, registry=contents.registry, settings=contents.settings)

    def work(self, bundles: Sequence[Bundle]) -> Outputs:
        """Carry on with the next records of the partition; known ones are passed over.

        Raises `ingest.partition.OffsetsMissing`.
        """
        taken = self.log.take(bundles)
        step = self.engine.step(taken.records)
        return Outputs(
            offset=self.log.offset,
            position=self.log.position,
            heard_ms=self.log.last_ms,
            events=step.events,
            letters=[self._refused(letter) for letter in taken.letters]
            + [self._refused_row(reject, taken) for reject in step.rejects],
            batches=step.batches,
            rows=step.counts,
            records=taken.counts,
            news=step.news,
        )

    def _refused(self, letter: Letter) -> DeadLetter:
        reject = letter.reject
        return DeadLetter(
            by="worker",
            at_ms=letter.at_ms,
            source=letter.source,
            reason=reject.reason.value,
            field=reject.field,
            detail=reject.detail,
            row=reject.row,
            partition=self.number,
            offset=letter.offset,
            size=len(letter.payload),
            payload=letter.payload[:KEPT_BYTES],
        )

    def _refused_row(self, refused: RowReject, taken: Taken) -> DeadLetter:
        place = refused.position - taken.records[0].position
        letter = Letter(
            taken.offsets[place],
            -1,
            taken.records[place].accepted_ms,
            refused.source,
            refused.reject,
            refused.content,
        )
        return self._refused(letter)

    def asks(self) -> list[tuple[str, Resend]]:
        """(gateway, what to ask it for); see `PartitionLog.asks`."""
        return self.log.asks()

    def freeze(self) -> Frozen:
        log, engine = self.log.snapshot(), self.engine.freeze()
        return Frozen(self.log.offset, self.log.position, lambda: {**engine(), LOG_CHUNK: log})

    @classmethod
    def restored(cls, number: int, contents: Contents, chunks: dict[str, bytes]) -> Partition:
        """As it was when `chunks` were made. Raises `SnapshotMismatch` and kin for another version,
        and what `contents` raise."""
        partition = cls(number, contents)
        head = read_head(chunks)
        partition.log.restore(chunks[LOG_CHUNK])
        if partition.log.position != head.position:
            raise SnapshotMismatch(
                f"the log's state is at {partition.log.position}, the engine's at {head.position}"
            )
        partition.engine = Engine(
            contents.registry(head.registry) if head.registry else Registry(),
            contents.rules(head.rules) if head.rules else RuleSet.empty(),
            sources=partition._sources(),
            settings=contents.settings(head.settings) if head.settings else None,
        )
        partition.engine.restore(chunks)
        return partition
