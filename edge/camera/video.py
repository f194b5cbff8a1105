"""Pictures of a clip or a stream as luma planes, decoded on one thread.

Colour is never made: the luma plane of the decoder is viewed as it lies in memory, which costs
a twentieth of a colour conversion. A frame's plane is valid as long as the frame is held.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import CameraError
from edge.camera.pace import LEFT_OUT_US

STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "tcp://", "udp://")
PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray", "gray8")
"""Pixel formats whose first plane is the luma, one byte a pixel."""
MOST_PIXELS = 8192 * 8192
MAX_BAD_FRAMES = 200
"""Frames in a row that don't decode, after which a clip or stream is given up."""
WHOLE_SHARE = 0.95
"""Of the frames that a clip says it has; an edit list may leave out some."""
LEFT_OUT_MOST = 750
"""Packets that are left out at most: a stream may send no key frame at all."""
BACK_US = 1_000_000
"""A stream's time stamps that fall back by more were set anew: they go on from where they were."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. number: from 0. at_us: its time stamp, from 0 for a clip's first frame.
    luma: uint8[height, width], rows may lie further apart. hold: keeps the memory alive.
    """

    number: int
    at_us: int
    luma: NDArray[np.uint8]
    hold: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of a stream, in seconds: to open it, and between two packets."""

    open_s: float = 10.0
    read_s: float = 5.0


def is_stream(name: str) -> bool:
    return name.lower().startswith(STREAMS)


def redacted(name: str) -> str:
    """An address without its password, for logs and messages."""
    scheme, mark, rest = name.partition("://")
    if not mark or "@" not in rest.partition("/")[0]:
        return name
    return f"{scheme}://...@{rest.rpartition('@')[2]}"


LOW_LATENCY = {
    "allowed_media_types": "video",  # sound is never fetched, and can't hold a dead picture alive
    "rtsp_transport": "tcp",  # UDP loses packets, and a lost packet smears until the next key frame
    "fflags": "nobuffer",  # hand out packets as they come; frames come as they are decoded
    "max_delay": "500000",  # microseconds to wait for a packet that is out of order
    "reorder_queue_size": "0",
    "analyzeduration": "1000000",
    "probesize": "500000",
}
"""What is told to the demuxer of a stream, so that it lags by frames only."""


class Video:
    """A clip or a stream that is open. `frames` may be drawn once; `close` it.

    packets: called with each encoded packet and the decoder's stream, before it is decoded; the
    evidence ring keeps them.
    """

    def __init__(self, name: str, timeouts: Timeouts | None = None) -> None:
        """Raises `CameraError` when there is no video that can be decoded."""
        self.name = name
        self._live = is_stream(name)
        wait = timeouts or Timeouts()
        try:
            self._container = av.open(
                name,
                options=dict(LOW_LATENCY) if self._live else {},
                timeout=(wait.open_s, wait.read_s) if self._live else None,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CameraError(f"{redacted(name)}: can't be opened: {_why(error)}") from None
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise CameraError(f"{redacted(name)}: holds no video; give a clip or a camera's stream")
        self.stream = streams[0]
        context = self.stream.codec_context
        context.thread_count = 1
        context.thread_type = "NONE"
        self.width, self.height = context.width, context.height
        self.bad_frames = self.left_out = 0
        self._stamp_given: int | None = None
        self._stamp_last = 0
        self._leaves_out = False
        self._leave_until: int | None = None
        self._leave_most = 0

    def leave_out(self) -> None:
        """Decode nothing up to a key frame a second or more from here."""
        self._leaves_out, self._leave_until, self._leave_most = True, None, LEFT_OUT_MOST

    @property
    def fps(self) -> float:
        """As the container states it; 25 where it states nothing that can be."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate and 1 <= rate <= 240 else 25.0

    def frames(self, packets: Any = None) -> Iterator[Frame]:
        """Every frame that decodes, in order. Raises `CameraError` when the picture changes its
        size, when nothing decodes, or when a clip or stream breaks off."""
        number, begin, last, before = 0, None, -1, 0
        step = round(1e6 / self.fps)
        for picture in self._pictures(packets):
            luma = _luma(picture)
            if number == 0:
                self.width, self.height = picture.width, picture.height
                if self.width * self.height > MOST_PIXELS or min(luma.shape) < 16:
                    raise CameraError(
                        f"{redacted(self.name)}: {self.width}x{self.height} pixels; "
                        "16x16 to 8192x8192 can be watched"
                    )
            elif (picture.width, picture.height) != (self.width, self.height):
                raise CameraError(
                    f"{redacted(self.name)}: the picture changes from {self.width}x{self.height} "
                    f"to {picture.width}x{picture.height} at frame {number}; cut it there"
                )
            at = self._at_us(picture, number)
            if begin is None:
                begin = at
            elif at < before - BACK_US:
                begin = at - last - step
            before = at
            # Some cameras stamp every frame alike: then the stated rate is the clock.
            last = at - begin if at - begin > last else last + step
            yield Frame(number, last, luma, picture)
            number += 1
        if not number:
            raise CameraError(f"{redacted(self.name)}: has no frame that decodes; get a whole copy")
        stated = self.stream.frames
        if not self._live and number + self.bad_frames < WHOLE_SHARE * stated:
            raise CameraError(
                f"{self.name}: breaks off after {number} of {stated} frames; get a whole copy"
            )

    def _at_us(self, picture: Any, number: int) -> int:
        if picture.pts is None or picture.time_base is None:
            return round(number * 1e6 / self.fps)
        return round(float(picture.pts * picture.time_base) * 1e6)

    def _pictures(self, packets: Any) -> Iterator[Any]:
        bad = 0
        try:
            for packet in self._container.demux(self.stream):
                self._stamp(packet)
                if packets is not None:
                    packets(packet)
                if self._leaves_out and self._is_left_out(packet):
                    continue
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    self.bad_frames += 1
                    bad += 1
                    if bad > MAX_BAD_FRAMES:
                        raise CameraError(
                            f"{redacted(self.name)}: {bad} frames in a row don't decode"
                        ) from None
                    continue
                if decoded:
                    bad = 0
                yield from decoded
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, av.error.EOFError):
                return
            raise CameraError(f"{redacted(self.name)}: breaks off: {_why(error)}") from None

    def _stamp(self, packet: Any) -> None:
        """Some cameras stamp every picture alike, and raw streams none: each gets a stamp of its
        own, by the stated rate, so that it can be told from the others when it is decoded again."""
        if packet.size == 0:
            return
        if packet.pts is not None and packet.pts != self._stamp_given:
            self._stamp_given = self._stamp_last = packet.pts
            return
        self._stamp_given = packet.pts
        base = packet.time_base or self.stream.time_base
        self._stamp_last += max(1, round(1 / (self.fps * float(base)))) if base else 1
        packet.pts = packet.dts = self._stamp_last

    def _is_left_out(self, packet: Any) -> bool:
        """While leaving out: whether this packet is."""
        if packet.size == 0:
            return False  # The end: what the decoder still holds.
        stamp = packet.dts if packet.pts is None else packet.pts
        at = 0 if stamp is None else round(float(stamp * packet.time_base) * 1e6)
        if self._leave_until is None:
            self._leave_until = at + LEFT_OUT_US
        self._leave_most -= 1
        if (packet.is_keyframe and at >= self._leave_until) or self._leave_most < 0:
            self._leaves_out = False
            return False
        self.left_out += 1
        return True

    def close(self) -> None:
        self._container.close()


