"""One detector and what it says: packs of an inner gateway, in a sequence (ADR 0011)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from contracts import pack, topics
from contracts.batch import ReadingBatch, TaggedBatch
from contracts.detector import Detector
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from ingest.message import Message

STATE_VERSION = 1
BOOT = 1
"""Of states of before it was kept; a detector that begins with a log has it, too."""


class StateRefused(ValueError):
    """A detector can't take up what was saved of it."""


class _Kept(msgspec.Struct, frozen=True):
    """What is saved of a detector. seq: of its next pack, in `boot`. model: hash of the one that
    judged, "" = of before it was kept."""

    version: int
    seq: int
    state: bytes
    boot: int = BOOT
    model: str = ""


_kept_decoder = msgspec.msgpack.Decoder(_Kept)


@dataclass(slots=True)
class Fed:
    """One step: its records, what it accepted, and the directory that its rows refer to."""

    records: Sequence[LogRecord]
    batches: Sequence[TaggedBatch]
    directory: DeviceDirectory

    @property
    def first_position(self) -> int:
        """Of records and rows, the least."""
        firsts = [one.position for one in self.records[:1]]
        firsts += [int(batch.position[0]) for batch in self.batches[:1]]
        return min(firsts, default=0)


class Speaker:
    """One detector and its sequence of packs. Used by whoever feeds it, one thread at a time.

    Its boot is the position of the first record that it was fed: where it has to begin anew later,
    without what it knew, its packs aren't taken for those of before. A new model has a new boot: of
    the records behind a snapshot it makes other packs, and none of them may count as known.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._seq, self._boot = 1, 0
        self._directory: DeviceDirectory | None = None
        self._kept: bytes | None = None
        self._began = self._seq

    def work(self, fed: Fed) -> list[Message]:
        """The packs that a step leads to. Raises `StateRefused`, and whatever the detector
        raises."""
        if fed.directory is not self._directory:
            self._settle(fed.directory)
        if not self._boot:
            self._boot = fed.first_position
        self._began = self._seq
        detector = self.detector
        found: list[Message] = []
        rows = iter(fed.batches)
        batch = next(rows, None)
        for record in fed.records:
            # A step's rows come cut at its marks, and say which record they are of.
            if record.kind is not RecordKind.MARK:
                detector.on_record(record)
                continue
            while batch is not None and int(batch.position[0]) < record.position:
                detector.on_rows(batch)
                batch = next(rows, None)
            at_ms = record.accepted_ms
            found.extend(self._pack(scores, at_ms) for scores in detector.on_mark(at_ms))
        while batch is not None:
            detector.on_rows(batch)
            batch = next(rows, None)
        return found

    def _settle(self, directory: DeviceDirectory) -> None:
        self._directory = directory
        self.detector.settle(directory)
        if self._kept is not None:
            try:
                self.detector.restore(self._kept)
            except (ValueError, msgspec.DecodeError) as error:
                raise StateRefused(str(error)) from error
            self._kept = None

    def _pack(self, scores: ReadingBatch, at_ms: int) -> Message:
        gateway = self.detector.gateway
        header = PackHeader(gateway, self._boot, self._seq, at_ms, at_ms)
        self._seq += 1
        return Message(topics.pack(gateway), pack.encode(Pack(header, scores)))

    def fall_back(self, blob: bytes | None) -> None:
        """After a `work` that failed: an earlier state of the detector, if there is one. The
        sequence goes on where it was."""
        self._seq, self._directory = self._began, None
        self._kept = None if blob is None else _kept_decoder.decode(blob).state

    def snapshot(self) -> bytes:
        state = self.detector.snapshot() if self._kept is None else self._kept
        model = self.detector.model.hash
        return msgspec.msgpack.encode(_Kept(STATE_VERSION, self._seq, state, self._boot, model))

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError`; the detector's own state is taken up once its registry is known."""
        kept = _kept_decoder.decode(blob)
        if kept.version != STATE_VERSION:
            raise ValueError(f"version {kept.version}, this is {STATE_VERSION}")
        self._seq, self._boot, self._kept = kept.seq, kept.boot, kept.state
        if kept.model and kept.model != self.detector.model.hash:
            self._seq, self._boot = 1, 0
