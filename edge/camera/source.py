"""Cameras as a source of the agent: what is configured of them, and their threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec

from contracts.topics import ID
from edge.camera.clip_writer import Writer
from edge.camera.scale import CameraFile, load_camera_file
from edge.camera.video import Timeouts, is_stream, redacted
from edge.camera.watched import Watched
from edge.clip_folder import CLIPS_HOURS, CLIPS_MIB, ClipFolder
from edge.clock import Clock
from edge.sources import Drawn, SourceError

WAITING = 256


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
                    one.device,
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


def _checked(number: int, one: CameraOptions) -> tuple[str, tuple[CameraFile, Path] | None]:
    """(address, camera file with its path). Raises `SourceError`."""
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
    if not one.camera_file:
        return url, None
    path = Path(one.camera_file)
    return url, (load_camera_file(path), path)


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
