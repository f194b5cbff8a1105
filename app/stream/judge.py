"""One detector at one partition: signals in, records for the log out. No Kafka, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from app.speaker import Speaker
from app.stream.partition import Contents
from app.stream.signals import BadSignals, Signals, fed_of
from contracts.alert_data import ModelRef
from contracts.detector import Detector
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed
from contracts.registry import Registry

STATE_VERSION = 1
PAUSES_S = (0.0, 5.0, 30.0, 120.0)
"""After each failure at one record, before it is tried again; then it is left out (proposal): what
fell meanwhile still rings, and a model that is broken for an hour costs a few records."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is saved. offset: of the next record to read. upto: the position in the log up to which
    all signals are known. told: the model that the log was told of."""

    version: int
    offset: int
    upto: int
    told: ModelRef | None
    speaker: bytes


_kept_decoder = msgspec.msgpack.Decoder(_Kept)


@dataclass(slots=True)
class Trials:
    """What to do about records that a detector fails on: again from an earlier state, ever later,
    and in the end without the record. Who takes the partition over finds the same.

    left_out: their offsets, with the reason.
    """

    left_out: dict[int, str] = field(default_factory=dict)
    _at: int = -1
    _times: int = 0

    def failed(self, offset: int, why: str) -> float:
        """Seconds to wait before the next try."""
        if offset != self._at:
            self._at, self._times = offset, 0
        if self._times == len(PAUSES_S):
            self.left_out[offset] = why
            return 0.0
        pause_s = PAUSES_S[self._times]
        self._times += 1
        return pause_s


class Judge:
    """`take`, `snapshot` and `restore` belong to the judging thread.

    offset: of the next record to read, -1 = the first that is there. upto: position in the log up
    to which it knows everything. packs: how many it has made.
    """

    def __init__(self, make: Callable[[], Detector], contents: Contents) -> None:
        self._make, self._contents = make, contents
        self.packs = 0
        self.trials = Trials()
        self._saved: bytes | None = None
        self._begin()

    def _begin(self) -> None:
        self._detector = self._make()
        self._speaker = Speaker(self._detector)
        self._registry: str | None = None
        self._directory = DeviceDirectory(Registry())
        self._told: ModelRef | None = None
        self.offset, self.upto = -1, 0

    def take(self, signals: Signals) -> tuple[list[LogRecord], list[str]]:
        """(records for the log that come of it, why parts were passed over that can't be read).
        Raises whatever the detector raises: then it has to `begin_again`."""
        found: list[LogRecord] = []
        refused: list[str] = []
        for part in signals.parts:
            self._under(part.registry)
            try:
                fed = fed_of(part, self.upto, self._directory)
            except BadSignals as error:
                refused.append(str(error))
                continue
            if not fed.records and not fed.batches:
                continue
            messages = self._speaker.work(fed)
            marks = [one.accepted_ms for one in fed.records if one.kind is RecordKind.MARK]
            found += [
                LogRecord(RecordKind.PACK, marks[-1], self._detector.gateway, message.payload)
                for message in messages
            ]
        self.upto = max(self.upto, signals.upto)
        if found and self._told != self._detector.model:
            found.insert(0, self._telling(found[0].accepted_ms))
            self._told = self._detector.model
        return found, refused

    def _under(self, registry: str) -> None:
        if registry != self._registry:
            known = self._contents.registry(registry) if registry else Registry()
            self._registry, self._directory = registry, DeviceDirectory(known)

    def _telling(self, at_ms: int) -> LogRecord:
        """What judges from here on."""
        model = self._detector.model
        installed = Installed(
            what="model",
            hash=model.hash,
            active_ms=at_ms,
            name=model.detector,
            threshold=model.threshold,
        )
        return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(installed))

    def begin_again(self) -> None:
        """From the state that was saved last: of this one nobody knows what it is worth."""
        self._begin()
        if self._saved is not None:
            self.restore(self._saved)

    def begin_anew(self) -> None:
        """Without what was saved: that can't be taken up."""
        self._saved = None
        self._begin()

    def snapshot(self) -> bytes | None:
        """None = it has nothing to keep yet."""
        if self.offset >= 0:
            self._saved = msgspec.msgpack.encode(
                _Kept(
                    version=STATE_VERSION,
                    offset=self.offset,
                    upto=self.upto,
                    told=self._told,
                    speaker=self._speaker.snapshot(),
                )
            )
        return self._saved

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError`."""
        try:
            kept = _kept_decoder.decode(blob)
            if kept.version != STATE_VERSION:
                raise ValueError(f"version {kept.version}, this is {STATE_VERSION}")
            self._speaker.restore(kept.speaker)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None
        self.offset, self.upto, self._told = kept.offset, kept.upto, kept.told
        self._saved = blob
