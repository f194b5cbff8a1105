"""`gridwarden evaluate falling`: events, not boxes, on generated scenes and on recorded clips.

Cells of throws and hours without any are scenes of the part that nothing was learned from or
chosen by, painted, encoded with H.264 and decoded again. A throw is found when an event is told
of it; a second event of the same throw is a false alarm, as is one of anything else. Tracklets are
kept scene by scene: an evaluation that was stopped goes on where it was, and another model or
threshold is judged in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.falling import shelf
from app.falling.lab import Watched
from app.falling.outcomes import Outcome, judge
from app.falling.scenes import Part, Recipe, Scene, draw
from app.falling.session import SHIPPED, detector
from app.falling.shelf import ROOT, Job, Shelf

JUDGED_BY = ("detectors/falling/features.py", "detectors/falling/operator.py",
             "app/falling/outcomes.py")  # fmt: skip
"""What an outcome hangs on, beside the tracklets and the model."""


@dataclass(frozen=True, slots=True)
class Cell:
    """size, contrast: of the throws. events: how many at least. seed: of its first scene."""

    name: str
    seed: int
    size: tuple[float, float]
    contrast: tuple[float, float]


CLEAR = Cell("clear", 1_000_000, (3.0, 40.0), (35.0, 120.0))
FAINT = Cell("faint", 2_000_000, (3.0, 4.0), (15.0, 35.0))
TINY = Cell("tiny", 3_000_000, (2.0, 3.0), (35.0, 120.0))
DIM = Cell("dim", 4_000_000, (3.0, 40.0), (10.0, 15.0))
CELLS = (CLEAR, FAINT, TINY, DIM)
NEGATIVE = "negative"
NEGATIVE_SEED = 9_000_000
THROWS = 14


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is evaluated. events: of the two cells that are promised; the others have a
    quarter. hours: without throws, every distractor on, at their ordinary rate."""

    events: int = 400
    hours: float = 3.0
    seconds: float = 60.0
    most_s: float = float("inf")

    @staticmethod
    def quick() -> Extent:
        return Extent(events=3, hours=0.0042, seconds=15.0, most_s=30.0)


def recipes(extent: Extent) -> Iterator[tuple[str, Recipe]]:
    """Every scene that is wanted, cells and negatives in turns, so that a part is one of all."""
    throws = min(THROWS, int((extent.seconds - 4.5) / 4) + 1)
    wanted: list[list[tuple[str, Recipe]]] = []
    for cell in CELLS:
        events = extent.events if cell in (CLEAR, FAINT) else max(extent.events // 4, 1)
        # One throw in twenty leaves the picture too soon to be asked for.
        count = -(-events * 21 // (20 * throws))
        wanted.append(
            [
                (
                    cell.name,
                    Recipe(
                        Part.TEST,
                        cell.seed + number,
                        seconds=extent.seconds,
                        size=cell.size,
                        contrast=cell.contrast,
                        throws=throws,
                    ),
                )
                for number in range(count)
            ]
        )
    scenes = max(1, round(extent.hours * 3600 / extent.seconds))
    wanted.append(
        [
            (NEGATIVE, Recipe(Part.TEST, NEGATIVE_SEED + n, seconds=extent.seconds, throws=0))
            for n in range(scenes)
        ]
    )
    longest = max(len(one) for one in wanted)
    for step in range(longest):
        for one in wanted:
            # Spread over the run, the shorter lists as far as the longest.
            first, last = step * len(one) // longest, (step + 1) * len(one) // longest
            yield from one[first:last]


def digest(folder: Path) -> str:
    """Of everything that an outcome hangs on."""
    found = hashlib.sha256(shelf.digest().encode())
    for name in JUDGED_BY:
        found.update((ROOT / name).read_bytes())
    found.update((folder / "manifest.json").read_bytes())
    return found.hexdigest()[:16]


def run(
    extent: Extent,
    *,
    folder: Path = SHIPPED,
    work: Path | None = None,
    processes: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Outcomes of every scene that there was time for. work: a folder to keep tracklets in.

    Raises `ModelError`, OSError.
    """
    return [
        outcome
        for _, _, outcome in judged(extent, folder=folder, work=work, processes=processes, say=say)
    ]


def judged(
    extent: Extent,
    *,
    folder: Path = SHIPPED,
    work: Path | None = None,
    processes: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Scene, Watched, Outcome]]:
    """As `run`, each with its scene and what the front end saw of it."""
    detector(folder)
    cells = {job.recipe: cell for cell, job in _jobs(extent)}
    kept = Shelf(work, processes=processes, say=say)
    for job, seen in kept.watched([job for _, job in _jobs(extent)], extent.most_s):
        scene, cell = draw(job.recipe), cells[job.recipe]
        key = f"{cell}/{job.recipe.seed}"
        yield scene, seen, judge(scene, seen, detector(folder), key=key, cell=cell)


def _jobs(extent: Extent) -> Iterator[tuple[str, Job]]:
    for cell, recipe in recipes(extent):
        yield cell, Job(recipe)
