"""Evidence: the seconds around a fall, kept as a clip at the gateway.

The packets of the last seconds are held as they came, so that waiting for a fall costs no more
than their memory. When something fell that a person may want to look at, the packets around it are
decoded again in a thread of its own, all but the facade is made black, the track is drawn in, and
what comes of it is written. Nothing outside the facade is ever stored, and without a camera file,
or when the camera was turned away, nothing is. What is written stays here until it is asked for
(`edge.clip_desk`).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.tracklets import TrackletBatch, Trait
from edge.camera.clip_writer import Cut, Track, Writer
from edge.camera.frontend import FrontEnd
from edge.camera.health import LOOK_US, MOVED_US
from edge.camera.scale import View
from edge.camera.video import Frame

BEFORE_US, AFTER_US, MOST_US = 3_000_000, 3_000_000, 20_000_000
"""Kept before and after a fall, and of one clip at the most (proposals)."""
RING_US, RING_BYTES = 30_000_000, 24 << 20
"""Of packets held, of one camera; about 30 s at 6 Mbit/s."""
SETTLED_US = MOVED_US + LOOK_US
"""A clip is made so long after its end: by then it is known whether the camera was turned."""
LEAST_STOREYS, LEAST_SPEED, LEAST_GAIN = 0.8, 1.5, 1.15
"""What fell less far, was slower at its end (storeys a second), or grew no faster than by this, is
no reason for a clip: leaves, rain, lifts, most birds (proposals; the detector judges better, but
it isn't here and may be out of reach)."""
EACH_HOUR = 30
"""Clips of one camera (a proposal): a flood mustn't drive out what was kept before."""

log = logging.getLogger("gridwarden.edge.camera")


@dataclass(slots=True)
class _Wish:
    """A clip to be made. begin_us, end_us: of what is shown."""

    begin_us: int
    end_us: int
    tracks: list[Track] = field(default_factory=list)


class Ring:
    """Packets from a key frame on, bounded in time and bytes; whole groups go at once."""

    def __init__(self, most_us: int = RING_US, most_bytes: int = RING_BYTES) -> None:
        self._most_us, self._most_bytes = most_us, most_bytes
        self._groups: deque[list[tuple[int, Any]]] = deque()
        self._bytes: deque[int] = deque()
        self.too_long = 0

    def push(self, at_us: int, packet: Any) -> None:
        """at_us: time of the newest picture when it came."""
        if packet.size == 0:
            return
        if packet.is_keyframe:
            self._groups.append([])
            self._bytes.append(0)
        if not self._groups:
            return
        self._groups[-1].append((at_us, packet))
        self._bytes[-1] += packet.size
        while len(self._groups) > 1 and (
            sum(self._bytes) > self._most_bytes or at_us - self._groups[1][0][0] > self._most_us
        ):
            self._drop()
        if sum(self._bytes) > self._most_bytes:
            # One group larger than all there is room for: nothing of it can be shown.
            self._drop()
            self.too_long += 1

    def _drop(self) -> None:
        self._groups.popleft()
        self._bytes.popleft()

    def cut(self, begin_us: int, end_us: int) -> list[Any]:
        """From the last key frame before `begin_us` (or the first that is held) to `end_us`."""
        groups = list(self._groups)
        first = 0
        for number, group in enumerate(groups):
            if group[0][0] <= begin_us:
                first = number
        return [packet for group in groups[first:] for at_us, packet in group if at_us <= end_us]


class Evidence:
    """Of one camera and connection. `packet` before it is decoded, `frame` after, then `fell`."""

    def __init__(self, front: FrontEnd, stream: Any, writer: Writer) -> None:
        self._front = front
        self._view: View = front.view
        self._stream = stream
        self._writer = writer
        self._ring = Ring()
        self._times: dict[int, int] = {}
        self._now_us = 0
        self._turned_us: int | None = None
        self._wishes: list[_Wish] = []
        self._made: deque[int] = deque()
        self.counts: Counter[str] = Counter()

    def packet(self, packet: Any) -> None:
        self._ring.push(self._now_us, packet)

    def frame(self, frame: Frame) -> None:
        """After the front end has seen it: make what is due."""
        self._now_us = frame.at_us
        pts = getattr(frame.hold, "pts", None)
        if pts is not None:
            self._times[pts] = frame.at_us
            if len(self._times) > 10_000:
                oldest = self._now_us - RING_US - MOST_US
                self._times = {p: at for p, at in self._times.items() if at >= oldest}
        if self._front.state.moved:
            self._turned_us = self._now_us
        if self._wishes and self._wishes[0].end_us + SETTLED_US <= self._now_us:
            self._make(self._wishes.pop(0))

    def fell(self, batch: TrackletBatch) -> None:
        """Tracklets that the front end hands on."""
        for row in worth_a_clip(batch).tolist():
            points = slice(int(batch.first[row]), int(batch.first[row] + batch.count[row]))
            begin = (int(batch.start_ms[row]) - self._front.start_ms) * 1000
            at_us = begin + batch.dt_us[points]
            track = Track(at_us, batch.x[points].copy(), batch.y[points].copy())
            self._wish(int(at_us[0]) - BEFORE_US, int(at_us[-1]) + AFTER_US, track)

    def _wish(self, begin_us: int, end_us: int, track: Track) -> None:
        last = self._wishes[-1] if self._wishes else None
        if last is not None and begin_us <= last.end_us and end_us - last.begin_us <= MOST_US:
            last.begin_us = min(last.begin_us, begin_us)
            last.end_us = max(last.end_us, end_us)
            last.tracks.append(track)
            return
        while self._made and self._made[0] < self._now_us - 3_600_000_000:
            self._made.popleft()
        if len(self._made) >= EACH_HOUR:
            self._miss("too_many")
            return
        self._made.append(self._now_us)
        self._wishes.append(_Wish(begin_us, end_us, [track]))

    def finish(self) -> None:
        """The stream has ended: make what there is of what was wished."""
        for wish in self._wishes:
            self._make(wish)
        self._wishes.clear()

    def _make(self, wish: _Wish) -> None:
        mask = self._view.mask
        turned = self._turned_us is not None and self._turned_us >= wish.begin_us
        if mask is None or turned:
            self._miss("mask_not_trusted")
            return
        packets = self._ring.cut(wish.begin_us, wish.end_us)
        if not packets or not self._times:
            self._miss("not_held")
            return
        cut = Cut(
            self._front.camera, self._stream, packets, dict(self._times), mask, wish.begin_us,
            wish.end_us, tuple(wish.tracks), self._front.start_ms,
        )  # fmt: skip
        if not self._writer.offer(cut):
            self._miss("writer_busy")

    def _miss(self, why: str) -> None:
        self.counts[why] += 1
        log.warning("no clip camera=%s why=%s count=%d", self._front.camera, why, self.counts[why])


def worth_a_clip(batch: TrackletBatch) -> NDArray[np.int64]:
    """int64[k]: rows of what fell far and ever faster before a facade that a mask shows."""
    found = []
    for row in range(len(batch)):
        points = slice(int(batch.first[row]), int(batch.first[row] + batch.count[row]))
        storey, seconds = batch.storey[points], batch.dt_us[points] / 1e6
        if not batch.traits[row] & Trait.MASKED or len(storey) < 4:
            continue
        top = int(np.argmax(storey))
        storey, seconds = storey[top:], seconds[top:]
        if len(storey) < 4 or storey[0] - storey[-1] < LEAST_STOREYS:
            continue
        half = len(storey) // 2
        first = _speed(storey[: half + 1], seconds[: half + 1])
        last = _speed(storey[half:], seconds[half:])
        if last >= LEAST_SPEED and last >= LEAST_GAIN * first:
            found.append(row)
    return np.array(found, np.int64)


def _speed(storey: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    """Storeys a second, downward."""
    return float((storey[0] - storey[-1]) / max(float(seconds[-1] - seconds[0]), 1e-3))
