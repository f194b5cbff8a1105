"""The expectations follow from the raw data and agree with its labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import expect
from tests.recorded.recordings import EXPECTED

pytestmark = pytest.mark.recorded


def test_the_written_expectations_follow_from_the_data(recorded_data: Path) -> None:
    written = json.loads(EXPECTED.read_text(encoding="utf-8"))
    found = {name: expect.asdict(one) for name, one in expect.expectations(recorded_data).items()}
    assert written == json.loads(json.dumps(found))


def test_the_pumps_pressure_does_not_show_the_closed_valve(recorded_data: Path) -> None:
    path = recorded_data / "sensors" / "pump-valve.csv.gz"
    listed = list(expect.rows(path))
    pressure = np.array([float(r["pressure_bar"]) for r in listed])
    flow = np.array([float(r["flow_l_min"]) for r in listed])
    faulty = np.array([float(r["anomaly"]) for r in listed]) == 1
    assert abs(pressure[faulty].mean() - pressure[~faulty].mean()) < 0.05 * pressure.std()
    assert flow[~faulty].mean() - flow[faulty].mean() > flow[~faulty].std()


def test_low_flow_begins_inside_the_labelled_faults(recorded_data: Path) -> None:
    path = recorded_data / "sensors" / "pump-valve.csv.gz"
    listed = list(expect.rows(path))
    first = expect.clock_ms(listed[0]["time"])
    faulty = {expect.clock_ms(r["time"]) - first: float(r["anomaly"]) == 1 for r in listed}
    low = expect.expectations(recorded_data)["pump"].test["firewater.test_flow_low"]
    assert [faulty[episode.onset_ms] for episode in low] == [True] * 6


def test_warm_and_cold_meet_the_labelled_failures(recorded_data: Path) -> None:
    listed = list(expect.rows(recorded_data / "sensors" / "ambient-temperature.csv"))
    first = expect.clock_ms(listed[0]["time"])
    labels = [expect.clock_ms(r["time"]) - first for r in listed if r["is_anomaly_label"] == "1"]
    test = expect.expectations(recorded_data)["cable"].test
    warm, cold = test["efire.test_room_warm"], test["efire.test_room_cold"]
    for label, episode in zip(labels, (warm[0], cold[0]), strict=True):
        assert episode.cleared_ms is not None
        assert episode.onset_ms <= label <= episode.cleared_ms


def test_a_walk_over_points_finds_onset_raise_and_clear() -> None:
    rule = expect.below("a.b", "flow", 1.0, 2.0, 60_000, 30_000)
    values = [3, 0, 0, 3, 0, 0, 0, 0, 1.5, 0, 3, 3, 3, 3]
    points = [(i * 20_000, float(value)) for i, value in enumerate(values)]
    assert expect.episodes(rule, points) == [expect.Episode(80_000, 140_000, 230_000, 0.0)]


def test_a_decision_on_a_margin_is_refused() -> None:
    rule = expect.below("a.b", "flow", 1.0, 2.0, 60_000)
    with pytest.raises(expect.Doubtful):
        expect.episodes(rule, [(0, 1.0)])
    with pytest.raises(expect.Doubtful):
        expect.episodes(rule, [(0, 0.5), (60_000, 3.0)])
