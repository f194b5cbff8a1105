"""One partition of Kafka's log and the engine on it: bundles in, what is to be sent out.

Nothing of Kafka is here. What comes out is a function of the partition's records: read again from
a snapshot, or by another worker, the same comes out again, with the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from app.changeover import RulesNews
from app.content import ContentError
from app.engine import Engine, SnapshotMismatch, Sources, Step, read_head
from app.stream.records import KEPT_BYTES, DeadLetter
from app.stream.signals import Ear, Heard, Signal
from contracts.alerts import AlertEvent
from contracts.batch import TaggedBatch
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed, Resend
from contracts.registry import Registry
from contracts.rejects import Reason, Refused
from ingest.admission import AdmissionSettings, RowReject
from ingest.partition import (
    Bundle,
    Letter,
    OffsetsMissing,
    PartitionLog,
    Place,
    Proof,
    Ready,
    Taken,
    always_ready,
)
from ingest.registry import RegistryError
from rules import RulesInvalid
from rules.ruleset import RuleSet

_installed_decoder = msgspec.json.Decoder(Installed)

JUDGED = "judge-"
"""A detector's state stands in a snapshot under this and its name."""
LOG_CHUNK, NEWS_CHUNK = "log", "news"
"""The names of our own chunks beside those of the engine."""
WHY_LENGTH = 300
_LEFT_OUT = (RecordKind.PACK, RecordKind.FOREIGN, RecordKind.STATUS)
"""What can go to the dead letters when nothing can be made of it: each stands for itself."""


class Contents(Protocol):
    """What stands behind the hash of an INSTALLED record: `app.contents.Contents`."""

    def rules(self, content: str) -> RuleSet: ...

    def registry(self, content: str) -> Registry: ...

    def settings(self, content: str) -> AdmissionSettings: ...


class ContentMissing(Exception):
    """A control record names a content that isn't there."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(
            f"the log names content {name[:16]}, which {where} doesn't have; "
            "publish the same rules or registry again (gridwarden publish)"
        )


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


class Undecidable(Exception):
    """The engine failed, and its state is worth nothing any more: take up an earlier one.

    place: the record it failed at, known when records were worked off one by one. separable:
    without this record the rest can go on. why: the same for the same records.
    """

    def __init__(self, error: Exception, place: Place | None, *, separable: bool) -> None:
        self.why = f"{type(error).__name__}: {error}"[:WHY_LENGTH]
        self.place, self.separable = place, separable
        super().__init__(self.why)


class RefusedRules(msgspec.Struct, frozen=True):
    """The rules that a partition refused last, and why; both empty = those named last are in
    force or about to be. hash: "" with a reason = of rules that don't compile."""

    hash: str = ""
    why: str = ""


_refused_decoder = msgspec.json.Decoder(RefusedRules)


NOTHING_REFUSED = RefusedRules()


