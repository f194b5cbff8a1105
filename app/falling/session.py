"""The model file into an inference: read, checked against its manifest, warmed up."""

from __future__ import annotations

from pathlib import Path

from app.models import ModelError, inference, model_files
from detectors.falling.features import NAMES
from detectors.falling.manifest import Manifest, WrongModel, read_manifest
from detectors.falling.operator import FallingObjects, Infer

SHIPPED = Path(__file__).parents[2] / "detectors" / "falling" / "model"


def session(model: bytes) -> Infer:
    """Raises `ModelError` when the file is no such model."""
    return inference("falling.onnx", model, len(NAMES))


def load(folder: Path = SHIPPED) -> tuple[Infer, Manifest]:
    """Raises `ModelError` for a model that is missing, changed or for something else."""
    model, text = model_files(folder, "falling.onnx")
    try:
        manifest = read_manifest(text, model)
    except WrongModel as error:
        raise ModelError(f"{folder}/{error}") from None
    return session(model), manifest


def detector(folder: Path = SHIPPED) -> FallingObjects:
    """The detector with the model in this folder. Raises `ModelError`."""
    infer, manifest = load(folder)
    return FallingObjects(infer, manifest.threshold)
