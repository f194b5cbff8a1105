"""Model files into sessions: read, checked against their manifest, warmed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detectors.inactivity.features import NAMES
from detectors.inactivity.manifest import Manifest, WrongModel, prior_of, read_manifest
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer

INACTIVITY = Path(__file__).parents[1] / "detectors" / "inactivity" / "model"
"""The shipped model of quiet homes."""


class ModelError(Exception):
    """A model can't be used; the text names the file, the field and the mend."""


def inference(file: str, model: bytes, features: int) -> Infer:
    """The probability of class 1 for float32 rows of so many features, on one thread: many small
    batches, beside others that need the cores.

    Raises `ModelError`, naming `file`, when the bytes are no such model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        name, output = session.get_inputs()[0].name, session.get_outputs()[1].name

        def infer(found: NDArray[np.float32]) -> NDArray[np.float32]:
            p: NDArray[np.float32] = session.run([output], {name: found})[0][:, 1]
            return p

        infer(np.zeros((2, features), np.float32))
    except Exception as error:  # noqa: BLE001 - onnxruntime's own errors have no common base.
        raise ModelError(f"{file}: {str(error).splitlines()[0][:200]}") from None
    return infer


def model_files(folder: Path, file: str) -> tuple[bytes, bytes]:
    """The bytes of a model and of the manifest beside it. Raises `ModelError`."""
    try:
        return (folder / file).read_bytes(), (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise ModelError(
            f"{error.filename}: can't be read ({error.strerror}); name a folder with "
            f"{file} and manifest.json"
        ) from None


def inactivity_session(model: bytes) -> Infer:
    """Raises `ModelError` when the file is no such model."""
    return inference("inactivity.onnx", model, len(NAMES))


def load_inactivity(folder: Path = INACTIVITY) -> tuple[Infer, Prior, Manifest]:
    """Raises `ModelError`."""
    model, text = model_files(folder, "inactivity.onnx")
    try:
        manifest = read_manifest(text, model)
    except WrongModel as error:
        raise ModelError(f"{folder}/{error}") from None
    return inactivity_session(model), prior_of(manifest), manifest
