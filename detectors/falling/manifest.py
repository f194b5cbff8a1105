"""The paper that goes with a model: what it is, what it wants, what it was measured at."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec

from detectors.falling.features import NAMES

FORMAT = 1


class WrongModel(Exception):
    """A model isn't the one that its manifest speaks of, or isn't for this detector."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """sha256: of the model file. inputs: names of the features, in their order. threshold: the
    model's output that becomes a score of 0.6. training: data, seeds, versions. metrics: on scenes
    that were neither learned from nor chosen by."""

    format: int
    detector: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    inputs: tuple[str, ...]
    threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    training: dict[str, Any] = {}
    metrics: dict[str, float] = {}


_manifest_decoder = msgspec.json.Decoder(Manifest)


def read_manifest(text: bytes, model: bytes) -> Manifest:
    """Raises `WrongModel`, with the field and the mend."""
    try:
        manifest = _manifest_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongModel(f"manifest.json: {error}; take the manifest made with the model") from None
    if manifest.format != FORMAT or manifest.detector != "falling":
        raise WrongModel(
            f"manifest.json: format {manifest.format} of {manifest.detector!r}; "
            f"this detector reads format {FORMAT} of 'falling'"
        )
    found = hashlib.sha256(model).hexdigest()
    if found != manifest.sha256:
        raise WrongModel(
            f"falling.onnx: sha256 is {found[:16]}..., the manifest says "
            f"{manifest.sha256[:16]}...; the model was changed: take both from one release"
        )
    if manifest.inputs != NAMES:
        raise WrongModel(
            "manifest.json: inputs are not this detector's features; train the model anew"
        )
    return manifest
