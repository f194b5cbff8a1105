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
        self.raised = [_raised(json.loads(line)) for line in lines if ".raised" in line]


def _raised(event: dict[str, object]) -> Raised:
    kind = str(event["type"]).removeprefix("io.gridwarden.").removesuffix(".raised")
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
