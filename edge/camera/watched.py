"""One camera of the agent, in a thread of its own: pictures in, tracklets and states out.

A stream that dies is a state of the camera (`online` 0) and is opened again; nothing that a
camera does ends the others or the agent. What it saw between a power cut and the outbox's commit
is lost: a live picture can't be drawn again.
"""

from __future__ import annotations

import logging
import queue
from pathlib import Path
from typing import Any

from contracts.batch import ReadingBatch
from contracts.tracklets import encode
from edge.camera import CameraError
from edge.camera.clip_writer import Writer
from edge.camera.evidence import Evidence
from edge.camera.frontend import FrontEnd
from edge.camera.health import Health, State
from edge.camera.pace import Pace
from edge.camera.scale import CameraFile, View, default_view, make_view
from edge.camera.video import Clip, Frame, Timeouts, Video, is_stream, open_video, redacted
from edge.clock import Clock
from edge.sources import Drawn

STATE_US = 60_000_000
"""A camera says this often that it lives; the rule for silence waits half an hour."""
AGAIN_MS, AGAIN_MOST_MS = 1_000, 30_000
HELD_US = 30_000_000
"""A connection that gave pictures for so long was a good one: the next wait is short again."""
FROZEN, BEHIND = 1.0, 2.0
"""What `fault` says: no pixel changes, or the gateway can't keep up."""
MENDED_MS = 1_000
"""Smaller changes of what time the pictures are of aren't told."""
EARLY = 100
"""Packets that are held until the first picture is there."""

log = logging.getLogger("gridwarden.edge.camera")


