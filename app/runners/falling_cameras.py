"""The detector of falling objects on the log: tracklets out of packs, its scores as readings.

Tracklets ride in a pack with a reading of their camera. They are judged when admission has
accepted that reading: then the gateway may speak for the camera, the pack came for the first
time, and by how much its clock was repaired is known; the scores are moved by as much.

Only falls are told, so a while after each the camera is said to be calm, with zeros: without them
nothing would end, and a second throw would be no new onset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from contracts import pack, tracklets
from contracts.alert_data import ModelRef
from contracts.batch import Flag, ReadingBatch, TaggedBatch
from contracts.detector import INNER_PREFIX
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.rejects import Refused
from contracts.tracklets import TrackletBatch
from detectors.falling.operator import Event, FallingObjects, Infer, readings, zeros

VERSION = 1
CALM_MS = (5_000, 60_000, 600_000, 3_600_000)
"""So long after the last word of a fall the camera is said to be calm (proposal): more than once,
for what is judged late after an outage ends nothing."""
KEPT_MS = 60_000
"""Tracklets whose reading wasn't accepted within so many ms of marks are given up."""


class _Waiting(msgspec.Struct, frozen=True, array_like=True):
    """Tracklets of one record. sent_ms: time stamps of the readings beside them, by camera."""

    position: int
    accepted_ms: int
    sent_ms: dict[str, int]
    tracks: bytes


class _State(msgspec.Struct, frozen=True, array_like=True):
    version: int
    operator: bytes
    waiting: list[_Waiting]
    accepted: list[tuple[int, str, int]]
    told_ms: dict[str, tuple[int, int]] = {}


_state_decoder = msgspec.msgpack.Decoder(_State)


class FallingCameras:
    """A `contracts.detector.Detector`. counts: tracklets judged, and refused by reason."""

    name = "falling"
    gateway = INNER_PREFIX + name

    def __init__(self, infer: Infer, threshold: float, model: ModelRef) -> None:
        self._operator = FallingObjects(infer, threshold)
        self.model = model
        self.counts: Counter[str] = Counter()
        self._directory: DeviceDirectory | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._accepted: dict[tuple[int, str], int] = {}
        self._told_ms: dict[str, tuple[int, int]] = {}
        """By camera the time of the mark of its last fall, and how often it was calm since."""

    def settle(self, directory: DeviceDirectory) -> None:
        self._directory = directory

    def on_record(self, record: LogRecord) -> None:
        """A pack with tracklets waits for its rows."""
        if record.kind is not RecordKind.PACK or len(record.payload) < pack.HEADER.size:
            return
        if not pack.holds_tracks(record.payload):
            return
        try:
            whole = pack.decode(record.payload)
            tracklets.decode(whole.tracks)
        except Refused as refused:
            self.counts[refused.reject.reason.value] += 1
            return
        batch = whole.batch
        online = [(batch.devices[d], t) for d, t in zip(batch.device, batch.ts_ms, strict=True)]
        sent = {device: int(at) for device, at in online}
        self._waiting[record.position] = _Waiting(
            record.position, record.accepted_ms, sent, whole.tracks
        )

    def on_rows(self, batch: TaggedBatch) -> None:
        """Readings beside tracklets say whether those count, and of what time they are."""
        if not self._waiting or self._directory is None:
            return
        known = np.array(list(self._waiting), np.int64)
        rows = np.flatnonzero(np.isin(batch.position, known))
        for row in rows.tolist():
            position, device = int(batch.position[row]), self._directory.ids[batch.device[row]]
            if batch.flags[row] & Flag.UNVERIFIED:
                self.counts["unverified_source"] += 1
                continue
            sent = self._waiting[position].sent_ms.get(device)
            if sent is not None:
                self._accepted[(position, device)] = int(batch.ts_ms[row]) - sent

    def on_mark(self, heard_ms: int) -> Sequence[ReadingBatch]:
        """Judge what was accepted, in the order of the log."""
        events: list[Event] = []
        if self._waiting:
            for position in sorted({position for position, _ in self._accepted}):
                events += self._judged(self._waiting[position])
            self._give_up(heard_ms)
        self._told_ms |= {event.camera: (heard_ms, 0) for event in events}
        told = [readings(events)] if events else []
        calm = self._calm(heard_ms)
        return [*told, zeros(calm, heard_ms)] if calm else told

    def _calm(self, heard_ms: int) -> list[str]:
        """Cameras of which that is due now."""
        found = []
        for camera, (told_ms, times) in sorted(self._told_ms.items()):
            passed = sum(heard_ms - told_ms >= after_ms for after_ms in CALM_MS)
            if passed == len(CALM_MS):
                del self._told_ms[camera]
            elif passed > times:
                self._told_ms[camera] = told_ms, passed
            if passed > times:
                found.append(camera)
        return found

    def _judged(self, waiting: _Waiting) -> list[Event]:
        batch = tracklets.decode(waiting.tracks)
        shifts = [self._accepted.get((waiting.position, name)) for name in batch.cameras]
        del self._waiting[waiting.position]
        for name in waiting.sent_ms:
            self._accepted.pop((waiting.position, name), None)
        counts = np.array([shift is not None for shift in shifts])
        rows = np.flatnonzero(counts[batch.camera])
        self.counts["not_admitted"] += len(batch) - len(rows)
        self.counts["judged"] += len(rows)
        moved = _moved(batch, np.array([shift or 0 for shift in shifts], np.int64))
        before = self._operator.beside
        events = self._operator.on_tracklets(moved.take(rows), self._buildings(batch.cameras))
        self.counts["told_by_another_camera"] += self._operator.beside - before
        return events

    def _buildings(self, cameras: Sequence[str]) -> dict[str, int]:
        """The building of each camera, and of those that it shares it with."""
        directory = self._directory
        if directory is None:
            return {}
        group = directory.groups.of("building")
        rows = [directory.subject_row(name) for name in cameras]
        wanted = {int(group[row]) for row in rows if row is not None} - {-1}
        if not wanted:
            return {}
        return {
            directory.ids[row]: int(group[row])
            for row in np.flatnonzero(np.isin(group, list(wanted))).tolist()
        }

    def _give_up(self, heard_ms: int) -> None:
        old = [p for p, one in self._waiting.items() if heard_ms - one.accepted_ms > KEPT_MS]
        for position in old:
            del self._waiting[position]
            self.counts["not_admitted"] += 1

    def snapshot(self) -> bytes:
        accepted = [(position, device, by) for (position, device), by in self._accepted.items()]
        return msgspec.msgpack.encode(
            _State(
                VERSION,
                self._operator.snapshot(),
                list(self._waiting.values()),
                accepted,
                self._told_ms,
            )
        )

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError` for another version."""
        state = _state_decoder.decode(blob)
        if state.version != VERSION:
            raise ValueError(f"version {state.version}, this is {VERSION}")
        self._operator.restore(state.operator)
        self._waiting = {one.position: one for one in state.waiting}
        self._accepted = {(position, device): by for position, device, by in state.accepted}
        self._told_ms = state.told_ms


def _moved(
    batch: TrackletBatch, by_ms: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> TrackletBatch:
    """With each camera's times moved."""
    columns = {name: getattr(batch, name) for name in TrackletBatch.__slots__}
    columns["start_ms"] = batch.start_ms + by_ms[batch.camera]
    return TrackletBatch(**columns)
