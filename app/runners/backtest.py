"""A recording under two rule sets, side by side in two processes, each by the one engine."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from app.content import ContentError, load_rules
from app.engine import Step
from app.runners.recording import RecordingError, open_recording
from app.runners.replay import replay
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from rules import RulesInvalid
from rules.backtest import Episode, Episodes

PROGRESS_READINGS = 1_000_000
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""glibc hands big arrays back to the system after each use and faults them in again; kept instead,
10 million readings took 0.8 s of system time rather than 2.0 (2 shared cores)."""


class BacktestError(Exception):
    """What can't be read; the text names it and the mend."""


@dataclass(frozen=True, slots=True)
class Past:
    """One rule set on the recording. span_ms: first and last event time of accepted rows."""

    episodes: tuple[Episode, ...]
    events: int
    readings: int
    rejected: int
    span_ms: tuple[int, int]
    cpu_s: float


def backtest(
    source: Path,
    old: Path,
    new: Path,
    registry: Path | None,
    *,
    on_progress: Callable[[int, int], None],
) -> tuple[Past, Past]:
    """`on_progress(side, readings)` is called now and then; side 0 = old.

    Raises `BacktestError`.
    """
    context = multiprocessing.get_context("spawn")
    sides = []
    for folder in (old, new):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(there, source, folder, registry), daemon=True)
        with _allocator():
            child.start()
        there.close()
        sides.append((child, here))
    found: dict[int, Past] = {}
    try:
        open_ends: dict[Any, int] = {here: side for side, (_, here) in enumerate(sides)}
        while open_ends:
            for end in wait(list(open_ends)):
                side = open_ends[end]
                said = _received(end)
                if isinstance(said, int):
                    on_progress(side, said)
                elif isinstance(said, Past):
                    found[side] = said
                    del open_ends[end]
                else:
                    raise BacktestError(said or "a process of the backtest was killed")
    finally:
        for child, _ in sides:
            child.terminate()
            child.join()
    return found[0], found[1]


@contextmanager
def _allocator() -> Iterator[None]:
    """Processes that start inside keep the memory that they have had; what is set is left alone."""
    added = ALLOCATOR.keys() - os.environ.keys()
    os.environ.update({name: ALLOCATOR[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _received(end: Any) -> Any:
    try:
        return end.recv()
    except EOFError:
        return None


def _child(there: Connection[Any, Any], source: Path, folder: Path, registry: Path | None) -> None:
    try:
        there.send(run_one(source, folder, registry, there.send))
    except (RecordingError, ContentError, RegistryError) as error:
        there.send(str(error))
    except RulesInvalid as error:
        there.send("\n".join(map(str, error.findings)))


def run_one(
    source: Path, folder: Path, registry: Path | None, on_readings: Callable[[int], None]
) -> Past:
    """One side. Raises `RecordingError`, `ContentError`, `RegistryError`, `RulesInvalid`."""
    recording = open_recording(source)
    ruleset = load_rules(folder)
    places = None if registry is None else load_registry(registry)
    episodes = Episodes()
    readings, told, first, last = 0, 0, 2**62, -(2**62)

    def on_step(step: Step) -> None:
        nonlocal readings, told, first, last
        episodes.add(step.events)
        for batch in step.batches:
            readings += len(batch)
            first = min(first, int(batch.ts_ms.min()))
            last = max(last, int(batch.ts_ms.max()))
        if readings - told >= PROGRESS_READINGS:
            told = readings
            on_readings(readings)

    start = time.process_time()
    summary = replay(recording, ruleset=ruleset, registry=places, settings=None, on_step=on_step)
    return Past(
        episodes.all(),
        episodes.events,
        summary.readings,
        summary.rejected.total(),
        (first, last) if readings else (0, 0),
        time.process_time() - start,
    )
