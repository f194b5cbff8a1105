"""Detectors beside deciding (ADR 0011): fed from the log, their scores appended to it as packs.

A thread of its own, so that a slow model holds up no fire alarm. Its state is saved with the
engine's, at the same position of the log: a token in its queue marks where, and the saving thread
waits for it. After a crash the records behind the snapshot are read again, the same packs with the
same sequences are made again, and the ledger drops those that the log has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from app.engine import Step
from contracts import pack, topics
from contracts.alert_data import ModelRef
from contracts.batch import ReadingBatch, TaggedBatch
from contracts.detector import Detector
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from ingest.message import Message
from ingest.storage import StoreError

STATE_VERSION = 1
BOOT = 1
"""Of states of before it was kept; a detector that begins with a log has it, too."""
CHUNK = "detector-"
"""A detector's state stands in a snapshot under this and its name."""
FULL_PAUSE_S = 0.5

Append = Callable[[list[Message]], None]
"""Puts packs into the log. Raises `StoreError` when it can't be written now."""


class _Kept(msgspec.Struct, frozen=True):
    """What is saved of a detector. seq: of its next pack, in `boot`."""

    version: int
    seq: int
    state: bytes
    boot: int = BOOT


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


@dataclass(slots=True)
class _Token:
    """Asks for the state as it is when everything before has been worked off."""

    ready: threading.Event = field(default_factory=threading.Event)
    chunks: dict[str, bytes] = field(default_factory=dict)


class Speaker:
    """One detector and its sequence of packs. Used by whoever feeds it, one thread at a time.

    Its boot is the position of the first record that it was fed: where it has to begin anew later,
    without what it knew, its packs aren't taken for those of before.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._seq, self._boot = 1, 0
        self._directory: DeviceDirectory | None = None
        self._kept: bytes | None = None

    def work(self, fed: Fed) -> list[Message]:
        """The packs that a step leads to."""
        if fed.directory is not self._directory:
            self._settle(fed.directory)
        if not self._boot:
            self._boot = fed.first_position
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
            self.detector.restore(self._kept)
            self._kept = None

    def _pack(self, scores: ReadingBatch, at_ms: int) -> Message:
        gateway = self.detector.gateway
        header = PackHeader(gateway, self._boot, self._seq, at_ms, at_ms)
        self._seq += 1
        return Message(topics.pack(gateway), pack.encode(Pack(header, scores)))

    def snapshot(self) -> bytes:
        state = self.detector.snapshot() if self._kept is None else self._kept
        return msgspec.msgpack.encode(_Kept(STATE_VERSION, self._seq, state, self._boot))

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError`; the detector's own state is taken up once its registry is known."""
        kept = msgspec.msgpack.decode(blob, type=_Kept)
        if kept.version != STATE_VERSION:
            raise ValueError(f"version {kept.version}, this is {STATE_VERSION}")
        self._seq, self._boot, self._kept = kept.seq, kept.boot, kept.state


class Detection:
    """All detectors of a server. `feed` and `freeze` belong to the deciding thread."""

    def __init__(self, detectors: Sequence[Detector], logger: structlog.stdlib.BoundLogger) -> None:
        self._speakers = [Speaker(one) for one in detectors]
        self._logger = logger
        # Unbounded: where it held up deciding, and deciding is what takes in the packs that are
        # made here, each would wait for the other.
        self._queue: queue.Queue[Fed | _Token] = queue.Queue()
        self._running = False
        self.packs = 0

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """What judges, to be named in the log before the first score."""
        return tuple(speaker.detector.model for speaker in self._speakers)

    def restore(self, chunks: dict[str, bytes]) -> None:
        """Take up the states of a snapshot. One that can't be read is told of and begun anew."""
        for speaker in self._speakers:
            blob = chunks.get(CHUNK + speaker.detector.name)
            if blob is None:
                continue
            try:
                speaker.restore(blob)
            except (ValueError, msgspec.DecodeError) as error:
                name = speaker.detector.name
                self._logger.error("detector begins anew", detector=name, error=str(error))

    def feed(self, records: Sequence[LogRecord], step: Step, directory: DeviceDirectory) -> None:
        if self._speakers:
            self._queue.put(Fed(records, list(step.batches), directory))

    def freeze(self) -> Callable[[], dict[str, bytes]]:
        """The states of this moment; called later, it waits until the detectors have got here."""
        if not self._speakers:
            return dict
        token = _Token()
        if not self._running:
            self._answer(token)
            return lambda: token.chunks
        self._queue.put(token)

        def chunks() -> dict[str, bytes]:
            token.ready.wait()
            return token.chunks

        return chunks

    def catch_up(self, append: Append) -> None:
        """Work off what waits, before there is a thread for it; `append` may feed more."""
        while not self._queue.empty():
            fed = self._queue.get()
            if isinstance(fed, Fed):
                for speaker in self._speakers:
                    packs = speaker.work(fed)
                    if packs:
                        append(packs)

    def begin(self) -> None:
        """From now on `run` answers: to be called before the thread is started."""
        self._running = True

    def run(self, append: Append, stopping: Callable[[], bool]) -> None:
        """Until told to stop and nothing waits."""
        while True:
            try:
                fed = self._queue.get(timeout=0.2)
            except queue.Empty:
                if stopping():
                    return
                continue
            if isinstance(fed, _Token):
                self._answer(fed)
                continue
            for speaker in self._speakers:
                packs = speaker.work(fed)
                if packs:
                    self._append(packs, append, stopping)

    def _answer(self, token: _Token) -> None:
        token.chunks = {CHUNK + one.detector.name: one.snapshot() for one in self._speakers}
        token.ready.set()

    def _append(self, packs: list[Message], append: Append, stopping: Callable[[], bool]) -> None:
        """Wait for a log that can be written. At the end, what found no room is made again: the
        last snapshot is older."""
        pause = threading.Event()
        while True:
            try:
                append(packs)
            except StoreError as error:
                self._logger.error("scores can't be logged", error=str(error))
                if stopping():
                    return
                pause.wait(FULL_PAUSE_S)
            else:
                self.packs += len(packs)
                return
