"""Cameras as a source of the agent: each in a thread of its own, tracklets and states out.

A stream that dies is a state of the camera (`online` 0) and is opened again; nothing that a
camera does stops the agent. What it saw between a power cut and the outbox's commit is lost: a
live picture can't be drawn again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec

from contracts.batch import ReadingBatch
from contracts.topics import ID
from contracts.tracklets import encode
from edge.camera import CameraError
from edge.camera.clip_writer import Writer
from edge.camera.evidence import Evidence
from edge.camera.frontend import FrontEnd
from edge.camera.health import State
from edge.camera.scale import CameraFile, View, default_view, load_camera_file, make_view
from edge.camera.video import Clip, Frame, Timeouts, Video, is_stream, open_video, redacted
from edge.clip_folder import CLIPS_HOURS, CLIPS_MIB, ClipFolder
from edge.clock import Clock
from edge.sources import Drawn, SourceError

STATE_US = 60_000_000
"""A camera says this often that it lives; the rule for silence waits half an hour."""
AGAIN_MS, AGAIN_MOST_MS = 1_000, 30_000
DRIFT_MS = 2_000
"""Between the stream's time stamps and the wall clock, beyond which the latter is taken anew."""
WAITING = 256
EARLY = 100
"""Packets that are held until the first picture is there."""

log = logging.getLogger("gridwarden.edge.camera")


class CameraOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """device: the id that the registry has. url or url_file: a stream or a clip; an address with
    a password stands in a file. camera_file: facade and storeys."""

    device: str
    url: str = ""
    url_file: str = ""
    camera_file: str = ""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """pace: 1 = a clip plays as recorded, 0 = as fast as it can be decoded; streams have their
    own pace. open_s, read_s: time-outs of streams. clips_dir: where evidence is kept, "" = none;
    clips_mib, clips_hours: how much of it, and how long."""

    cameras: Annotated[list[CameraOptions], msgspec.Meta(min_length=1, max_length=64)]
    pace: Annotated[float, msgspec.Meta(ge=0, le=100)] = 1.0
    open_s: Annotated[float, msgspec.Meta(gt=0, le=120)] = 10.0
    read_s: Annotated[float, msgspec.Meta(gt=0, le=120)] = 5.0
    clips_dir: str = ""
    clips_mib: Annotated[int, msgspec.Meta(ge=16, le=1_000_000)] = CLIPS_MIB
    clips_hours: Annotated[float, msgspec.Meta(gt=0, le=8784)] = CLIPS_HOURS