class Watched:
    """One camera's thread. `out` takes what it has to say; None at its end."""

    def __init__(
        self,
        device: str,
        url: str,
        camera: tuple[CameraFile, Path] | None,
        clock: Clock,
        out: queue.Queue[Drawn | None],
        *,
        pace: float,
        timeouts: Timeouts,
        writer: Writer | None = None,
    ) -> None:
        """camera: its camera file, and where that lies. pace: of a clip, 0 = as it decodes."""
        self._writer = writer
        self._evidence: Evidence | None = None
        self._early: list[Any] = []
        self._is_early = True
        self.device = device
        self.url = url
        self._file = camera
        self._clock = clock
        self._out = out
        self._speed = pace
        self._pace: Pace | None = None
        self._timeouts = timeouts
        self._health: Health | None = None
        self._said: dict[str, float] = {}
        self._say_again_us = 0
        self._held = False
        self.connections = 0

    def run(self) -> None:
        """Until the agent stops, or until a clip is over."""
        wait_ms = AGAIN_MS
        while self._clock.wait(0):
            self._held = False
            try:
                if self._watch():
                    break
            except CameraError as error:
                self._lost(str(error))
            except Exception as error:
                # A fault of ours, or of a library, with this picture: the other cameras go on.
                log.exception("camera failed device=%s", self.device)
                self._lost(repr(error))
            if not is_stream(self.url):
                break
            wait_ms = AGAIN_MS if self._held else wait_ms
            if not self._clock.wait(wait_ms):
                break
            wait_ms = min(wait_ms * 2, AGAIN_MOST_MS)
        self._put(None)

    def _lost(self, why: str) -> None:
        log.warning("camera lost device=%s why=%r", self.device, why)
        self._say(self._clock.wall_ms(), {"online": 0.0})

    def _watch(self) -> bool:
        """One connection. Whether this was a clip, and it is over. Raises `CameraError`."""
        video = open_video(self.url, self._timeouts)
        self._early.clear()
        self._is_early = True
        try:
            if not self._look(video):
                return True
        finally:
            if self._evidence is not None:
                self._evidence.finish()
                self._evidence = None
            video.close()
        if is_stream(self.url):
            raise CameraError(f"{redacted(self.url)}: the stream has ended")
        return True

    def _look(self, video: Clip) -> bool:
        """Every picture. False when the agent stops. Raises `CameraError`."""
        front: FrontEnd | None = None
        try:
            for frame in video.frames(self._packet):
                if front is None:
                    front = self._begun(video)
                if not self._keep_pace(front, video, frame):
                    return False
                front.push(frame)
                self._held = frame.at_us >= HELD_US
                self._tell(front, video, frame)
        finally:
            # Also when the stream breaks off: what was falling then is told as far as it was seen.
            if front is not None:
                front.finish()
                self._tell(front, video, None)
        return True

    def _begun(self, video: Clip) -> FrontEnd:
        self.connections += 1
        log.info(
            "camera watched device=%s url=%s size=%dx%d fps=%.1f",
            self.device, redacted(self.url), video.width, video.height, video.fps,
        )  # fmt: skip
        view: View = default_view(video.width, video.height)
        if self._file is not None:
            view = make_view(self._file[0], video.width, video.height, self._file[1])
        self._said.clear()
        self._say_again_us = 0
        wall_ms = self._clock.wall_ms()
        self._pace = Pace(wall_ms, self._clock.mono_ms()) if is_stream(self.url) else None
        front = FrontEnd(self.device, view, video.fps, start_ms=wall_ms, health=self._health)
        self._health = front.health
        if self._writer is not None and view.mask is not None and isinstance(video, Video):
            self._evidence = Evidence(front, video.stream, self._writer)
            for packet in self._early:
                self._evidence.packet(packet)
        self._early.clear()
        self._is_early = False
        return front

    def _packet(self, packet: Any) -> None:
        """The first ones come before there is a picture, and hold its key frame."""
        if self._evidence is not None:
            self._evidence.packet(packet)
        elif self._writer is not None and self._is_early and len(self._early) < EARLY:
            self._early.append(packet)

    def _keep_pace(self, front: FrontEnd, video: Clip, frame: Frame) -> bool:
        """Wait for a clip's frame, or see whether a stream is followed. False when the agent
        stops."""
        if self._pace is None:
            if not self._speed:
                return self._clock.wait(0)
            due_ms = front.start_ms + frame.at_us / 1000 / self._speed - self._clock.wall_ms()
            return self._clock.wait(max(due_ms, 0))
        pace = self._pace
        leave_out = pace.look(frame.at_us, self._clock.wall_ms(), self._clock.mono_ms())
        by_ms = pace.start_ms - front.start_ms
        if abs(by_ms) >= MENDED_MS:
            log.warning("camera clock mended device=%s by_ms=%d", self.device, by_ms)
        front.start_ms = pace.start_ms
        if leave_out and isinstance(video, Video):
            log.warning(
                "camera too slow device=%s late_ms=%d left_out=%d; give it fewer or smaller "
                "pictures, or this gateway fewer cameras",
                self.device, pace.late_ms, video.left_out,
            )  # fmt: skip
            video.leave_out()
        return self._clock.wait(0)

    def _tell(self, front: FrontEnd, video: Clip, frame: Frame | None) -> None:
        at_ms = front.start_ms + (frame.at_us // 1000 if frame else front.last_us // 1000)
        state: State = front.state
        behind = self._pace is not None and self._pace.is_behind
        now = {
            "online": 1.0,
            "lens_blocked": float(state.blocked),
            "fault": BEHIND if behind else FROZEN if state.frozen else 0.0,
            "tamper": float(state.moved),
        }
        again = frame is not None and frame.at_us >= self._say_again_us
        if again or now != self._said:
            self._say(at_ms, now)
            self._say_again_us = (frame.at_us if frame else 0) + STATE_US
        if again or frame is None:
            self._report(front, video)
        if front.has_ended:
            rows = [(self.device, "camera", "online", at_ms, 1.0, 0)]
            batch = front.drain()
            self._put(Drawn(ReadingBatch.of(rows), tracks=encode(batch)))
            if self._evidence is not None:
                self._evidence.fell(batch)
        if self._evidence is not None and frame is not None:
            self._evidence.frame(frame)

    def _report(self, front: FrontEnd, video: Clip) -> None:
        """What was seen and what was left out, and why; sums of this connection."""
        seen = front.figures
        passed = " ".join(f"{why}={count}" for why, count in sorted(seen.passed.items()))
        log.info(
            "camera report device=%s frames=%d bad_frames=%d left_out=%d late_ms=%d busy=%d "
            "tracklets=%d lost_blobs=%d not_handed_on=%s",
            self.device, seen.frames, video.bad_frames, video.left_out,
            self._pace.late_ms if self._pace else 0, seen.busy, seen.tracklets, seen.lost_blobs,
            passed or "0",
        )  # fmt: skip

    def _say(self, at_ms: int, now: dict[str, float]) -> None:
        self._said = now
        rows = [(self.device, "camera", name, at_ms, value, 0) for name, value in now.items()]
        self._put(Drawn(ReadingBatch.of(rows)))

    def _put(self, drawn: Drawn | None) -> None:
        """Wait for room, so that a slow disk holds the camera back and not the memory."""
        while True:
            try:
                self._out.put(drawn, timeout=0.5)
            except queue.Full:
                if self._clock.wait(0):
                    continue
            return
