"""The model file into an inference: read, checked against its manifest, warmed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.models import ModelError
from detectors.falling.features import NAMES
from detectors.falling.manifest import Manifest, WrongModel, read_manifest
from detectors.falling.operator import FallingObjects, Infer

SHIPPED = Path(__file__).parents[2] / "detectors" / "falling" / "model"


def session(model: bytes) -> Infer:
    """An inference on one thread. Raises `ModelError` when the file is no such model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        run = onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        name, output = run.get_inputs()[0].name, run.get_outputs()[1].name
        run.run([output], {name: np.zeros((1, len(NAMES)), np.float32)})
    except Exception as error:  # noqa: BLE001 - onnxruntime's own errors have no common base.
        raise ModelError(f"falling.onnx: {str(error).splitlines()[0][:200]}") from None

    def infer(found: NDArray[np.float32]) -> NDArray[np.float32]:
        p: NDArray[np.float32] = run.run([output], {name: found})[0][:, 1]
        return p

    return infer


def load(folder: Path = SHIPPED) -> tuple[Infer, Manifest]:
    """Raises `ModelError` for a model that is missing, changed or for something else."""
    try:
        model = (folder / "falling.onnx").read_bytes()
        text = (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise ModelError(
            f"{error.filename}: can't be read ({error.strerror}); name a folder with "
            "falling.onnx and manifest.json"
        ) from None
    try:
        manifest = read_manifest(text, model)
    except WrongModel as error:
        raise ModelError(f"{folder}/{error}") from None
    return session(model), manifest


def detector(folder: Path = SHIPPED) -> FallingObjects:
    """The detector with the model in this folder. Raises `ModelError`."""
    infer, manifest = load(folder)
    return FallingObjects(infer, manifest.threshold)
