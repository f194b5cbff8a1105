"""Recorded input on a real Kafka gives the alerts that were reasoned beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.content import pack_registry, pack_rules, shipped_rules
from app.runners.recording import open_recording
from tests.app.stream.cluster import Cluster, until
from tests.app.stream.town import installed, mark
from tests.recorded.recordings import EXPECTED, NAMES, RULES, place_registry
from tests.recorded.test_replay import START_MS, changes, expected, write_native

pytestmark = [pytest.mark.kafka, pytest.mark.recorded, pytest.mark.timeout(600)]

WAIT_S = 1_200.0
LINES = 200
END_MS = 5_001
"""Behind the last reading, as a replay adds it: slack, idleness, and the mark's own moment."""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("cable",), id="one"),
        # A reading or two a second, for days: minutes of work.
        pytest.param(NAMES, id="all", marks=[pytest.mark.torture, pytest.mark.timeout(0)]),
    ],
)
def test_recordings_give_the_expected_alerts_and_no_other(
    names: tuple[str, ...], tmp_path: Path, kafka: str, topic_prefix: str, recorded_data: Path
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for path in (*shipped_rules().glob("*.yml"), *RULES.glob("*.yml")):
        shutil.copy(path, rules / path.name)
    packed = pack_rules(rules)
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=len(names), worker="marks = false")
    registries = [pack_registry(place_registry(name, tmp_path)) for name in names]
    cluster.publish([packed, *registries])
    for number, name in enumerate(names):
        head = [
            installed(START_MS - 2, "rules", packed),
            installed(START_MS - 1, "registry", registries[number]),
        ]
        recording = open_recording(write_native(name, recorded_data, tmp_path))
        records = [one for part in recording.records() for one in part]
        cluster.put(
            [
                (number, head),
                *((number, records[at : at + LINES]) for at in range(0, len(records), LINES)),
                # Whole seconds get their mark when they are over.
                (number, [mark(records[-1].accepted_ms + END_MS + 1_000)]),
            ]
        )
    try:
        for name in ("one", "two"):
            cluster.add(name)
        until(cluster.all_owned, WAIT_S, "each partition has one worker")
        cluster.finish(WAIT_S)
        alerts = cluster.alerts()
    finally:
        cluster.discard()
    assert set(alerts) == set(cluster.replayed())
    told = [json.loads(event) for event in set(alerts)]
    wanted = json.loads(EXPECTED.read_text(encoding="utf-8"))
    for name in names:
        device = wanted[name]["device"]
        own = [event for event in told if event["data"]["device"] == device]
        assert changes(own) == expected(wanted[name]), name
    assert {event["data"]["device"] for event in told} <= {one["device"] for one in wanted.values()}
