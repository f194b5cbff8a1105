"""Where the long runs keep their figures: benchmarks/results/torture.json."""

from __future__ import annotations

import json

from app.bench.document import document, render
from tests.parts.tools import ROOT

PATH = ROOT / "benchmarks" / "results" / "torture.json"


def keep(name: str, figures: dict[str, float]) -> None:
    """Put one test's figures in, in place of its earlier ones."""
    known: dict[str, float] = {}
    if PATH.exists():
        known = json.loads(PATH.read_text(encoding="utf-8"))["figures"]
    known = {key: value for key, value in known.items() if not key.startswith(f"{name}.")}
    known |= {f"{name}.{key}": value for key, value in figures.items()}
    made = document("torture", dict(sorted(known.items())), seed=7, settings={"cores_shared": True})
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(render(made) + "\n", encoding="utf-8")
