"""A Kafka partition as a log: bundles in, the records of an embedded log out. Pure.

What comes out is a function of the partition's records alone, however they are cut into calls and
however often the state was saved and restored:

* `accepted_ms` of a record is max(the one before, min(its bridge's stamp, Kafka's append time)).
* A MARK record only tells the time; it doesn't come out itself. Instead a mark comes out for each
  whole second that was passed: behind all records accepted up to it, before those accepted later.
  So everybody who reads the same times gets the same marks, whoever wrote MARK records, and when.
* Of a silence of more than three seconds only those three get their marks, and its last second.
  Workers tell the time each second, so there is none unless nobody worked on the partition; and a
  clock that was years behind must not make millions.
* A pack that the ledger has doesn't come out again. What can't be read becomes a letter.
* A bundle with a control record whose content isn't at hand yet ends a call; it comes first in the
  next one, so that only the time of the answer depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec

from contracts.log import LogRecord, RecordKind, UnknownRecord, decode_known
from contracts.messages import Installed, OperatorCommand, Resend
from contracts.rejects import Reason, Refused, Reject
from ingest.completeness import HOUR_MS, Hour, judge, summed
from ingest.ledger import Found, Ledger, Loss
from ingest.recent_hours import SHOWN_HOURS, RecentHours
from ingest.sorting import is_repeated, note, sort_record

Control = TypeVar("Control", OperatorCommand, Installed)

SNAPSHOT_VERSION = 1
SECOND_MS = 1_000
MARKED_SECONDS = 3
"""Bound on the marks of one silence (proposal)."""
KEPT_LOSSES = 10_000
"""Losses that are kept to be shown, the newest (proposal); all are counted."""
MAX_GATEWAYS = 400_000
"""Bound on the gateways of a partition (proposal): their packs were confirmed before anybody here
has seen them, so that it must never be reached by those that exist."""
ANSWERS_MS = 15 * 60_000
"""Who hasn't been heard here for so long isn't asked for packs (proposal): he may be assigned to
another partition, where the answer would go."""
MAX_STAMP_MS = 253_402_300_799_000
"""The end of the year 9999: a stamp beyond it is nonsense whatever Kafka's clock says."""


class Bundle(NamedTuple):
    """One record of Kafka. append_ms: the broker's own time. value: None = it has none."""

    offset: int
    append_ms: int
    value: bytes | None


class Letter(NamedTuple):
    """What was refused. nth: which record of the bundle, -1 = the whole bundle."""

    offset: int
    nth: int
    at_ms: int
    source: str
    reject: Reject
    payload: bytes


@dataclass(slots=True)
class Taken:
    """What bundles came to. records: with positions. offsets: of each record's bundle.

    nths: of each record its place in the bundle, -1 for marks. counts: `duplicate` packs, and
    records by kind in small letters; marks are those that came out. waits_for: what must be at hand
    before the next bundle can be taken.
    """

    records: list[LogRecord] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    nths: list[int] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    waits_for: Installed | None = None


class OffsetsMissing(Exception):
    """Records of the partition are gone that nobody has worked off."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"offset {expected} should follow, but {found} came")
        self.expected, self.found = expected, found


class SnapshotRefused(Exception):
    """A snapshot of another version."""


class _State(msgspec.Struct, array_like=True):
    version: int
    offset: int
    position: int
    last_ms: int
    next_mark_ms: int
    gateways: dict[str, bytes]
    losses: list[Loss]
    lost: int
    hours: dict[str, bytes] = {}


_state_decoder = msgspec.msgpack.Decoder(_State)


Proof = Callable[[Installed], None]
"""Raises `Refused` when what a control record names can't be put in force."""


Ready = Callable[[Installed], bool]
"""Whether what a control record names is at hand, be it good or bad."""
Place = tuple[int, int]
"""(offset, nth) of a record; nth -1 is the whole bundle."""


def _anything(_: Installed) -> None:
    return


def always_ready(_: Installed) -> bool:
    return True


