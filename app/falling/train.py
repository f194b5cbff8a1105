"""The model of falling objects, from generated scenes alone. Nothing that runs imports this.

The same seed, versions and processor give the same bytes; on another processor the encoder's last
bits may differ, and with them single splits of the trees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

from app.falling.glides import glides
from app.falling.scenes import VERSION, Part, Recipe
from app.falling.session import session
from app.falling.shelf import Job, Shelf
from detectors.falling.features import NAMES, describe
from detectors.falling.manifest import FORMAT, Manifest

PACKAGES = ("av", "numpy", "onnx", "opencv-python-headless", "scikit-learn", "skl2onnx")
BUSY, LIVELY = 5.0, 2.0
"""Distractors against ordinary ones, of scenes without throws and of those with them: false alarms
are what is to be learned."""
SPACING_S = 0.9
"""Between two throws of a scene to learn from: a minute of picture costs the same however many."""
PARITY = 1e-4
"""By how much the exported model's probabilities may differ from the trees'."""
FALSE_SHARE = 0.002
"""Of the distractors' tracklets in the part for choosing that may pass the threshold."""


@dataclass(frozen=True, slots=True)
class Plan:
    """scenes: to learn from; half of them have no throw. choose: for the threshold; two of three
    have none."""

    seed: int = 1
    scenes: int = 100
    choose: int = 60
    seconds: float = 30.0
    width: int = 1280
    height: int = 720
    glides: int = 1500
    trees: int = 120
    depth: int = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """x: float32[n, features]. y: bool[n], whether thrown. scene: int64[n]."""

    x: NDArray[np.float32]
    y: NDArray[np.bool_]
    scene: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    model: bytes
    manifest: bytes
    metrics: dict[str, float]
    parity: float


def gather(plan: Plan, part: Part, count: int, shelf: Shelf) -> Sample:
    """Tracklets of scenes, calibrated and not in turns."""
    xs, ys, scenes = [np.empty((0, len(NAMES)), np.float32)], [np.empty(0, bool)], []
    for number, (_, seen) in enumerate(shelf.watched(_jobs(plan, part, count))):
        xs.append(describe(seen.tracklets).matrix)
        ys.append(seen.owner >= 0)
        scenes += [number] * len(seen.owner)
    return Sample(np.concatenate(xs), np.concatenate(ys), np.array(scenes, np.int64))


def with_glides(plan: Plan, sample: Sample) -> Sample:
    """The sample, and things that come down without speeding up."""
    x = describe(glides(plan.glides, plan.seed)).matrix
    return Sample(
        np.concatenate([sample.x, x]),
        np.concatenate([sample.y, np.zeros(len(x), bool)]),
        np.concatenate([sample.scene, np.full(len(x), -1)]),
    )


def _jobs(plan: Plan, part: Part, count: int) -> Iterator[Job]:
    every = 2 if part is Part.TRAIN else 3
    for number in range(count):
        thrown = number % every == 0
        recipe = Recipe(
            part,
            plan.seed * 100_000 + number,
            seconds=plan.seconds,
            width=plan.width,
            height=plan.height,
            throws=int(plan.seconds / SPACING_S) if thrown else 0,
            spacing_s=SPACING_S,
            rate=LIVELY if thrown else BUSY,
        )
        yield Job(recipe, calibrated=number % 4 < 2, limited=False)


def train(plan: Plan, shelf: Shelf) -> Trained:
    """Scenes, model, threshold, manifest."""
    learned = with_glides(plan, gather(plan, Part.TRAIN, plan.scenes, shelf))
    chosen = gather(plan, Part.CHOOSE, plan.choose, shelf)
    return fit(plan, learned, chosen)


def fit(plan: Plan, learned: Sample, chosen: Sample) -> Trained:
    """The model of gathered tracklets."""
    model = GradientBoostingClassifier(
        n_estimators=plan.trees,
        max_depth=plan.depth,
        learning_rate=0.1,
        min_samples_leaf=8,
        subsample=0.8,
        init="zero",
        random_state=plan.seed,
    )
    # Both kinds weigh the same, however many of each there are.
    share = learned.y.mean()
    weights = np.where(learned.y, 0.5 / share, 0.5 / (1 - share))
    model.fit(learned.x, learned.y, sample_weight=weights)
    p = model.predict_proba(chosen.x)[:, 1]
    threshold = choose_threshold(p, chosen.y)
    data = exported(model)
    # What runs is the exported model: it must say what the trees say.
    seen = np.concatenate([learned.x, chosen.x])
    parity = float(np.abs(session(data)(seen) - model.predict_proba(seen)[:, 1]).max())
    if parity > PARITY:
        raise ValueError(f"the exported model is off by {parity:.2g}")
    metrics = {
        "learned_thrown": float(learned.y.sum()),
        "learned_others": float((~learned.y).sum()),
        "chosen_thrown": float(chosen.y.sum()),
        "chosen_others": float((~chosen.y).sum()),
        "chosen_recall": float((p[chosen.y] >= threshold).mean()) if chosen.y.any() else 0.0,
        "chosen_false_share": float((p[~chosen.y] >= threshold).mean())
        if not chosen.y.all()
        else 0.0,
    }
    training: dict[str, Any] = {
        "data": f"generated scenes, version {VERSION}; no recorded picture",
        "plan": asdict(plan),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
    manifest = Manifest(
        format=FORMAT,
        detector="falling",
        sha256=hashlib.sha256(data).hexdigest(),
        inputs=NAMES,
        threshold=round(threshold, 6),
        training=training,
        metrics={name: round(value, 5) for name, value in metrics.items()},
    )
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    return Trained(data, text, metrics, parity)


def choose_threshold(p: NDArray[np.float64], thrown: NDArray[np.bool_]) -> float:
    """The least that lets at most `FALSE_SHARE` of the others pass, from 0.3 to 0.98."""
    others = np.sort(p[~thrown])[::-1]
    allowed = int(len(others) * FALSE_SHARE)
    least = float(others[allowed]) + 1e-3 if len(others) > allowed else 0.5
    return float(np.clip(least, 0.3, 0.98))


def exported(model: GradientBoostingClassifier) -> bytes:
    """As ONNX, probabilities as a plain matrix."""
    example = np.zeros((1, len(NAMES)), np.float32)
    found = to_onnx(
        model, example, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}
    )
    # Neither a name nor a time in it may make the same trees other bytes.
    found.graph.name = "falling"
    found.doc_string = ""
    return bytes(found.SerializeToString(deterministic=True))