BAD_ZIP = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What a damaged or encrypted zip raises."""


class Pictures:
    """A zip of numbered pictures with `times.csv` (frame, seconds), as event cameras give them."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._zip = zipfile.ZipFile(name)
            text = self._zip.read("times.csv").decode("utf-8")
            rows = list(csv.DictReader(io.StringIO(text)))
            self._at = [(int(row["frame"]), float(row["seconds"])) for row in rows]
        except (*BAD_ZIP, KeyError, ValueError) as error:
            raise CameraError(f"{name}: no zip of pictures with times.csv: {error!r}") from None
        if not self._at:
            raise CameraError(f"{name}: times.csv names no frame; get a whole copy")
        self.bad_frames = self.left_out = 0
        first = self._read(self._at[0][0])
        self.height, self.width = first.shape

    @property
    def fps(self) -> float:
        seconds = self._at[-1][1] - self._at[0][1]
        return min(max((len(self._at) - 1) / seconds, 1.0), 240.0) if seconds > 0 else 25.0

    def _read(self, frame: int) -> NDArray[np.uint8]:
        try:
            data = np.frombuffer(self._zip.read(f"{frame:05d}.jpg"), np.uint8)
        except KeyError as error:
            raise CameraError(f"{self.name}: picture {frame} is missing: {error}") from None
        except BAD_ZIP as error:
            raise CameraError(f"{self.name}: picture {frame} can't be read: {error}") from None
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise CameraError(f"{self.name}: picture {frame} doesn't decode; get a whole copy")
        return np.asarray(picture, np.uint8)

    def frames(self, packets: Any = None) -> Iterator[Frame]:  # noqa: ARG002 - there are none
        """Every picture at its time. Raises `CameraError`."""
        last, begin = -1, self._at[0][1]
        for number, (frame, seconds) in enumerate(self._at):
            luma = self._read(frame)
            if luma.shape != (self.height, self.width):
                raise CameraError(f"{self.name}: the picture changes its size at frame {frame}")
            last = max(round((seconds - begin) * 1e6), last + 1)
            yield Frame(number, last, luma)

    def close(self) -> None:
        self._zip.close()


Clip = Video | Pictures


def open_video(name: str, timeouts: Timeouts | None = None) -> Clip:
    """A clip, a zip of pictures, or a stream. Raises `CameraError`."""
    if not is_stream(name):
        path = Path(name)
        if not path.is_file():
            raise CameraError(f"{name}: no such clip; give the path of a file or rtsp://...")
        if zipfile.is_zipfile(path):
            return Pictures(name)
    return Video(name, timeouts)


def _luma(picture: Any) -> NDArray[np.uint8]:
    if picture.format.name not in PLANAR:
        return np.asarray(picture.to_ndarray(format="gray"), np.uint8)
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: picture.height, : picture.width]


def _why(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)[:120]