class Watched:
    """One camera's thread. `out` takes what it has to say; None at its end."""

    def __init__(
        self,
        options: CameraOptions,
        url: str,
        camera: CameraFile | None,
        clock: Clock,
        out: queue.Queue[Drawn | None],
        *,
        pace: float,
        timeouts: Timeouts,
        writer: Writer | None = None,
    ) -> None:
        self._writer = writer
        self._evidence: Evidence | None = None
        self._early: list[Any] = []
        self._is_early = True
        self.device = options.device
        self.url = url
        self._path = Path(options.camera_file)
        self._file = camera
        self._clock = clock
        self._out = out
        self._pace = pace
        self._timeouts = timeouts
        self._said: dict[str, float] = {}
        self._say_again_us = 0
        self.connections = 0

    def run(self) -> None:
        """Until the agent stops, or until a clip is over."""
        wait_ms = AGAIN_MS
        while self._clock.wait(0):
            try:
                if self._watch():
                    break
                wait_ms = AGAIN_MS
            except CameraError as error:
                log.warning("camera lost device=%s why=%r", self.device, str(error))
                self._say(self._clock.wall_ms(), {"online": 0.0})
            if not self._clock.wait(wait_ms):
                break
            wait_ms = min(wait_ms * 2, AGAIN_MOST_MS)
        self._put(None)

    def _watch(self) -> bool:
        """One connection. Whether this was a clip, and it is over. Raises `CameraError`."""
        video = open_video(self.url, self._timeouts)
        self._early.clear()
        self._is_early = True
        try:
            front: FrontEnd | None = None
            for frame in video.frames(self._packet):
                if front is None:
                    front = self._begun(video)
                if not self._keep_pace(front, frame):
                    return True
                front.push(frame)
                self._tell(front, frame)
            if front is not None:
                front.finish()
                self._tell(front, None)
        finally:
            if self._evidence is not None:
                self._evidence.finish()
                self._evidence = None
            video.close()
        if is_stream(self.url):
            raise CameraError(f"{redacted(self.url)}: the stream has ended")
        return True

    def _begun(self, video: Clip) -> FrontEnd:
        self.connections += 1
        log.info(
            "camera watched device=%s url=%s size=%dx%d fps=%.1f",
            self.device, redacted(self.url), video.width, video.height, video.fps,
        )  # fmt: skip
        view: View = default_view(video.width, video.height)
        if self._file is not None:
            view = make_view(self._file, video.width, video.height, self._path)
        self._said.clear()
        self._say_again_us = 0
        front = FrontEnd(self.device, view, video.fps, start_ms=self._clock.wall_ms())
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

    def _keep_pace(self, front: FrontEnd, frame: Frame) -> bool:
        """Wait for a clip's frame, or mend a stream's clock. False when the agent stops."""
        ahead_ms = front.start_ms + frame.at_us // 1000 - self._clock.wall_ms()
        if not is_stream(self.url):
            if not self._pace:
                return self._clock.wait(0)
            due_ms = front.start_ms + frame.at_us / 1000 / self._pace - self._clock.wall_ms()
            return self._clock.wait(max(due_ms, 0))
        if abs(ahead_ms) > DRIFT_MS:
            log.warning("camera clock mended device=%s by_ms=%d", self.device, -ahead_ms)
            front.start_ms -= ahead_ms
        return self._clock.wait(0)

    def _tell(self, front: FrontEnd, frame: Frame | None) -> None:
        at_ms = front.start_ms + (frame.at_us // 1000 if frame else front.last_us // 1000)
        state: State = front.state
        now = {
            "online": 1.0,
            "lens_blocked": float(state.blocked),
            "fault": float(state.frozen),
            "tamper": float(state.moved),
        }
        again = frame is not None and frame.at_us >= self._say_again_us
        if again or now != self._said:
            self._say(at_ms, now)
            self._say_again_us = (frame.at_us if frame else 0) + STATE_US
        if front.has_ended:
            rows = [(self.device, "camera", "online", at_ms, 1.0, 0)]
            batch = front.drain()
            self._put(Drawn(ReadingBatch.of(rows), tracks=encode(batch)))
            if self._evidence is not None:
                self._evidence.fell(batch)
        if self._evidence is not None and frame is not None:
            self._evidence.frame(frame)

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


class CameraSource:
    """See `edge.sources.Source`. All cameras speak for the agent's first gateway."""

    def __init__(self, options: Options, clock: Clock) -> None:
        """Raises `SourceError` for what is wrong with the configuration."""
        self._clock = clock
        self._out: queue.Queue[Drawn | None] = queue.Queue(WAITING)
        timeouts = Timeouts(options.open_s, options.read_s)
        self._writer = _writer(options, clock)
        self.watched = []
        for number, one in enumerate(options.cameras):
            url, camera = _checked(number, one)
            self.watched.append(
                Watched(
                    one,
                    url,
                    camera,
                    clock,
                    self._out,
                    pace=options.pace,
                    timeouts=timeouts,
                    writer=self._writer,
                )
            )
        devices = [one.device for one in options.cameras]
        if len(set(devices)) != len(devices):
            raise SourceError("source.cameras: two have the same device; give each its own")

    def batches(self, resume: bytes | None) -> Iterator[Drawn]:  # noqa: ARG002 - live
        """Until all clips are over, or the agent stops."""
        # One thread a camera is the budget: the libraries are not to make their own.
        cv2.setNumThreads(1)
        if self._writer is not None:
            self._writer.start()
        for one in self.watched:
            threading.Thread(target=one.run, name=f"camera {one.device}", daemon=True).start()
        left = len(self.watched)
        while left:
            try:
                drawn = self._out.get(timeout=0.5)
            except queue.Empty:
                if not self._clock.wait(0):
                    return
                continue
            if drawn is None:
                left -= 1
            else:
                yield drawn

    def close(self) -> None:
        """The cameras' threads see the stopped clock and end; clips that wait are written."""
        if self._writer is not None:
            self._writer.stop()


def _writer(options: Options, clock: Clock) -> Writer | None:
    """Raises `SourceError`."""
    if not options.clips_dir:
        return None
    folder = ClipFolder(
        Path(options.clips_dir),
        limit_bytes=options.clips_mib << 20,
        hours=options.clips_hours,
    )
    try:
        return Writer(folder, clock)
    except OSError as error:
        raise SourceError(
            f"source.clips_dir: {options.clips_dir}: {error.strerror}; name a folder to write in"
        ) from None


def _checked(number: int, one: CameraOptions) -> tuple[str, CameraFile | None]:
    """(address, camera file). Raises `SourceError`."""
    place = f"source.cameras[{number}]"
    if not ID.fullmatch(one.device):
        raise SourceError(
            f"{place}.device: {one.device!r} is no id; use 1 to 64 of A-Z a-z 0-9 _ -"
        )
    if bool(one.url) == bool(one.url_file):
        raise SourceError(f"{place}.url: give either url or url_file")
    url = one.url
    if one.url_file:
        try:
            url = Path(one.url_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{place}.url_file: can't be read: {error}") from None
    elif redacted(url) != url:
        raise SourceError(f"{place}.url: holds a password; put the address into a url_file")
    if not is_stream(url) and not Path(url).is_file():
        raise SourceError(f"{place}.url: no clip is called {url}; mend the path")
    return url, load_camera_file(Path(one.camera_file)) if one.camera_file else None


def open_source(
    options: Mapping[str, Any],
    clock: Clock,
    gateways: Sequence[str],  # noqa: ARG001 - all cameras speak for the first
) -> CameraSource:
    """See `edge.sources.Opener`."""
    try:
        parsed = msgspec.convert(dict(options), Options)
    except msgspec.ValidationError as error:
        raise SourceError(f"source (camera): {error}; see docs/camera.md") from None
    return CameraSource(parsed, clock)