@dataclass(slots=True)
class Outputs:
    """What some bundles came to. offset: of the last; heard_ms: the time of the last record.

    events: alert events in order. letters: for dead letters. batches: accepted rows, for the
    telemetry store. rows: how many went which way. records: how many of a kind came, and
    `duplicate` packs. news: what became of rule sets. named: hashes of contents that records
    named. waits_for: what must be at hand before the record behind `offset`. signals: for
    detectors.
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
    named: list[str] = field(default_factory=list)
    waits_for: Installed | None = None
    signals: list[Signal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    """All state after the record at `offset`. chunks: packs it, later and in any thread.

    needs: hashes of the contents without which it can't be taken up.
    """

    offset: int
    position: int
    chunks: Callable[[], dict[str, bytes]]
    needs: frozenset[str] = frozenset()


class Partition:
    """Everything that is known of one partition. One thread at a time."""

    def __init__(
        self,
        number: int,
        contents: Contents,
        *,
        ready: Ready = always_ready,
        first_offset: int = 0,
        detectors: Collection[str] = (),
    ) -> None:
        """detectors: names of those who get signals."""
        self.number = number
        self._contents = contents
        self._ears = [Ear(name) for name in detectors]
        self.judged: dict[str, bytes] = {}
        """States of detectors, as they stood in the snapshot that this was made of."""
        self.log = PartitionLog(prove=prover(contents), ready=ready, first_offset=first_offset)
        self.refused = NOTHING_REFUSED
        """Of the rules that were named last."""
        self.engine = Engine(Registry(), RuleSet.empty(), sources=self._sources())

    @property
    def offset(self) -> int:
        """Of the last record that was worked off, -1 = none."""
        return self.log.offset

    def _sources(self) -> Sources:
        contents = self._contents
        return Sources(rules=contents.rules, registry=contents.registry, settings=contents.settings)

    def work(self, bundles: Sequence[Bundle], *, careful: bool = False) -> Outputs:
        """Carry on with the next records of the partition; known ones are passed over.

        careful: record by record, which costs more and says at which one it failed.
        Raises `ingest.partition.OffsetsMissing`, `Undecidable`, `ContentMissing`, MemoryError.
        """
        whole = (bundles[0].offset, -1) if careful and len(bundles) == 1 else None
        try:
            taken = self.log.take(bundles)
        except (OffsetsMissing, ContentMissing, MemoryError):
            raise
        except Exception as error:
            raise Undecidable(error, whole, separable=True) from error
        outputs = Outputs(
            offset=self.log.offset,
            position=self.log.position,
            heard_ms=self.log.last_ms,
            letters=[self._refused(letter) for letter in taken.letters],
            records=taken.counts,
            named=_named(taken.records),
            waits_for=taken.waits_for,
        )
        heard: list[Heard] = []
        for records, step in self._steps(taken, careful=careful):
            outputs.events += step.events
            outputs.letters += [self._refused_row(reject, taken) for reject in step.rejects]
            outputs.batches += step.batches
            outputs.rows.update(step.counts)
            outputs.news += step.news
            if self._ears:
                registry = self.engine.content.get("registry", "")
                heard.append(Heard(registry, self.engine.directory, records, step.batches))
        found = (ear.signals(heard) for ear in self._ears)
        outputs.signals = [one for one in found if one is not None]
        self._note_refusals(taken, outputs)
        return outputs

    def _steps(self, taken: Taken, *, careful: bool) -> Iterator[tuple[Sequence[LogRecord], Step]]:
        """Cuts change nothing."""
        if careful:
            for record, offset, nth in zip(taken.records, taken.offsets, taken.nths, strict=True):
                yield [record], self._step([record], (offset, nth))
        else:
            for records in _under_one_registry(taken.records):
                yield records, self._step(records)

    def _step(self, records: Sequence[LogRecord], place: Place | None = None) -> Step:
        try:
            return self.engine.step(records)
        except (ContentMissing, MemoryError):
            raise
        except Exception as error:
            separable = bool(records) and records[0].kind in _LEFT_OUT
            raise Undecidable(error, place, separable=separable) from error

    def _note_refusals(self, taken: Taken, outputs: Outputs) -> None:
        for letter in taken.letters:
            if letter.reject.field == "rules":
                self.refused = RefusedRules(hash="", why=letter.reject.detail)
        for news in outputs.news:
            refused = RefusedRules(hash=news.content, why=news.why)
            self.refused = refused if news.state == "refused" else NOTHING_REFUSED

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
            nth=letter.nth,
            size=len(letter.payload),
            payload=letter.payload[:KEPT_BYTES],
        )

    def _refused_row(self, refused: RowReject, taken: Taken) -> DeadLetter:
        place = refused.position - taken.records[0].position
        letter = Letter(
            taken.offsets[place],
            taken.nths[place],
            taken.records[place].accepted_ms,
            refused.source,
            refused.reject,
            refused.content,
        )
        return self._refused(letter)

    def asks(self) -> list[tuple[str, Resend]]:
        """(gateway, what to ask it for); see `PartitionLog.asks`."""
        return self.log.asks()

    def needs(self) -> frozenset[str]:
        """Hashes of the contents in force or about to be."""
        coming = self.engine.coming
        named = {*self.engine.content.values(), coming.content if coming else ""}
        return frozenset(named - {""})

    def freeze(self) -> Frozen:
        log, engine = self.log.snapshot(), self.engine.freeze()
        own = {LOG_CHUNK: log, NEWS_CHUNK: msgspec.json.encode(self.refused)}
        return Frozen(self.log.offset, self.log.position, lambda: {**engine(), **own}, self.needs())

    @classmethod
    def restored(
        cls,
        number: int,
        contents: Contents,
        chunks: dict[str, bytes],
        *,
        ready: Ready = always_ready,
        detectors: Collection[str] = (),
    ) -> Partition:
        """As it was when `chunks` were made. Raises `SnapshotMismatch` and kin for another version,
        and what `contents` raise."""
        partition = cls(number, contents, ready=ready, detectors=detectors)
        partition.judged = {name: chunks[name] for name in chunks if name.startswith(JUDGED)}
        head = read_head(chunks)
        if NEWS_CHUNK in chunks:
            partition.refused = _refused_decoder.decode(chunks[NEWS_CHUNK])
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


def _named(records: list[LogRecord]) -> list[str]:
    """Hashes of the contents that records name."""
    told = [
        _installed_decoder.decode(record.payload)
        for record in records
        if record.kind is RecordKind.INSTALLED
    ]
    return [installed.hash for installed in told if installed.what != "model"]


def _under_one_registry(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    """Control records stand alone: rows are read by the directory that was in force for them."""
    first = 0
    for place, record in enumerate(records):
        if record.kind is RecordKind.INSTALLED:
            if first < place:
                yield records[first:place]
            yield records[place : place + 1]
            first = place + 1
    if first < len(records) or not records:
        yield records[first:]
