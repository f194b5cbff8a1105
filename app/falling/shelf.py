"""Scenes that were watched, kept on disk: pictures cost minutes, another model only seconds.

What is kept of a scene is what the front end made of it, under a name that hangs on the scene's
recipe and on the text of all that draws, encodes and watches it. So a changed front end sees
every scene anew, and another model or threshold sees none.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np

from app.falling.lab import Watched, watch
from app.falling.scenes import Recipe, draw
from contracts import tracklets
from contracts.tracklets import TrackletBatch
from edge.camera.frontend import Figures

ROOT = Path(__file__).parents[2]
SEEN_BY = (
    *(f"edge/camera/{name}.py" for name in ("frontend", "health", "motion", "scale", "steady",
                                             "tracks")),
    "contracts/tracklets.py", "app/falling/scenes.py", "app/falling/render.py",
    "app/falling/lab.py",
)  # fmt: skip
"""What the tracklets of a scene hang on."""
PART = 256
"""Tracklets of a scene that are encoded together."""


@dataclass(frozen=True, slots=True)
class Job:
    """calibrated, limited: as `lab.watch` takes them."""

    recipe: Recipe
    calibrated: bool = True
    limited: bool = True


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    tracklets: list[bytes]
    owner: list[int]
    known_us: list[int]
    frames: int
    busy: int
    points: int
    blobs: int
    lost_blobs: int
    handed_on: int
    passed: dict[str, int]


_kept_decoder = msgspec.msgpack.Decoder(_Kept)


def digest() -> str:
    """Of everything that the tracklets of a scene hang on."""
    found = hashlib.sha256()
    for name in SEEN_BY:
        found.update((ROOT / name).read_bytes())
    return found.hexdigest()[:16]


class Shelf:
    """`watched` gives each job's tracklets in order, from the folder where they are there.

    folder: None keeps nothing. processes: how many watch at a time.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        processes: int = 1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._say = say
        self._mark = digest()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def watched(
        self, jobs: Iterable[Job], most_s: float = float("inf")
    ) -> Iterator[tuple[Job, Watched]]:
        """Nothing is begun when `most_s` is over; what is already kept comes in any case. Raises
        OSError."""
        begin, listed = time.monotonic(), list(jobs)
        given = 0
        for job, blob in self._blobs(listed, begin + most_s):
            if blob is not None:
                given += 1
                yield job, _opened(blob)
        if given < len(listed):
            self._say(f"time is up after {given} of {len(listed)} scenes")

    def _blobs(self, jobs: list[Job], until: float) -> Iterator[tuple[Job, bytes | None]]:
        if self._processes == 1:
            for job in jobs:
                blob = self._read(job)
                if blob is None and time.monotonic() <= until:
                    blob = self._put(job, _watch(job))
                yield job, blob
            return
        waiting: deque[tuple[Job, bytes | Future[bytes] | None]] = deque()
        with ProcessPoolExecutor(self._processes, get_context("spawn")) as pool:
            for job in jobs:
                blob = self._read(job)
                in_time = time.monotonic() <= until
                made = pool.submit(_watch, job) if blob is None and in_time else blob
                waiting.append((job, made))
                if len(waiting) > 2 * self._processes:
                    yield self._done(*waiting.popleft())
            while waiting:
                yield self._done(*waiting.popleft())

    def _done(
        self, job: Job, made: bytes | Future[bytes] | None
    ) -> tuple[Job, bytes | None]:  # fmt: skip
        return job, self._put(job, made.result()) if isinstance(made, Future) else made

    def _path(self, job: Job) -> Path:
        name = hashlib.sha256(self._mark.encode() + msgspec.json.encode(job)).hexdigest()[:20]
        return (self._folder or Path()) / f"{name}.scene"

    def _read(self, job: Job) -> bytes | None:
        if self._folder is None:
            return None
        path = self._path(job)
        return path.read_bytes() if path.exists() else None

    def _put(self, job: Job, blob: bytes) -> bytes:
        recipe = job.recipe
        self._say(f"{recipe.part.name.lower()} scene {recipe.seed} of {recipe.seconds:g} s watched")
        if self._folder is not None:
            path = self._path(job)
            # Whole or not at all: a run may be stopped at any time.
            half = path.with_suffix(f".{os.getpid()}")
            half.write_bytes(blob)
            half.replace(path)
        return blob


def _watch(job: Job) -> bytes:
    seen = watch(draw(job.recipe), calibrated=job.calibrated, limited=job.limited)
    n, figures = len(seen.tracklets), seen.figures
    return msgspec.msgpack.encode(
        _Kept(
            tracklets=[
                tracklets.encode(seen.tracklets.take(np.arange(at, min(at + PART, n))))
                for at in range(0, n, PART)
            ],
            owner=seen.owner.tolist(),
            known_us=seen.known_us.tolist(),
            frames=figures.frames,
            busy=figures.busy,
            points=figures.points,
            blobs=figures.blobs,
            lost_blobs=figures.lost_blobs,
            handed_on=figures.tracklets,
            passed=dict(figures.passed),
        )
    )


def _opened(blob: bytes) -> Watched:
    kept = _kept_decoder.decode(blob)
    parts = [tracklets.decode(part) for part in kept.tracklets]
    return Watched(
        TrackletBatch.join(parts) if parts else TrackletBatch.empty(),
        np.array(kept.owner, np.int64),
        np.array(kept.known_us, np.int64),
        Figures(
            kept.frames, kept.busy, kept.points, kept.blobs, kept.lost_blobs, kept.handed_on,
            Counter(kept.passed),
        ),
    )  # fmt: skip
