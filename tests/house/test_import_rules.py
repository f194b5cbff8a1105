"""The rules between the rooms hold, and each of them notices what it is there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.parts.tools import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RULES = PROJECT["tool"]["importlinter"]
ROOMS: list[str] = RULES["root_packages"]

MEET = "Rooms meet only in app; they speak only contracts"
PURE = "Deciding code is pure: no transport, no web, no file, no clock"
SMALL = "The gateway agent stays small: no web, no CLI stack, no inference"
MQTT = "MQTT has one door in each room"
WEBHOOK = "Webhooks have one door"
INFLUX = "InfluxDB has one door"
VIDEO = "Video and pictures have one door; a plain agent never opens it"
KAFKA = "Kafka has one door"
FAUST = "faust has one door"
CYCLE = "No cycles inside any room"
TRAINING = "Training stays apart from run time: only its verb and its tests know it"

DOORS = {
    f"dispatch.{name}"
    for name in (
        "api",
        "deliver",
        "dispatcher",
        "documents",
        "gate",
        "keys",
        "outbox",
        "queries",
        "receiver",
        "receivers",
        "store",
        "tables",
    )
}
"""Modules of dispatch that touch a file, a socket, a clock or a thread."""

BREACHES = [
    pytest.param(MEET, {"rules/x.py": "import dispatch"}, id="a-room-imports-a-room"),
    pytest.param(MEET, {"contracts/x.py": "import rules"}, id="contracts-import-a-room"),
    pytest.param(MEET, {"ingest/x.py": "import app"}, id="a-room-imports-app"),
    pytest.param(PURE, {"contracts/x.py": "import socket"}, id="contracts-open-sockets"),
    pytest.param(PURE, {"detectors/x.py": "import os"}, id="a-detector-reads-the-environment"),
    pytest.param(PURE, {"rules/x.py": "from time import time"}, id="a-rule-looks-at-the-clock"),
    pytest.param(
        PURE,
        {"rules/x.py": "import contracts.x", "contracts/x.py": "import sqlite3"},
        id="a-rule-stores-by-a-detour",
    ),
    pytest.param(SMALL, {"edge/x.py": "import typer"}, id="the-agent-imports-the-cli-stack"),
    pytest.param(
        PURE, {"dispatch/lifecycle/__init__.py": "import random"}, id="the-lifecycle-throws-dice"
    ),
    pytest.param(MQTT, {"dispatch/x.py": "import paho.mqtt.client"}, id="a-second-door-for-mqtt"),
    pytest.param(WEBHOOK, {"dispatch/x.py": "import httpx"}, id="a-second-door-for-webhooks"),
    pytest.param(VIDEO, {"edge/outbox.py": "import cv2"}, id="the-agent-opens-the-cameras-door"),
    pytest.param(INFLUX, {"app/x.py": "import influxdb_client"}, id="a-second-door-for-influxdb"),
    pytest.param(KAFKA, {"app/runners/x.py": "import aiokafka"}, id="a-second-door-for-kafka"),
    pytest.param(FAUST, {"app/stream/x.py": "import faust"}, id="a-second-door-for-faust"),
    pytest.param(
        TRAINING, {"app/models.py": "import detectors.training"}, id="run-time-imports-training"
    ),
    pytest.param(
        CYCLE,
        {"ingest/x.py": "import ingest.y", "ingest/y.py": "import ingest.x"},
        id="two-modules-import-each-other",
    ),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the rooms and their rules."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path) -> tuple[int, str]:
    """Status and output of import-linter in `tree`."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_tree_keeps_every_rule(tree: Path) -> None:
    status, told = lint(tree)

    assert status == 0, told


@pytest.mark.parametrize(("rule", "files"), BREACHES)
def test_a_breach_is_noticed(tree: Path, rule: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        with (tree / name).open("a") as module:
            module.write(f"\n{text}\n")

    status, told = lint(tree)

    assert status == 1, told
    assert f"{rule} BROKEN" in " ".join(told.split())


def test_each_module_of_dispatch_decides_or_is_a_door() -> None:
    """A new module has to be put on one of the two sides, by a person."""
    pure = next(contract for contract in RULES["contracts"] if contract["name"] == PURE)
    deciding = {name for name in pure["source_modules"] if name.startswith("dispatch.")}
    found = {f"dispatch.{path.stem}" for path in (ROOT / "dispatch").glob("[a-z]*")}

    assert found == deciding | DOORS


def test_every_rule_has_its_breach() -> None:
    named = {contract["name"] for contract in RULES["contracts"]}

    assert named == {breach.values[0] for breach in BREACHES}
