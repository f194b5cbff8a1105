"""The clips that a gateway keeps, in a folder, bounded in size and in time.

A clip is `CAMERA/START-END.mp4`, both in unix milliseconds of the gateway; so the folder is its
own list. What is too old goes, and the oldest go when there is too much.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from pathlib import Path

from contracts.clips import MOST_BYTES, NEAR_MS, KeptClip
from contracts.topics import ID

HOUR_MS = 3_600_000
CLIPS_MIB, CLIPS_HOURS = 512, 72.0
"""Kept when nothing else is said (proposals): some hundred clips, three days."""
_NAME = re.compile(r"([0-9]{1,15})-([0-9]{1,15})\.mp4")

log = logging.getLogger("gridwarden.edge.clips")


class ClipFolder:
    """limit_bytes: of all clips. hours: how long one is kept. gone: clips removed, by reason."""

    def __init__(self, path: Path, *, limit_bytes: int, hours: float) -> None:
        self.path = path
        self._limit = limit_bytes
        self._hours = hours
        self.gone: Counter[str] = Counter()

    def kept(self, camera: str = "") -> list[KeptClip]:
        """Oldest first; of one camera, or of all."""
        found = []
        for file in self.path.glob(f"{camera or '*'}/*.mp4"):
            named = _NAME.fullmatch(file.name)
            if named and ID.fullmatch(file.parent.name):
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue  # Removed a moment ago.
                start_ms, end_ms = int(named[1]), int(named[2])
                found.append(
                    KeptClip(camera=file.parent.name, start_ms=start_ms, end_ms=end_ms, size=size)
                )
        return sorted(found, key=lambda one: (one.start_ms, one.camera))

    def nearest(self, camera: str, at_ms: int) -> KeptClip | None:
        """The camera's clip of this moment, or the nearest within `NEAR_MS`."""
        near = [(_away(one, at_ms), one.start_ms, one) for one in self.kept(camera)]
        found = min(near, default=None, key=lambda one: one[:2])
        return found[2] if found is not None and found[0] <= NEAR_MS else None

    def file(self, clip: KeptClip) -> Path:
        return self.path / clip.camera / f"{clip.start_ms}-{clip.end_ms}.mp4"

    def put(self, half: Path, camera: str, start_ms: int, end_ms: int) -> Path | None:
        """Takes a whole file that lies in this folder; None when it is larger than can be sent.
        Raises OSError."""
        size = half.stat().st_size
        clip = KeptClip(camera=camera, start_ms=start_ms, end_ms=end_ms, size=size)
        if size > MOST_BYTES:
            half.unlink()
            self._count("too_large", clip)
            return None
        path = self.file(clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Named before it is on the disk, a clip would be an empty file after a power cut.
        _sync(half)
        half.replace(path)
        _sync(path.parent)
        _sync(self.path)
        return path

    def prune(self, now_ms: int) -> None:
        """Remove what is too old or too much. Raises OSError."""
        clips = self.kept()
        total = sum(one.size for one in clips)
        for clip in clips:
            old = now_ms - clip.end_ms > self._hours * HOUR_MS
            if not old and total <= self._limit:
                continue
            self.file(clip).unlink(missing_ok=True)
            total -= clip.size
            self._count("too_old" if old else "no_room", clip)

    def _count(self, why: str, clip: KeptClip) -> None:
        self.gone[why] += 1
        log.info(
            "clip removed why=%s camera=%s start_ms=%d bytes=%d total=%d",
            why, clip.camera, clip.start_ms, clip.size, self.gone[why],
        )  # fmt: skip


def _sync(path: Path) -> None:
    """A file's bytes, or a folder's names. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _away(clip: KeptClip, at_ms: int) -> int:
    return max(clip.start_ms - at_ms, at_ms - clip.end_ms, 0)
