"""Which detectors a server runs: each with its model, checked and warmed up at the start."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from app.falling.session import SHIPPED as FALLING
from app.falling.session import load as load_falling
from app.models import INACTIVITY, load_inactivity
from app.runners.detection import Detection
from app.runners.falling_cameras import FallingCameras
from app.runners.quiet_homes import QuietHomes
from app.settings import DetectSettings, Settings
from contracts.alert_data import ModelRef
from contracts.detector import Detector
from rules.zones import DEFAULT_ZONE, zone

Make = Callable[[], Detector]


def open_detection(settings: Settings, logger: structlog.stdlib.BoundLogger) -> Detection:
    """Raises `app.models.ModelError`."""
    return Detection([make() for make in open_models(settings.detect).values()], logger)


def open_models(detect: DetectSettings) -> dict[str, Make]:
    """Name -> what makes a detector; those of one name share their model. Raises `ModelError`."""
    found: dict[str, Make] = {}
    if detect.inactivity:
        found[QuietHomes.name] = _quiet_homes(detect)
    if detect.falling:
        found[FallingCameras.name] = _falling_cameras(detect)
    return found


def _quiet_homes(detect: DetectSettings) -> Make:
    folder = detect.inactivity_model or INACTIVITY
    infer, prior, _ = load_inactivity(folder)
    model = _named("inactivity", folder, None)
    info = zone(detect.zone or DEFAULT_ZONE).info
    return lambda: QuietHomes(infer, prior, model, info)


def _falling_cameras(detect: DetectSettings) -> Make:
    folder = detect.falling_model or FALLING
    infer, manifest = load_falling(folder)
    model = _named("falling", folder, manifest.threshold)
    return lambda: FallingCameras(infer, manifest.threshold, model)


def _named(detector: str, folder: Path, threshold: float | None) -> ModelRef:
    """What the log says of the model in this folder."""
    name = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return ModelRef(detector=detector, hash=name, threshold=threshold)