class PartitionLog:
    """The log of one partition, from its first record on. Not safe for several threads.

    offset: of the last record taken, -1 = none. position: of the last record given. last_ms: its
    time, or that of a MARK since. undecidable: records that nothing can be made of, with the
    reason: they become letters. Who knows them tells it before they come; they are no state.
    """

    def __init__(
        self, *, prove: Proof = _anything, ready: Ready = always_ready, first_offset: int = 0
    ) -> None:
        """prove: its answer must depend on the content behind the hash only.

        first_offset: where the partition begins, when what was before is knowingly left out.
        """
        self._prove, self._ready = prove, ready
        self.undecidable: dict[Place, str] = {}
        self.offset = first_offset - 1
        self.position = 0
        self.last_ms = 0
        self._next_mark_ms = 0
        self.ledger = Ledger(max_gateways=MAX_GATEWAYS, answers_within_ms=ANSWERS_MS)
        self.losses: list[Loss] = []
        self.lost_losses = 0
        self.hours = RecentHours()

    def take(self, bundles: Sequence[Bundle]) -> Taken:
        """The next records of the partition. One that was taken before is passed over.

        Ends early where a bundle `waits_for` something; nothing of that one was taken.
        Raises `OffsetsMissing`: then nothing of the later ones was taken.
        """
        taken = Taken()
        for bundle in bundles:
            if bundle.offset <= self.offset:
                continue
            if bundle.offset != self.offset + 1:
                raise OffsetsMissing(self.offset + 1, bundle.offset)
            records, unknown = self._decoded(bundle, taken)
            taken.waits_for = self._not_ready(records)
            if taken.waits_for is not None:
                break
            for stranger in unknown:
                self._refuse_unknown(bundle, stranger, taken)
            for record in records:
                self._pass(bundle, record, taken)
            self.offset = bundle.offset
            self._keep_losses()
        return taken

    def skip_to(self, offset: int) -> None:
        """Go on at `offset`, when what was before is gone and that is known; it may be an earlier
        one, of a log that was made anew."""
        self.offset = offset - 1

    def _decoded(self, bundle: Bundle, taken: Taken) -> tuple[list[LogRecord], list[UnknownRecord]]:
        """Without positions yet: instead each has its place in the bundle."""
        why = self.undecidable.get((bundle.offset, -1))
        if bundle.value is None or why is not None:
            reason = Reason.BAD_STRUCTURE if why is None else Reason.UNDECIDABLE
            reject = Reject(reason=reason, field="bundle", detail=why or "no value")
            self._refuse(bundle, -1, "", reject, bundle.value or b"", taken)
            return [], []
        try:
            return decode_known(bundle.value, 0)
        except Refused as refused:
            self._refuse(bundle, -1, "", refused.reject, bundle.value, taken)
            return [], []

    def _refuse_unknown(self, bundle: Bundle, record: UnknownRecord, taken: Taken) -> None:
        """A newer version has written it: the rest of its bundle goes on."""
        detail = f"records of kind {record.kind} are of a newer version"
        reject = Reject(reason=Reason.BAD_VERSION, field="kind", detail=detail)
        source = record.source.decode(errors="replace")
        self._refuse(bundle, record.nth, source, reject, record.payload, taken)

    def _not_ready(self, records: list[LogRecord]) -> Installed | None:
        for record in records:
            if record.kind is RecordKind.INSTALLED:
                try:
                    installed = _decoded(_installed, record)
                except Refused:
                    continue  # It becomes a letter in its turn.
                if not self._ready(installed):
                    return installed
        return None

    def _pass(self, bundle: Bundle, record: LogRecord, taken: Taken) -> None:
        """position of `record`: its place in the bundle."""
        at_ms = max(self.last_ms, min(record.accepted_ms, bundle.append_ms, MAX_STAMP_MS))
        if record.kind is RecordKind.MARK:
            self._pass_time(bundle, at_ms, taken)
            return
        try:
            found = sort_record(self.ledger, record)
            self._check_control(record)
        except Refused as refused:
            nth, source = record.position, record.source
            self._refuse(bundle, nth, source, refused.reject, record.payload, taken)
            return
        if is_repeated(self.ledger, found):
            taken.counts["duplicate"] += 1
            return
        self._pass_time(bundle, at_ms, taken)
        why = self.undecidable.get((bundle.offset, record.position))
        if why is None:
            self._give(bundle, record, at_ms, taken)
        else:
            reject = Reject(reason=Reason.UNDECIDABLE, detail=why)
            self._refuse(bundle, record.position, record.source, reject, record.payload, taken)
        # An undecidable one too: it has come, and its gateway must not be asked for it.
        note(self.ledger, found, at_ms)

    def _check_control(self, record: LogRecord) -> None:
        """Raises `Refused`. A command or change that nobody can read must not stop the rest."""
        if record.kind is RecordKind.COMMAND:
            _decoded(_command, record)
        elif record.kind is RecordKind.INSTALLED:
            self._prove(_decoded(_installed, record))

    def _pass_time(self, bundle: Bundle, at_ms: int, taken: Taken) -> None:
        """Marks for what is passed when it is `at_ms`."""
        if self.last_ms == 0:
            self._next_mark_ms = -(-at_ms // SECOND_MS) * SECOND_MS
        self.last_ms = at_ms
        if at_ms <= self._next_mark_ms:
            return
        for mark_ms in marks_of(self._next_mark_ms, at_ms):
            mark = LogRecord(RecordKind.MARK, mark_ms, "", b"", -1)
            self._give(bundle, mark, mark_ms, taken)
        self._next_mark_ms = _second_before(at_ms) + SECOND_MS

    def _give(self, bundle: Bundle, record: LogRecord, at_ms: int, taken: Taken) -> None:
        """position of `record`: its place in the bundle."""
        self.position += 1
        taken.records.append(
            LogRecord(record.kind, at_ms, record.source, record.payload, self.position)
        )
        taken.offsets.append(bundle.offset)
        taken.nths.append(record.position)
        taken.counts[record.kind.name.lower()] += 1

    def _refuse(
        self,
        bundle: Bundle,
        nth: int,
        source: str,
        reject: Reject,
        payload: bytes,
        taken: Taken,
    ) -> None:
        letter = Letter(bundle.offset, nth, bundle.append_ms, source, reject, payload)
        taken.letters.append(letter)

    def _keep_losses(self) -> None:
        """After each bundle, so that it's the same for every reader."""
        self.hours.add(self.ledger.hours.rows())
        losses, found = self.ledger.drain()
        for one in found:
            self.losses = [part for loss in self.losses for part in _without(loss, one)]
        self.losses += losses
        over = max(0, len(self.losses) - KEPT_LOSSES)
        del self.losses[:over]
        self.lost_losses += over

    def asks(self) -> list[tuple[str, Resend]]:
        """(gateway, what to ask it for), by the time of the last record; see `Ledger.missing`.

        Not part of the state: to be called by who is not far behind, or gaps are asked for that
        the records to come have filled.
        """
        return self.ledger.missing(self.last_ms)

    def judged_hours(self, gateway: str) -> list[Hour]:
        """The last hours of a known gateway, as far as they are kept, by the partition's time."""
        first_ms, last_ms = self.ledger.life(gateway)
        missing = [(one.from_ms, one.to_ms) for one in self.losses_of(gateway)]
        missing += [(gap.from_ms, gap.to_ms) for _, gap in self.ledger.gaps(gateway)]
        since_ms = (self.last_ms // HOUR_MS - SHOWN_HOURS + 1) * HOUR_MS
        found = judge(
            summed(self.hours.of(gateway)),
            missing,
            first_ms=max(first_ms, since_ms),
            last_ms=last_ms,
            now_ms=self.last_ms,
        )
        return list(found)

    def losses_of(self, gateway: str) -> list[Loss]:
        return [loss for loss in self.losses if loss.gateway == gateway]

    def snapshot(self) -> bytes:
        """All state, as MessagePack."""
        state = _State(
            SNAPSHOT_VERSION,
            self.offset,
            self.position,
            self.last_ms,
            self._next_mark_ms,
            self.ledger.states(),
            self.losses,
            self.lost_losses,
            self.hours.state(),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, blob: bytes) -> None:
        """Carry on from a snapshot; this log is newly built. Raises `SnapshotRefused`."""
        version, *_ = msgspec.msgpack.decode(blob)
        if version != SNAPSHOT_VERSION:
            raise SnapshotRefused(f"partition snapshot version {version}, not {SNAPSHOT_VERSION}")
        state = _state_decoder.decode(blob)
        self.offset, self.position = state.offset, state.position
        self.last_ms, self._next_mark_ms = state.last_ms, state.next_mark_ms
        for gateway, known in state.gateways.items():
            self.ledger.restore(gateway, known, self.last_ms)
        self.losses, self.lost_losses = state.losses, state.lost
        self.hours.load(state.hours)


_command = msgspec.json.Decoder(OperatorCommand)
_installed = msgspec.json.Decoder(Installed)


def _decoded(decoder: msgspec.json.Decoder[Control], record: LogRecord) -> Control:
    try:
        return decoder.decode(record.payload)
    except msgspec.ValidationError as error:
        name = record.kind.name.lower()
        raise Refused(Reason.BAD_FIELD, field=name, detail=str(error)[:200]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        name = record.kind.name.lower()
        raise Refused(Reason.BAD_JSON, field=name, detail=str(error)[:200]) from None


def _without(loss: Loss, found: Found) -> Iterator[Loss]:
    """What of a loss is left now that one of its packs has come."""
    same = (loss.gateway, loss.boot) == (found.gateway, found.boot)
    if not same or not loss.first <= found.seq <= loss.last:
        yield loss
        return
    if loss.first < found.seq:
        yield loss._replace(last=found.seq - 1)
    if found.seq < loss.last:
        yield loss._replace(first=found.seq + 1)


def _second_before(at_ms: int) -> int:
    """The last whole second before `at_ms`."""
    return (at_ms - 1) // SECOND_MS * SECOND_MS


def marks_of(first_ms: int, at_ms: int) -> Iterator[int]:
    """Times of the marks from the whole second `first_ms` on, all before `at_ms`.

    Ends with the last whole second before `at_ms`.
    """
    last_ms = _second_before(at_ms)
    near_ms = first_ms + (MARKED_SECONDS - 1) * SECOND_MS
    yield from range(first_ms, min(near_ms, last_ms) + 1, SECOND_MS)
    if last_ms > near_ms:
        yield last_ms
