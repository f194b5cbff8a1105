"""The one document that `bench` and `evaluate` print."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "msgspec",
    "paho-mqtt",
    "fastapi",
    "uvicorn",
    "iotcore",
    "av",
    "opencv-python-headless",
    "onnxruntime",
)


def document(
    name: str, figures: dict[str, float], *, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """`figures` by name, and what they were measured on. `settings` says how."""
    return {
        "name": name,
        "version": metadata.version("gridwarden"),
        "machine": machine(),
        "seed": seed,
        "settings": settings,
        "figures": {key: round(value, 4) for key, value in figures.items()},
    }


def machine() -> dict[str, Any]:
    """The machine without its name: processor, cores, memory, versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def render(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
