"""What lies in deploy/, read: compose, manifests, units, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.parts.tools import ROOT

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yml").read_text("utf-8"))
    return found


def manifests() -> list[tuple[Path, dict[str, Any]]]:
    """(file, object) of every object of the base."""
    return [
        (path, one)
        for path in sorted(BASE.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for one in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for _, one in manifests() if one["kind"] in kinds]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """(name, pod's spec)."""
    return [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in of_kind("Deployment", "StatefulSet", "Job")
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, arguments of `gridwarden`) of every command line in deploy/."""
    for name, service in compose()["services"].items():
        if service["image"].startswith("gridwarden"):
            yield f"compose {name}", service["command"]
    for name, pod in pods():
        for container in pod["containers"]:
            yield f"kubernetes {name}", container["args"]
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        for line in re.findall(r"^ExecStart=\S*/gridwarden (.*)$", unit.read_text(), re.MULTILINE):
            yield unit.name, shlex.split(line)
