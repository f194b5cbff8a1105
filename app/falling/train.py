"""The model of falling objects, from generated scenes alone. Nothing that runs imports this.

The same seed, versions and processor give the same bytes; on another processor the encoder's last
bits may differ, and with them single splits of the trees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
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
from app.falling.variants import pieces
from contracts.tracklets import TrackletBatch
from detectors.falling.features import NAMES, describe, may_have_fallen
from detectors.falling.manifest import FORMAT, Manifest

Ints = NDArray[np.int64]

PACKAGES = ("av", "numpy", "onnx", "opencv-python-headless", "scikit-learn", "skl2onnx")
BUSY, LIVELY = 5.0, 2.0
"""Distractors against ordinary ones, of scenes without throws and of those with them: false alarms
are what is to be learned."""
HUNTED, HUNTED_RATE = ("birds", "insects", "lift"), 12.0
"""What is mistaken for a fall more often than all else, alone and by how many times: six minutes'
worth of them in half a minute of picture."""
HUNTS_FROM = 50_000
"""Seeds of those scenes, beyond the others of a plan."""
SPACING_S = 0.9
"""Between two throws of a scene to learn from: a minute of picture costs the same however many."""
WHOLE_S, WHOLE_POINTS, WHOLE_DROP = 0.4, 8, 0.04
"""A thrown thing's tracklet that is shorter is left out: it looks like anything, and the throw has
better ones. drop: share of the picture's height."""
PIECES_OF_OTHERS, PIECES_OF_THROWN = 3, 2
FOLDS = 3
PARITY = 1e-4
"""By how much the exported model's probabilities may differ from the trees'."""
FALSE_EACH_HOUR = 0.5
"""False events of an ordinary hour that the threshold is chosen for; the promise is one."""
LEAST_THRESHOLD, MOST_THRESHOLD = 0.5, 0.995


