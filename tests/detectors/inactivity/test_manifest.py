"""The shipped model is what its manifest says; anything else is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.models import INACTIVITY, ModelError, inactivity_session, load_inactivity
from detectors.inactivity.features import NAMES


def placed(folder: Path, *, model: bytes | None = None, **changed: Any) -> Path:
    blob = (INACTIVITY / "inactivity.onnx").read_bytes() if model is None else model
    manifest = json.loads((INACTIVITY / "manifest.json").read_bytes()) | changed
    (folder / "inactivity.onnx").write_bytes(blob)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def prior_table(**changed: Any) -> dict[str, Any]:
    plain = {"rate": [[0.1] * 8] * 48, "exceeded": [[1.0] * 64] * 2, "excess": [1.0, 1.0]}
    return plain | changed


def test_the_shipped_model_is_small_and_gives_probabilities() -> None:
    infer, prior, manifest = load_inactivity()
    assert (INACTIVITY / "inactivity.onnx").stat().st_size < 100_000
    assert manifest.inputs == NAMES
    p = infer(np.random.default_rng(1).normal(size=(100, len(NAMES))).astype(np.float32))
    assert p.shape == (100,)
    assert ((p >= 0) & (p <= 1)).all()
    assert (prior.rate > 0).all()
    assert manifest.metrics["log_loss"] < manifest.metrics["log_loss_of_own_rate_alone"]


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    blob = bytearray((INACTIVITY / "inactivity.onnx").read_bytes())
    blob[len(blob) // 2] ^= 1
    with pytest.raises(ModelError, match=r"inactivity\.onnx: sha256 .* was changed"):
        load_inactivity(placed(tmp_path, model=bytes(blob)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"detector": "falling"}, "detector: 'falling'"),
        ({"inputs": list(NAMES[1:])}, "inputs: not the features"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"prior": prior_table(rate=[[0.1] * 8] * 47)}, "48 rows"),
        ({"prior": prior_table(rate=[[0.0] * 8] * 48)}, "above 0"),
        ({"prior": prior_table(exceeded=[[1.0] * 64])}, "two rows of 64"),
        ({"prior": prior_table(excess=[1.0, 0.0])}, "excess: two numbers above 0"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_inactivity(placed(tmp_path, **changed))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    blob = b"not a model"
    folder = placed(tmp_path, model=blob, sha256=hashlib.sha256(blob).hexdigest())
    with pytest.raises(ModelError, match=r"inactivity\.onnx"):
        load_inactivity(folder)
    with pytest.raises(ModelError):
        inactivity_session(blob)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"inactivity\.onnx: can't be read"):
        load_inactivity(tmp_path)
