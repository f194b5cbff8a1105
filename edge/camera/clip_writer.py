"""Clips as files: packets decoded again, all but the facade made black, the track drawn in.

One thread for all cameras of an agent, and a short queue before it: evidence never holds up the
watching of a facade.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from edge.clip_folder import ClipFolder
from edge.clock import Clock

WAITING = 4
PRUNE_S = 60.0
QUALITY, MOST_KILOBITS = 26, 4000
"""Of the encoder (constant rate factor, and what it may not exceed): 10 s are 1 to 5 MB."""
TRACK_YUV = (220, 60, 220)
DARK_YUV = (16, 128, 128)

log = logging.getLogger("gridwarden.edge.camera")


@dataclass(frozen=True, slots=True)
class Track:
    """at_us: int64[n]. x, y: float64[n], pixels."""

    at_us: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cut:
    """packets: from a key frame on. times: pts -> at_us of their pictures. mask: bool[h, w], what
    may be shown. begin_us, end_us: what is to be shown. start_ms: unix time of at_us 0."""

    camera: str
    stream: Any
    packets: Sequence[Any]
    times: dict[int, int]
    mask: NDArray[np.bool_]
    begin_us: int
    end_us: int
    tracks: tuple[Track, ...]
    start_ms: int


class Writer:
    """`offer` from any thread; a thread of its own writes into the folder until `stop`."""

    def __init__(self, folder: ClipFolder, clock: Clock) -> None:
        """Raises OSError when the folder can't be made."""
        folder.path.mkdir(parents=True, exist_ok=True)
        for half in folder.path.glob("*.half"):
            half.unlink()
        self._folder = folder
        self._clock = clock
        self._cuts: queue.Queue[Cut | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self.written = 0
        self.failed = 0

    def start(self) -> None:
        self._thread.start()

    def offer(self, cut: Cut) -> bool:
        """Whether there was room for it."""
        try:
            self._cuts.put_nowait(cut)
        except queue.Full:
            return False
        return True

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits, and end."""
        if self._thread.is_alive():
            self._cuts.put(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                cut = self._cuts.get(timeout=PRUNE_S)
            except queue.Empty:
                self._pruned()
                continue
            if cut is None:
                return
            self._write(cut)
            self._pruned()

    def _pruned(self) -> None:
        try:
            self._folder.prune(self._clock.wall_ms())
        except OSError as error:
            log.error("clips can't be removed path=%s why=%r", self._folder.path, str(error))

    def _write(self, cut: Cut) -> None:
        half = self._folder.path / f"{cut.camera}.half"
        try:
            span = write_clip(cut, half)
            if span is None:
                raise ValueError("none of its pictures decodes")
            start_ms, end_ms = (cut.start_ms + at_us // 1000 for at_us in span)
            path = self._folder.put(half, cut.camera, start_ms, end_ms)
        except Exception as error:
            # One clip that can't be made mustn't cost all that come after it.
            half.unlink(missing_ok=True)
            self.failed += 1
            known = isinstance(error, (OSError, ValueError, av.error.FFmpegError))
            log.error(
                "clip failed camera=%s count=%d why=%r", cut.camera, self.failed, str(error),
                exc_info=not known,
            )  # fmt: skip
            return
        if path is not None:
            self.written += 1
            log.info("clip kept camera=%s path=%s bytes=%d", cut.camera, path, path.stat().st_size)


def write_clip(cut: Cut, path: Path) -> tuple[int, int] | None:
    """The clip as MP4, and its span in microseconds; None when there is nothing to show.

    Raises OSError, `av.error.FFmpegError`.
    """
    span: tuple[int, int] | None = None
    paint = _Paint(cut)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream: Any = None
        for at_us, picture in _pictures(cut):
            shown = paint.shown(picture, at_us)
            if stream is None:
                stream = _out_stream(out, shown)
            frame = av.VideoFrame.from_ndarray(shown, format="yuv420p")
            begin = at_us if span is None else span[0]
            frame.pts, frame.time_base = at_us - begin, Fraction(1, 1_000_000)
            out.mux(stream.encode(frame))
            span = begin, at_us
        if stream is not None:
            out.mux(stream.encode(None))
    return span


def _out_stream(out: Any, shown: NDArray[np.uint8]) -> Any:
    stream = out.add_stream("libx264", rate=25)
    stream.width, stream.height = shown.shape[1], shown.shape[0] * 2 // 3
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.time_base = Fraction(1, 1_000_000)
    stream.options = {
        "preset": "veryfast", "crf": str(QUALITY), "maxrate": f"{MOST_KILOBITS}k",
        "bufsize": f"{MOST_KILOBITS}k", "x264-params": "force-cfr=0",
    }  # fmt: skip
    return stream


def _pictures(cut: Cut) -> Iterator[tuple[int, Any]]:
    """(at_us, picture) of what is to be shown, in order."""
    given = cut.stream.codec_context
    decoder: Any = av.CodecContext.create(given.codec.name, "r")
    decoder.extradata = given.extradata
    decoder.thread_count = 1
    last = -1
    for packet in [*cut.packets, None]:
        try:
            pictures = decoder.decode(packet)
        except av.error.InvalidDataError:
            continue  # One that the watching decoder couldn't read either.
        for picture in pictures:
            at_us = cut.times.get(picture.pts, -1)
            if cut.begin_us <= at_us <= cut.end_us and at_us > last:
                yield at_us, picture
                last = at_us


class _Paint:
    """Pictures as they may be shown."""

    def __init__(self, cut: Cut) -> None:
        self._tracks = cut.tracks
        height, width = cut.mask.shape[0] & ~1, cut.mask.shape[1] & ~1
        self._size = width, height
        self._dark = ~cut.mask[:height, :width]
        # Of four pixels that share a colour one outside is enough.
        self._dark_2 = self._dark.reshape(height // 2, 2, width // 2, 2).any((1, 3))

    def shown(self, picture: Any, at_us: int) -> NDArray[np.uint8]:
        """uint8[height * 3 / 2, width]: planes Y, U and V under one another."""
        width, height = self._size
        even = picture.reformat(width=width, height=height, format="yuv420p", dst_colorspace=None)
        planes = np.ascontiguousarray(even.to_ndarray(), np.uint8)
        y = planes[:height]
        u, v = planes[height:].reshape(2, height // 2, width // 2)
        for track in self._tracks:
            self._draw(track, at_us, (y, u, v))
        y[self._dark] = DARK_YUV[0]
        u[self._dark_2] = DARK_YUV[1]
        v[self._dark_2] = DARK_YUV[2]
        return planes

    def _draw(self, track: Track, at_us: int, planes: tuple[NDArray[np.uint8], ...]) -> None:
        """The way so far; the thing itself stays free of it."""
        seen = int(np.searchsorted(track.at_us, at_us, "right"))
        if not seen:
            return
        points = np.stack([track.x[:seen], track.y[:seen]], 1)
        for plane, value, step in zip(planes, TRACK_YUV, (1, 2, 2), strict=True):
            line = np.round(points / step).astype(np.int32)
            cv2.polylines(plane, [line[: max(seen - 2, 1)]], False, value, 1)
            if track.at_us[-1] >= at_us:
                side = 24 // step
                x, y = line[-1].tolist()
                cv2.rectangle(plane, (x - side, y - side), (x + side, y + side), value, 1)
