"""The recordings through the embedded engine give the alerts that were reasoned beforehand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.content import load_rules, shipped_rules
from app.runners.recording import open_recording
from app.runners.replay import event_writer, replay
from contracts import telemetry
from edge.sources.recordings import Refusal
from edge.sources.recordings import open_recording as open_table
from ingest.admission import AdmissionSettings
from ingest.registry import check, load
from rules import RuleSet
from tests.recorded.recordings import (
    EXPECTED,
    NAMES,
    REGISTRY,
    RULES,
    place_mapping,
    place_registry,
)

START_MS = 1_767_225_600_000
"""Where the recordings are moved to: their own years are before any plausible event time."""

SETTINGS = AdmissionSettings(slack_ms=2_000, idle_ms=3_000)

pytestmark = pytest.mark.recorded


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    """The shipped rules and those of the recordings together."""
    folder = tmp_path_factory.mktemp("rules")
    for path in (*shipped_rules().glob("*.yml"), *RULES.glob("*.yml")):
        shutil.copy(path, folder / path.name)
    return load_rules(folder)


def write_native(name: str, data: Path, folder: Path) -> Path:
    """The recording as native lines whose first reading is at START_MS."""
    refused: list[Refusal] = []
    path = folder / f"{name}.jsonl"
    shift = None
    with path.open("wb") as out:
        for chunk in open_table(place_mapping(name, data, folder)).chunks(0, refused.append):
            batch = chunk.batch
            if not len(batch):
                continue
            shift = START_MS - int(batch.ts_ms[0]) if shift is None else shift
            moved = dataclasses.replace(batch, ts_ms=batch.ts_ms + shift)
            out.write(telemetry.encode_messages(moved))
    assert not refused
    return path


def changes(events: list[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Rule -> (phase, ms from the first reading) of its raises and clearings, in time order."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for event in events:
        phase = event["type"].rsplit(".", 1)[1]
        if phase in ("raised", "cleared"):
            at = round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
            found[event["data"]["rule"]["id"]].append((phase, at - START_MS))
    return {rule: sorted(told, key=lambda one: one[1]) for rule, told in found.items()}


def expected(wanted: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    told = {}
    for rule, episodes in {**wanted["silence"], **wanted["shipped"], **wanted["test"]}.items():
        listed = []
        for episode in episodes:
            listed.append(("raised", episode["raised_ms"]))
            if episode["cleared_ms"] is not None:
                listed.append(("cleared", episode["cleared_ms"]))
        if listed:
            told[rule] = listed
    return told


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_gives_the_expected_alerts_and_no_other(
    name: str, rules: RuleSet, recorded_data: Path, tmp_path: Path
) -> None:
    wanted = json.loads(EXPECTED.read_text(encoding="utf-8"))[name]
    recording = open_recording(write_native(name, recorded_data, tmp_path))
    with event_writer(tmp_path / "events.jsonl") as write:
        summary = replay(
            recording,
            ruleset=rules,
            registry=load(place_registry(name, tmp_path)),
            settings=SETTINGS,
            on_step=write,
        )
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert changes(events) == expected(wanted)
    assert {event["data"]["device"] for event in events} <= {wanted["device"]}
    assert {event["gridcode"][:9] for event in events} <= {"340199009"}
    assert summary.readings == wanted["readings"] - wanted["repeated"]


def test_the_registry_of_the_recordings_has_no_fault() -> None:
    assert check(REGISTRY) == []
