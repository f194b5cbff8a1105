"""The shipped rules find in a simulated district what its truth says, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from app.content import load_rules, shipped_rules
from app.runners.recording import open_recording
from app.runners.replay import event_writer, replay
from edge.sources.simulate import District, Rates, Size, write_recording, write_registry
from ingest.admission import AdmissionSettings
from ingest.registry import check, load

MINUTES_MS = 30 * 60_000
RATES = Rates(incidents=240.0, near_misses=120.0, sensor_faults=40.0)
SETTINGS = AdmissionSettings(slack_ms=2_000, idle_ms=3_000)

WORST = {
    "firewater.pressure_low": 2,
    "firewater.pressure_high": 2,
    "efire.residual_high": 2,
    "efire.temp_high": 2,
}
"""Of rules that warn first: the level that the truth is about, reached at the end."""

Raised = tuple[str, str, int]
"""(device, family.condition, unix ms of the change)."""


class Outcome:
    """What was told and what rang."""

    def __init__(self, folder: Path) -> None:
        self.district = District(21, Size(gateways=3, devices=320, grids=3), RATES)
        start = self.district.start_ms
        self.end_ms = start + MINUTES_MS
        registry = folder / "registry"
        write_registry(registry, self.district)
        assert check(registry) == []
        write_recording(folder / "r.jsonl", folder / "t.jsonl", self.district, start, self.end_ms)
        with event_writer(folder / "events.jsonl") as write:
            summary = replay(
                open_recording(folder / "r.jsonl"),
                ruleset=load_rules(shipped_rules()),
                registry=load(registry),
                settings=SETTINGS,
                on_step=write,
            )
        assert not summary.rejected
        self.truth = self.district.truth(start, self.end_ms)
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        told = [event for event in events if event["data"]["delivery"]["state"] == "deliver"]
        raised = [event for event in told if ".raised" in event["type"]]
        self.raised = [_raised(one) for one in raised if not one["data"].get("group")]
        self.groups = [one["data"] for one in raised if one["data"].get("group")]
        worst: dict[tuple[str, str], int] = {}
        for event in told:
            device, kind, _ = _raised(event)
            severity = event["data"]["severity"]
            worst[device, kind] = min(severity, worst.get((device, kind), severity))
        self.worst = worst


def _raised(event: dict[str, object]) -> Raised:
    kind = str(event["type"]).removeprefix("io.gridwarden.").rsplit(".", 1)[0]
    at = datetime.fromisoformat(str(event["time"]))
    device = str(event["source"]).rsplit("/", 1)[1]
    return device, kind, round(at.timestamp() * 1000)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(tmp_path_factory.mktemp("district"))


def test_what_must_ring_rings_in_its_time(outcome: Outcome) -> None:
    first: dict[str, int] = {}
    checked = set()
    for told in outcome.truth:
        if first.setdefault(told.device, told.start_ms) != told.start_ms:
            continue  # A latched alert may still be open: the next onset raises no new one.
        for wanted in told.expect:
            if wanted.by_ms > outcome.end_ms - 5_000:
                continue
            times = [
                at
                for device, kind, at in outcome.raised
                if (device, kind) == (told.device, wanted.type)
                and wanted.from_ms <= at <= wanted.by_ms
            ]
            assert times, (told, [one for one in outcome.raised if one[0] == told.device])
            assert outcome.worst[told.device, wanted.type] <= WORST.get(wanted.type, 4), told
            checked.add(told.kind)
    assert len(checked) >= 20, checked


def test_near_misses_and_faulty_sensors_ring_nothing(outcome: Outcome) -> None:
    quiet = {told.device for told in outcome.truth if not told.expect}
    assert len(quiet) >= 20
    forbidden = {told.device: told.forbid for told in outcome.truth if told.forbid}
    assert forbidden
    wrong = [one for one in outcome.raised if one[1] in forbidden.get(one[0], ())]
    assert not wrong


def test_only_devices_to_which_something_happened_ring(outcome: Outcome) -> None:
    happened = {told.device for told in outcome.truth if told.expect}
    assert {device for device, _, _ in outcome.raised} <= happened


def test_a_group_rings_only_when_so_many_of_its_devices_did(outcome: Outcome) -> None:
    burnt = {device for device, kind, _ in outcome.raised if kind == "smoke.fire"}
    for told in outcome.groups:
        if told["rule"]["id"] == "smoke.fire_spreads":
            assert set(told["group"]["devices"]) <= burnt
