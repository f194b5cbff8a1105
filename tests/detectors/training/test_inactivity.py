"""Training in small: from a seed to a model that is checked and loads."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.models import inactivity_session, load_inactivity
from detectors.inactivity.manifest import Manifest
from detectors.training.homes import simulate_home
from detectors.training.inactivity import Plan, Trained, train
from rules.zones import zone

PLAN = Plan(seed=5, homes=6, checked=3, days=8)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(PLAN, zone("Asia/Shanghai").info, inactivity_session, lambda _: None)


def test_the_export_says_what_the_network_says(trained: Trained) -> None:
    assert trained.metrics["export_max_difference"] < 1e-5
    assert trained.metrics["auc"] > 0.7


def test_what_was_trained_loads(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "inactivity.onnx").write_bytes(trained.model)
    (tmp_path / "manifest.json").write_bytes(trained.manifest)
    _, _, manifest = load_inactivity(tmp_path)
    assert (manifest.seed, manifest.homes, manifest.days) == (5, 6, 8)


def test_the_same_seed_gives_the_same_model(trained: Trained) -> None:
    again = train(PLAN, zone("Asia/Shanghai").info, inactivity_session, lambda _: None)
    one = msgspec.json.decode(trained.manifest, type=Manifest)
    other = msgspec.json.decode(again.manifest, type=Manifest)
    assert one.sha256 == other.sha256
    assert one.prior == other.prior


def test_the_same_seed_gives_the_same_home_and_another_one_another() -> None:
    one, same, other = (simulate_home("h", seed=seed, days=2) for seed in (1, 1, 2))
    assert one.ts_ms.tolist() == same.ts_ms.tolist()
    assert one.ts_ms.tolist() != other.ts_ms.tolist()
