"""Both detectors run in workers, and what comes of them is what one box makes of the same log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from app.content import pack_files, pack_settings
from app.contents import Contents
from app.engine import Engine, Sources
from app.runners.detection import Detection
from app.runners.detectors import open_models
from app.settings import DetectSettings
from app.stream.records import decode_letter
from contracts import pack
from contracts.alerts import encode_event
from contracts.detector import INNER_PREFIX
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed
from contracts.registry import Registry
from ingest.limits import AdmissionSettings
from ingest.log.dump import read_dump
from ingest.message import Message
from rules.ruleset import RuleSet
from tests.app import test_detection as homes
from tests.app import test_falling_cameras as cameras
from tests.app.stream.cluster import Cluster, Worker, until
from tests.app.stream.test_signals import Held, content_of
from tests.app.stream.town import installed, mark

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

S, HOUR = 1_000, 3_600_000
T0 = homes.T0
WAIT_S = 120.0
SETTINGS = AdmissionSettings(slack_ms=12 * HOUR)
"""The whole log is put in at once: no score of it may be late."""
RULES = """
rules:
  - id: camera.fall
    title: {zh: 坠落, en: Fall}
    on: {family: camera}
    when: max(falling_object.storeys, 2s) > 2 and age(falling_object.score) < 5s
    severity: 2
  - id: elderly.still
    title: {zh: 安静, en: Quiet}
    on: {family: elderly}
    when: inactivity.minutes >= 60 min
    severity: 3
"""
CONTENTS = {
    "rules": pack_files({"all.yml": RULES.encode()}),
    "settings": pack_settings(SETTINGS),
}


def records_of(partition: int) -> list[LogRecord]:
    """Falls before two cameras, or half a day of a home; the time is told to the end of the day."""
    if partition:
        found = [one for one in homes.log() if one.accepted_ms < T0 + 11 * HOUR]
    else:
        found = [
            cameras.record(n, camera, gateway=gateway, at_ms=T0 + n * 20 * S, seq=n)
            for n in range(1, 13)
            for camera, gateway in [("cam-1", "gw-1") if n % 3 else ("cam-2", "gw-2")]
        ]
        found += [mark(T0 + at * S) for at in range(300)]
    found.sort(key=lambda record: record.accepted_ms)
    files = homes.FILES if partition else cameras.FILES
    contents = CONTENTS | {"registry": content_of(files)}
    return [*(installed(T0, what, content) for what, content in contents.items()), *found]


def of_the_end(partition: int) -> list[LogRecord]:
    last = 11 * HOUR if partition else 300 * S
    return [mark(T0 + last + SETTINGS.slack_ms + at * S) for at in range(1, 20)]


def on_one_box(dump: Path) -> list[bytes]:
    """What the embedded server's detectors and engine make of the same log without its scores."""
    detection = Detection(
        [make() for make in open_models(DetectSettings()).values()], structlog.stdlib.get_logger()
    )
    events: list[bytes] = []
    with read_dump(dump) as held:
        contents = Contents(Held(held.contents))
        engine = Engine(
            Registry(),
            RuleSet.empty(),
            sources=Sources(contents.rules, contents.registry, contents.settings),
        )

        def step(kind: RecordKind, at_ms: int, source: str, payload: bytes) -> None:
            record = LogRecord(kind, at_ms, source, payload, engine.position + 1)
            done = engine.step([record])
            events.extend(map(encode_event, done.events))
            detection.feed([record], done, engine.directory)

        def append(packs: list[Message]) -> None:
            for message in packs:
                source = pack.peek_header(message.payload)[0].gateway
                step(RecordKind.PACK, last.accepted_ms, source, message.payload)

        for model in detection.models:
            told = Installed(
                what="model", hash=model.hash, active_ms=T0, name=model.detector,
                threshold=model.threshold,
            )  # fmt: skip
            step(RecordKind.INSTALLED, T0, "", msgspec.json.encode(told))
        for bundle in held.bundles():
            for last in bundle:
                if not _of_a_detector(last):
                    step(last.kind, last.accepted_ms, last.source, last.payload)
                    detection.catch_up(append)
    return events


def _of_a_detector(record: LogRecord) -> bool:
    if record.kind is RecordKind.INSTALLED:
        return msgspec.json.decode(record.payload, type=Installed).what == "model"
    return record.source.startswith(INNER_PREFIX)


def unheard(events: Iterable[bytes]) -> set[str]:
    """Without when a score was heard: on Kafka that takes another hop."""
    found = set()
    for event in events:
        told: dict[str, Any] = json.loads(event)
        del told["data"]["timing"]["heard"]
        found.add(json.dumps(told, sort_keys=True))
    return found


def saved(cluster: Cluster, worker: Worker) -> bool:
    """Whether both partitions have a snapshot; one is made behind a record that comes."""
    cluster.put((number, [mark(T0)]) for number in range(2))
    return all(one["snapshot_offset"] > 0 for one in worker.partitions().values())


def judged(cluster: Cluster) -> bool:
    """Whether all signals are judged, and what came of them is decided."""
    cluster.fail_if_ended()
    ends = cluster.ends()
    if not cluster.done(ends):
        return False
    found: dict[int, dict[str, Any]] = {}
    for worker in cluster.workers.values():
        found |= worker.partitions()
    seen = {
        "tracks": found[0]["detectors"]["falling"]["offset"],
        "homes": found[1]["detectors"]["inactivity"]["offset"],
    }
    last = {role: max((one.offset for one in cluster.read(role)), default=-1) + 1 for role in seen}
    return seen == last and cluster.ends() == ends


def test_falls_and_silences_are_those_of_one_box_whoever_dies(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=2, worker="marks = false")
    cluster.publish([*CONTENTS.values(), content_of(homes.FILES), content_of(cameras.FILES)])
    said = {number: records_of(number) for number in range(2)}
    try:
        worker = cluster.add("one")
        until(cluster.all_owned, WAIT_S, "the partitions have a worker")
        for part in range(8):
            bundles = [
                (number, records[part * len(records) // 8 : (part + 1) * len(records) // 8])
                for number, records in said.items()
            ]
            if part == 2:
                until(lambda: saved(cluster, worker), WAIT_S, "state saved")
            cluster.put(bundles)
            if part in (2, 5):
                worker.kill()
                worker.start()
        until(lambda: judged(cluster), WAIT_S, "all is judged")
        cluster.put_signals("homes", 1, b"\xc1poison")
        cluster.put([(number, of_the_end(number)) for number in said])
        until(lambda: judged(cluster), WAIT_S, "all is judged to the end")
        alerts, replayed = cluster.alerts(), cluster.replayed()
        assert set(alerts) == set(replayed)
        box = [event for n in range(2) for event in on_one_box(tmp_path / f"{n}.dump")]
        assert unheard(alerts) == unheard(box)
        told = [json.loads(event)["data"] for event in set(alerts)]
        by_rule = {rule: [d for d in told if d["rule"]["id"] == rule and d["change"] == "raised"]
                   for rule in ("camera.fall", "elderly.still")}  # fmt: skip
        assert len(by_rule["camera.fall"]) == 12
        assert len(by_rule["elderly.still"]) >= 1
        assert all(len(one["models"]) == 1 for one in told)
        assert not any(one["timing"]["late"] for one in told)
        letters = [decode_letter(one.value) for one in cluster.read("letters")]
        assert [(one.field, one.partition, one.payload) for one in letters] == [
            ("signals", 1, b"\xc1poison")
        ]
        assert worker.stop() == 0, worker.log
    finally:
        cluster.discard()
