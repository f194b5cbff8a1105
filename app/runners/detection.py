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
from app.speaker import Fed, Speaker, StateRefused
from contracts.alert_data import ModelRef
from contracts.detector import Detector
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord
from ingest.message import Message
from ingest.storage import StoreError

CHUNK = "detector-"
"""A detector's state stands in a snapshot under this and its name."""
FULL_PAUSE_S = 0.5

Append = Callable[[list[Message]], None]
"""Puts packs into the log. Raises `StoreError` when it can't be written now."""


@dataclass(slots=True)
class _Token:
    """Asks for the state as it is when everything before has been worked off."""

    ready: threading.Event = field(default_factory=threading.Event)
    chunks: dict[str, bytes] = field(default_factory=dict)


class Detection:
    """All detectors of a server. `feed` and `freeze` belong to the deciding thread."""

    def __init__(self, detectors: Sequence[Detector], logger: structlog.stdlib.BoundLogger) -> None:
        self._speakers = [Speaker(one) for one in detectors]
        self._logger = logger
        # Unbounded: where it held up deciding, and deciding is what takes in the packs that are
        # made here, each would wait for the other.
        self._queue: queue.Queue[Fed | _Token] = queue.Queue()
        self._running = False
        self._good: dict[str, bytes] = {}
        self.packs = 0
        self.failed: dict[str, str] = {}
        """By detector why it failed on the last records."""

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
                self._good[speaker.detector.name] = blob
            except (ValueError, msgspec.DecodeError) as error:
                name = speaker.detector.name
                self._logger.error("detector begins anew", detector=name, error=str(error))

    def feed(self, records: Sequence[LogRecord], step: Step, directory: DeviceDirectory) -> None:
        if self._speakers:
            self._queue.put(Fed(records, list(step.batches), directory))

    @property
    def is_idle(self) -> bool:
        """Whether all that was fed is worked off, its scores in the log included."""
        return self._queue.unfinished_tasks == 0

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
                    packs = self._work(speaker, fed)
                    if packs:
                        append(packs)
            self._queue.task_done()

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
            else:
                for speaker in self._speakers:
                    packs = self._work(speaker, fed)
                    if packs:
                        self._append(packs, append, stopping)
            self._queue.task_done()

    def _work(self, speaker: Speaker, fed: Fed) -> list[Message]:
        """One that fails goes on behind these records with the state that was saved last: fire
        alarms must not end with it, nor may it fail on them again at each start."""
        name = speaker.detector.name
        try:
            packs = speaker.work(fed)
        except Exception as error:
            self._logger.exception("a detector failed", detector=name)
            self.failed[name] = f"{type(error).__name__}: {error}"[:300]
            if isinstance(error, StateRefused):
                self._good.pop(name, None)
            speaker.fall_back(self._good.get(name))
            return []
        self.failed.pop(name, None)
        return packs

    def _answer(self, token: _Token) -> None:
        self._good = {one.detector.name: one.snapshot() for one in self._speakers}
        token.chunks = {CHUNK + name: blob for name, blob in self._good.items()}
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
