"""From simulated homes to the model of quiet homes: prior, classifier, tail. Reproducible by seed.

1. The detector runs with its homes' own rates only; what it counts, pooled, is the prior.
2. It runs again with that prior. At a sample of its ticks its features are kept, and whether
   somebody was active within the next ten minutes. A small network learns the one from the other.
3. With the network it runs over homes that weren't trained on: how surprising silences get there is
   the tail that a new home begins with, and the metrics are measured.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from importlib import metadata
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from skl2onnx import to_onnx
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from detectors.inactivity.alarms import BUDGET
from detectors.inactivity.features import NAMES
from detectors.inactivity.layout import Role
from detectors.inactivity.learning import TAIL_PER_MONTH
from detectors.inactivity.manifest import Manifest, PriorTable
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.presence import HomeState
from detectors.inactivity.prior import BIN, Prior
from detectors.inactivity.silence import HORIZON_MIN, Infer
from detectors.inactivity.state import TAIL, UNIT
from detectors.training.homes import simulate_homes

STEP_MIN = 5
FEED_MS = 86_400_000
SAMPLE = 0.6
HEAVIER = 1.5
"""Real silences have a heavier tail than simulated ones: chosen on the part for choosing of
docs/inactivity-evaluation.md."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is simulated. The shipped model is made with the defaults."""

    seed: int = 1
    homes: int = 120
    checked: int = 60
    days: int = 60
    sample: float = SAMPLE


@dataclass(frozen=True, slots=True)
class Trained:
    """model: ONNX bytes. manifest: JSON bytes."""

    model: bytes
    manifest: bytes
    metrics: dict[str, float]


def train(
    plan: Plan, zone: tzinfo, session: Callable[[bytes], Infer], say: Callable[[str], None]
) -> Trained:
    """session: makes an inference out of ONNX bytes. say: told what is being done."""
    stream = simulate_homes(plan.homes, seed=plan.seed, days=plan.days, zone=zone)
    say(f"{plan.homes} simulated homes, {len(stream[1])} rows; counting")
    first = _run(stream, None, Prior.flat())
    prior = Prior(_pooled_rate(first), Prior.flat().exceeded, Prior.flat().excess)
    say("gathering examples")
    examples = _Examples(np.random.default_rng(plan.seed), plan.sample)
    _run(stream, None, prior, examples.look)
    x, y = examples.arrays()
    say(f"learning from {len(y)} examples")
    pipeline = _fit(x, y, plan.seed)
    model = _export(pipeline, x[:1])
    infer = session(model.SerializeToString())
    say("checking on homes that weren't learnt from")
    held = simulate_homes(plan.checked, seed=plan.seed, days=plan.days, zone=zone, prefix="check")
    kept = _Examples(np.random.default_rng(plan.seed + 1), plan.sample)
    last = _run(held, infer, prior, kept.look)
    metrics = _metrics(kept.arrays(), pipeline, infer)
    blob = model.SerializeToString()
    rate = tuple(tuple(float(f"{v:.4g}") for v in row) for row in prior.rate)
    tails = [_tail(last, door) for door in (0, 1)]
    manifest = Manifest(
        detector="inactivity",
        version=1,
        sha256=hashlib.sha256(blob).hexdigest(),
        inputs=NAMES,
        output="probability of activity within 10 min",
        seed=plan.seed,
        homes=plan.homes,
        days=plan.days,
        metrics={name: round(value, 5) for name, value in metrics.items()},
        budget=BUDGET,
        prior=PriorTable(
            rate=rate,
            exceeded=tuple(tuple(float(f"{v:.4g}") for v in one) for one, _ in tails),
            excess=tuple(round(excess, 3) for _, excess in tails),
        ),
        made_with={name: metadata.version(name) for name in ("scikit-learn", "skl2onnx", "onnx")},
    )
    return Trained(blob, msgspec.json.format(msgspec.json.encode(manifest), indent=1), metrics)


