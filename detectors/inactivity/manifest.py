"""What a model file claims to be, checked before it may judge anybody."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from detectors.inactivity.features import NAMES
from detectors.inactivity.prior import Prior
from detectors.inactivity.state import HALF_HOURS, SILENCES, TAIL


class WrongModel(Exception):
    """The model can't be used; the text says what is wrong and how to mend it."""


class PriorTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `prior.Prior`."""

    rate: tuple[tuple[float, ...], ...]
    exceeded: tuple[tuple[float, ...], ...]
    excess: tuple[float, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sha256: of the ONNX file. inputs: names of the features, in order. seed, homes, days: of the
    simulated homes that it was trained on. metrics: measured on simulated homes that it wasn't.
    budget: false alarms in 30 days of a home that the shipped rules accept. made_with: versions.
    """

    detector: str
    version: int
    sha256: str
    inputs: tuple[str, ...]
    output: str
    seed: int
    homes: int
    days: int
    metrics: dict[str, float]
    budget: float
    prior: PriorTable
    made_with: dict[str, str]


_manifest_decoder = msgspec.json.Decoder(Manifest)


def read_manifest(text: bytes, model: bytes) -> Manifest:
    """The manifest, if it belongs to this model and this program. Raises `WrongModel`."""
    try:
        manifest = _manifest_decoder.decode(text)
    except msgspec.DecodeError as error:
        raise WrongModel(f"manifest.json: {error}; take the manifest that came with it") from None
    if manifest.detector != "inactivity":
        raise WrongModel(f"manifest.json: detector: {manifest.detector!r}, not 'inactivity'")
    found = hashlib.sha256(model).hexdigest()
    if found != manifest.sha256:
        raise WrongModel(
            f"inactivity.onnx: sha256 {found[:16]}..., the manifest says "
            f"{manifest.sha256[:16]}...: it was changed; install it again"
        )
    if manifest.inputs != NAMES:
        raise WrongModel("manifest.json: inputs: not the features of this version; train again")
    _check_prior(manifest.prior)
    return manifest


def _check_prior(prior: PriorTable) -> None:
    rate, exceeded = np.array(prior.rate), np.array(prior.exceeded)
    if rate.shape != (HALF_HOURS, SILENCES) or not ((rate > 0) & (rate <= 10)).all():
        raise WrongModel("manifest.json: prior.rate: 48 rows of 8 rates above 0 are wanted")
    if exceeded.shape != (2, TAIL) or not (exceeded >= 0).all():
        raise WrongModel("manifest.json: prior.exceeded: two rows of 64 counts are wanted")
    if len(prior.excess) != 2 or min(prior.excess) <= 0:
        raise WrongModel("manifest.json: prior.excess: two numbers above 0 are wanted")


def prior_of(manifest: Manifest) -> Prior:
    table = manifest.prior
    return Prior(np.array(table.rate), np.array(table.exceeded), np.array(table.excess))
