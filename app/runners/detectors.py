"""Which detectors a server runs: each with its model, checked and warmed up at the start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import structlog

from app.falling.session import SHIPPED as FALLING
from app.falling.session import load as load_falling
from app.models import INACTIVITY, load_inactivity
from app.runners.detection import Detection
from app.runners.falling_cameras import FallingCameras
from app.runners.quiet_homes import QuietHomes
from app.settings import Settings
from contracts.alert_data import ModelRef
from contracts.detector import Detector
from rules.zones import DEFAULT_ZONE, zone


def open_detection(settings: Settings, logger: structlog.stdlib.BoundLogger) -> Detection:
    """Raises `app.models.ModelError`."""
    detectors: list[Detector] = []
    if settings.detect.inactivity:
        detectors.append(quiet_homes(settings))
    if settings.detect.falling:
        detectors.append(falling_cameras(settings))
    return Detection(detectors, logger)


def quiet_homes(settings: Settings) -> QuietHomes:
    folder = settings.detect.inactivity_model or INACTIVITY
    infer, prior, _ = load_inactivity(folder)
    model = _named("inactivity", folder, None)
    return QuietHomes(infer, prior, model, zone(settings.detect.zone or DEFAULT_ZONE).info)


def falling_cameras(settings: Settings) -> FallingCameras:
    folder = settings.detect.falling_model or FALLING
    infer, manifest = load_falling(folder)
    model = _named("falling", folder, manifest.threshold)
    return FallingCameras(infer, manifest.threshold, model)


def _named(detector: str, folder: Path, threshold: float | None) -> ModelRef:
    """What the log says of the model in this folder."""
    name = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return ModelRef(detector=detector, hash=name, threshold=threshold)