Stream = tuple[Any, NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def _run(
    stream: Stream,
    infer: Infer | None,
    prior: Prior,
    look: Callable[[InactivityOperator], None] | None = None,
) -> InactivityOperator:
    layout, sensor, ts, value = stream
    operator = InactivityOperator(layout, infer, prior, step_min=STEP_MIN)
    edges = np.arange(int(ts[0]), int(ts[-1]) + FEED_MS, FEED_MS)
    cuts = np.searchsorted(ts, edges)
    for first, last, until in zip(cuts[:-1], cuts[1:], edges[1:].tolist(), strict=True):
        operator.feed(sensor[first:last], ts[first:last], value[first:last])
        while (at := operator.next_ms()) is not None and at < until:
            operator.tick(at)
            if look is not None:
                look(operator)
    return operator


def _pooled_rate(operator: InactivityOperator) -> NDArray[np.float64]:
    """Over homes and kinds of day, drawn to the average of the class of silence."""
    home = operator.state.home
    events = home["events"].sum(axis=(0, 1)).astype(np.float64)
    spent = home["spent"].sum(axis=(0, 1)).astype(np.float64)
    overall = (events.sum(axis=0) + UNIT) / (spent.sum(axis=0) + 600.0 * UNIT)
    weight = 600.0 * UNIT
    return np.asarray((events + weight * overall) / (spent + weight))


class _Examples:
    """Features at ticks, and what came of them ten minutes later."""

    def __init__(self, rng: np.random.Generator, share: float) -> None:
        self._rng, self._share = rng, share
        self._open: deque[tuple[int, NDArray[np.intp], NDArray[np.float32]]] = deque()
        self._x: list[NDArray[np.float32]] = []
        self._y: list[NDArray[np.bool_]] = []

    def look(self, operator: InactivityOperator) -> None:
        home, now = operator.state.home, operator.state.tick_ms
        while self._open and self._open[0][0] <= now - HORIZON_MIN * 60_000:
            at, rows, found = self._open.popleft()
            known = home["state"][rows] != HomeState.UNKNOWN
            self._x.append(found[known])
            self._y.append(home["since_ms"][rows[known]] > at)
        rows = operator.silences.seen_rows
        pick = self._rng.random(len(rows)) < self._share
        # Those that were active in this very tick are in no silence any more.
        pick &= home["surprise"][rows] > 0
        if pick.any():
            self._open.append((now, rows[pick], operator.silences.seen[pick]))

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return np.concatenate(self._x), np.concatenate(self._y)


def _fit(x: NDArray[np.float32], y: NDArray[np.bool_], seed: int) -> Pipeline:
    network = MLPClassifier(
        hidden_layer_sizes=(24, 12),
        activation="tanh",
        alpha=1e-3,
        batch_size=512,
        learning_rate_init=2e-3,
        max_iter=12,
        random_state=seed,
        early_stopping=False,
        n_iter_no_change=20,
    )
    pipeline = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        # The number of rounds is fixed: it is what makes a training reproducible.
        warnings.simplefilter("ignore")
        pipeline.fit(x, y)
    return pipeline


def _export(pipeline: Pipeline, sample: NDArray[np.float32]) -> ModelProto:
    model: ModelProto = to_onnx(pipeline, sample, options={"zipmap": False}, target_opset=15)
    return model


def _metrics(
    examples: tuple[NDArray[np.float32], NDArray[np.bool_]], pipeline: Pipeline, infer: Infer
) -> dict[str, float]:
    x, y = examples
    p = infer(x).astype(np.float64)
    own = pipeline.predict_proba(x)[:, 1]
    alone = 1 - np.exp(-HORIZON_MIN * np.exp(x[:, 1].astype(np.float64)))
    return {
        "examples": float(len(y)),
        "active_share": float(y.mean()),
        "log_loss": float(log_loss(y, p)),
        "log_loss_of_own_rate_alone": float(log_loss(y, np.clip(alone, 1e-6, 1 - 1e-6))),
        "auc": float(roc_auc_score(y, p)),
        "export_max_difference": float(np.abs(p - own).max()),
    }


def _tail(operator: InactivityOperator, door: int) -> tuple[NDArray[np.float64], float]:
    """How often a day silences get how surprising, and the mean excess of the tail; of the homes
    with a front door sensor (1) or without (0)."""
    home, layout = operator.state.home, operator.layout
    doors = np.bincount(layout.home[layout.role == Role.FRONT_DOOR], minlength=len(layout.homes))
    mine = np.minimum(doors, 1) == door
    counts = home["tail"][mine].sum(axis=0) / UNIT
    days = home["days"][mine].sum() / 256.0
    exceeded = counts[::-1].cumsum()[::-1] / max(days, 1.0)
    at = max(int((exceeded >= TAIL_PER_MONTH / 30.0).sum()) - 1, 0)
    middle = (np.arange(TAIL) + 0.5) * BIN
    beyond = np.maximum(middle - at * BIN, 0.0)[at:]
    excess = float((counts[at:] * beyond).sum() / max(counts[at:].sum(), 1.0))
    return exceeded, max(excess * HEAVIER, 0.5)