@dataclass(frozen=True, slots=True)
class Plan:
    """scenes: to learn from; half of them have no throw. choose: for the threshold; two of three
    have none. hunts: scenes of what is mistaken most (`HUNTED`), and half as many again for the
    threshold."""

    seed: int = 1
    scenes: int = 64
    choose: int = 30
    hunts: int = 12
    seconds: float = 30.0
    width: int = 1280
    height: int = 720
    glides: int = 1500
    trees: int = 160
    depth: int = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """Tracklets of scenes. owner: int64[n], the thrown thing, -1 = none. scene: int64[n], number
    of the scene. hours: float64[scenes], without throws, as ordinary ones would be; 0 where there
    are throws. hunted: bool[scenes], whether only of `HUNTED`."""

    tracklets: TrackletBatch
    owner: Ints
    scene: Ints
    hours: NDArray[np.float64]
    hunted: NDArray[np.bool_]

    @property
    def thrown(self) -> NDArray[np.bool_]:
        return np.asarray(self.owner >= 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """x: float32[n, features]. y: bool[n], whether thrown. scene: int64[n], -1 = of none."""

    x: NDArray[np.float32]
    y: NDArray[np.bool_]
    scene: Ints


@dataclass(frozen=True, slots=True)
class Trained:
    model: bytes
    manifest: bytes
    metrics: dict[str, float]
    parity: float


def gather(plan: Plan, part: Part, shelf: Shelf) -> Seen:
    """Tracklets of scenes, calibrated and not in turns."""
    batches, owners, scenes = [], [np.empty(0, np.int64)], []
    hours, hunted = [], []
    for number, (job, seen) in enumerate(shelf.watched(jobs(plan, part))):
        batches.append(seen.tracklets)
        owners.append(seen.owner)
        scenes += [number] * len(seen.owner)
        recipe = job.recipe
        hours.append(0.0 if recipe.throws else recipe.seconds * recipe.rate / 3600)
        hunted.append(recipe.distractors == HUNTED)
    return Seen(
        TrackletBatch.join(batches),
        np.concatenate(owners),
        np.array(scenes, np.int64),
        np.array(hours),
        np.array(hunted),
    )


def jobs(plan: Plan, part: Part) -> Iterator[Job]:
    """Scenes to learn from, or to choose the threshold by."""
    learns = part is Part.TRAIN
    every = 2 if learns else 3
    common = Recipe(part, 0, seconds=plan.seconds, width=plan.width, height=plan.height, throws=0)
    for number in range(plan.scenes if learns else plan.choose):
        thrown = number % every == 0
        recipe = replace(
            common,
            seed=plan.seed * 100_000 + number,
            throws=int(plan.seconds / SPACING_S) if thrown else 0,
            spacing_s=SPACING_S,
            rate=LIVELY if thrown else BUSY,
        )
        yield Job(recipe, calibrated=number % 4 < 2, limited=False)
    common = replace(common, rate=HUNTED_RATE, distractors=HUNTED)
    for number in range(plan.hunts if learns else plan.hunts // 2):
        recipe = replace(common, seed=plan.seed * 100_000 + HUNTS_FROM + number)
        yield Job(recipe, calibrated=number % 4 < 2, limited=False)


def sample(plan: Plan, seen: Seen) -> Sample:
    """What is learned from: tracklets, pieces of them, and things that come down without speeding
    up. What physics rules out is among them: without it the model was worse on other scenes."""
    xs, ys, scenes = [describe(seen.tracklets).matrix], [seen.thrown], [seen.scene]
    for thrown, each, least in ((False, PIECES_OF_OTHERS, 0.0), (True, PIECES_OF_THROWN, 0.5)):
        rows = np.flatnonzero(seen.thrown == thrown)
        more = pieces(seen.tracklets.take(rows), each, least, plan.seed)
        xs.append(describe(more.tracklets).matrix)
        ys.append(np.full(len(more.of), thrown))
        scenes.append(seen.scene[rows][more.of])
    gliding = describe(glides(plan.glides, plan.seed)).matrix
    x, y = np.concatenate([*xs, gliding]), np.concatenate([*ys, np.zeros(len(gliding), bool)])
    scene = np.concatenate([*scenes, np.full(len(gliding), -1)])
    kept = ~y | _is_whole(x)
    return Sample(x[kept], y[kept], scene[kept])


def _is_whole(x: NDArray[np.float32]) -> NDArray[np.bool_]:
    column = dict(zip(NAMES, x.T, strict=True))
    return np.asarray(
        (column["seconds"] >= WHOLE_S)
        & (column["points"] >= WHOLE_POINTS)
        & (column["drop"] >= WHOLE_DROP)
    )


def train(plan: Plan, shelf: Shelf) -> Trained:
    """Scenes, model, threshold, manifest."""
    return fit(plan, gather(plan, Part.TRAIN, shelf), gather(plan, Part.CHOOSE, shelf))


def fit(plan: Plan, learned: Seen, chosen: Seen) -> Trained:
    """The model of gathered tracklets. Its threshold is chosen by scenes that it didn't learn from:
    those of the part for choosing, and those of each fold by a model of the other folds."""
    material = sample(plan, learned)
    model = _trees(plan, material)
    x, x_chosen = describe(learned.tracklets).matrix, describe(chosen.tracklets).matrix
    apart = _by_the_other_folds(plan, material, x, learned.scene)
    p = np.concatenate([apart, model.predict_proba(x_chosen)[:, 1]])
    may = [may_have_fallen(describe(seen.tracklets)) for seen in (learned, chosen)]
    p = np.where(np.concatenate(may), p, 0.0)
    threshold, metrics = _chosen_by(p, learned, chosen)
    data = exported(model)
    # What runs is the exported model: it must say what the trees say.
    seen = np.concatenate([material.x, x_chosen])
    parity = float(np.abs(session(data)(seen) - model.predict_proba(seen)[:, 1]).max())
    if parity > PARITY:
        raise ValueError(f"the exported model is off by {parity:.2g}")
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


def _chosen_by(
    p: NDArray[np.float64], learned: Seen, chosen: Seen
) -> tuple[float, dict[str, float]]:
    """(threshold, what it gives). p: of every tracklet of both, by a model that didn't learn from
    its scene."""
    owner = np.concatenate([learned.owner, chosen.owner])
    scene = np.concatenate([learned.scene, chosen.scene + len(learned.hours)])
    hours = np.concatenate([learned.hours, chosen.hours])
    hunted = np.concatenate([learned.hunted, chosen.hunted])
    empty = hours > 0
    # Both kinds of scenes must keep the promise, each by its own hours.
    kinds = {"": empty & ~hunted, "_hunted": empty & hunted}
    threshold = max(choose_threshold(p[of[scene]], float(hours[of].sum())) for of in kinds.values())
    throws = np.unique(np.stack([scene, owner], 1)[owner >= 0], axis=0)
    found = np.unique(np.stack([scene, owner], 1)[(owner >= 0) & (p >= threshold)], axis=0)
    metrics = {
        "learned_thrown": float(learned.thrown.sum()),
        "learned_others": float((~learned.thrown).sum()),
        "chosen_thrown": float(chosen.thrown.sum()),
        "chosen_others": float((~chosen.thrown).sum()),
        "throws_apart": float(len(throws)),
        "throws_found_apart": len(found) / max(len(throws), 1),
    }
    for name, of in kinds.items():
        metrics[f"hours_apart{name}"] = float(hours[of].sum())
        metrics[f"false_apart{name}"] = float((p[of[scene]] >= threshold).sum())
    return threshold, metrics


def _trees(plan: Plan, material: Sample) -> GradientBoostingClassifier:
    model = GradientBoostingClassifier(
        n_estimators=plan.trees,
        max_depth=plan.depth,
        learning_rate=0.12,
        min_samples_leaf=8,
        subsample=0.4,
        max_features=10,
        init="zero",
        random_state=plan.seed,
    )
    # Both kinds weigh the same, however many of each there are.
    share = material.y.mean()
    weights = np.where(material.y, 0.5 / share, 0.5 / (1 - share))
    return model.fit(material.x, material.y, sample_weight=weights)


def _by_the_other_folds(
    plan: Plan, material: Sample, x: NDArray[np.float32], scene: Ints
) -> NDArray[np.float64]:
    """What a model says of each tracklet that learned nothing from its scene. Scenes with throws
    and without come in turns, so that a pair of them is in one fold."""
    p = np.zeros(len(x))
    for fold in range(FOLDS):
        out = scene // 2 % FOLDS == fold
        kept = (material.scene < 0) | (material.scene // 2 % FOLDS != fold)
        if not out.any():
            continue
        part = Sample(material.x[kept], material.y[kept], material.scene[kept])
        if 0 < part.y.sum() < len(part.y):
            p[out] = _trees(plan, part).predict_proba(x[out])[:, 1]
    return p


def choose_threshold(p: NDArray[np.float64], hours: float) -> float:
    """The least that lets `FALSE_EACH_HOUR` pass, to the nearest whole event, of what was seen
    without throws, in its bounds."""
    others = np.sort(p)[::-1]
    allowed = round(hours * FALSE_EACH_HOUR)
    if len(others) <= allowed:
        return LEAST_THRESHOLD
    # Above the first that must not pass, by a tenth of its odds.
    odds = 1.1 * others[allowed] / max(1 - others[allowed], 1e-9)
    return float(np.clip(odds / (1 + odds), LEAST_THRESHOLD, MOST_THRESHOLD))


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
