"""`gridwarden evaluate falling`: events, not boxes, on generated scenes and on recorded clips.

Cells of throws and hours without any are scenes of the part that nothing was learned from or
chosen by, painted, encoded with H.264 and decoded again. A throw is found when an event is told
of it; a second event of the same throw is a false alarm, as is one of anything else. Outcomes are
kept scene by scene, so that an evaluation that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.falling.lab import watch
from app.falling.outcomes import Outcome, judge
from app.falling.scenes import Part, Recipe, draw
from app.falling.session import SHIPPED, detector, load

ROOT = Path(__file__).parents[2]
JUDGED_BY = ("edge/camera", "detectors/falling", "contracts/tracklets.py", "app/falling/scenes.py",
             "app/falling/render.py", "app/falling/lab.py", "app/falling/outcomes.py")  # fmt: skip
"""What an outcome hangs on: with another text of any of it, it is reckoned anew."""


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
    found = hashlib.sha256()
    for name in JUDGED_BY:
        path = ROOT / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    found.update((folder / "manifest.json").read_bytes())
    return found.hexdigest()[:16]


def run(
    extent: Extent,
    *,
    folder: Path = SHIPPED,
    work: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Outcomes of every scene that there was time for. work: a folder to keep them in.

    Raises `ModelError`, OSError.
    """
    load(folder)
    mark = digest(folder)
    kept = _kept(work, mark)
    begin = time.monotonic()
    done: list[Outcome] = []
    listed = list(recipes(extent))
    for number, (cell, recipe) in enumerate(listed):
        key = f"{mark}/{cell}/{recipe.seed}/{recipe.seconds:g}"
        if key not in kept:
            if time.monotonic() - begin > extent.most_s:
                say(f"time is up after {len(done)} of {len(listed)} scenes")
                break
            scene = draw(recipe)
            kept[key] = judge(scene, watch(scene), detector(folder), key=key, cell=cell)
            _keep(work, kept[key])
            hits = sum(throw.told > 0 for throw in kept[key].throws)
            say(
                f"{number + 1}/{len(listed)} {cell} {recipe.seed}: {hits} of "
                f"{len(kept[key].throws)} told, {len(kept[key].false)} false"
            )
        done.append(kept[key])
    return done


def _kept(work: Path | None, mark: str) -> dict[str, Outcome]:
    if work is None:
        return {}
    work.mkdir(parents=True, exist_ok=True)
    file = work / "outcomes.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    decode = msgspec.json.Decoder(Outcome).decode
    found: Sequence[Outcome] = [
        decode(line) for line in lines if line.startswith(b'{"key":"' + mark.encode())
    ]
    return {one.key: one for one in found}


def _keep(work: Path | None, outcome: Outcome) -> None:
    if work is not None:
        with (work / "outcomes.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(outcome) + b"\n")
