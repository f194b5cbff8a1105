"""Workers on a real Kafka decide what one box decides, whoever dies on the way."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from app.content import content_hash
from app.stream.records import decode_letter, decode_pulse
from contracts.alerts import timestamp
from contracts.log import LogRecord, encode_bundle
from ingest.log import LogReader, SqliteLog
from ingest.log.dump import write_dump
from ingest.partition import Bundle, PartitionLog
from tests.app.stream.cluster import Cluster, until
from tests.app.stream.town import Cell, S, changed_rules, coming, installed, joined, mark, rules
from tests.torture.processes import gridwarden

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

T0 = 1_767_225_600_000
SPAN_MS = 180 * S
CHANGE_MS = T0 + SPAN_MS // 2 + 5 * S
PARTITIONS = 8
WAIT_S = 180.0
"""Machines that do much else are slow."""


def heads(cells: list[Cell]) -> list[LogRecord]:
    return [installed(T0 - 2, "rules", rules()), installed(T0 - 1, "registry", joined(cells))]


def said(cell: Cell) -> list[LogRecord]:
    """All of a cell in order of acceptance, with what tells the time."""
    found = cell.births(T0 + 5)
    for seq, start in enumerate(range(T0, T0 + SPAN_MS, 2 * S), 1):
        found += cell.packs(start, start + 2 * S, seq)
    found += [mark(at) for at in range(T0, T0 + SPAN_MS + 130 * S, 2 * S)]
    found.append(coming(T0 + SPAN_MS // 2 + 1, changed_rules(), CHANGE_MS))
    return sorted(found, key=lambda record: record.accepted_ms)


def on_one_box(folder: Path, cells: list[Cell]) -> list[bytes]:
    """The same records in one log, with the same times of acceptance."""
    merged = [one for cell in cells for one in said(cell)]
    merged.sort(key=lambda record: record.accepted_ms)
    value = encode_bundle([*heads(cells), *merged])
    records = PartitionLog().take([Bundle(0, 1 << 60, value)]).records
    with closing(SqliteLog(folder / "log")) as log:
        for content in (rules(), changed_rules(), joined(cells)):
            log.put_content(content_hash(content), content)
        assert log.commit(records) == records
    with closing(LogReader(folder / "log")) as reader:
        write_dump(reader, folder / "one.dump")
    gridwarden("replay", "--input", folder / "one.dump", "--out", folder / "one.jsonl", "--json")
    return (folder / "one.jsonl").read_bytes().splitlines()


@pytest.fixture
def cells() -> list[Cell]:
    return [Cell(number, T0) for number in range(PARTITIONS)]


def test_three_workers_decide_what_one_box_decides(
    tmp_path: Path, kafka: str, topic_prefix: str, cells: list[Cell]
) -> None:
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=PARTITIONS, worker="marks = false")
    contents = [rules(), changed_rules(), *(joined([cell]) for cell in cells)]
    cluster.publish(contents)
    for cell in cells:
        records = [*heads([cell]), *said(cell)]
        # Bundles of changing sizes, and what a bridge sends again after a fault.
        parts = [records[at : at + 7] for at in range(0, len(records), 7)]
        parts.insert(9, parts[8])
        cluster.put((cell.number, part) for part in parts)
    cluster.put_raw(3, b"poison")
    cluster.put_raw(3, None)
    try:
        for name in ("one", "two", "three"):
            cluster.add(name)
        until(cluster.all_owned, WAIT_S, "each partition has one worker")
        cluster.finish()
        assert all(worker.partitions() for worker in cluster.workers.values())
        alerts = cluster.alerts()
        replayed = cluster.replayed()
        assert set(alerts) == set(replayed)
        assert set(alerts) == set(on_one_box(tmp_path, cells))
        assert len(set(alerts)) > 100
        # Rules changed at one event time in all partitions.
        changes = [
            event["time"] for event in map(json.loads, set(alerts))
            if event["data"]["change"] in ("rule_changed", "rule_removed")
        ]  # fmt: skip
        assert changes
        assert set(changes) == {timestamp(CHANGE_MS)}
        letters = [decode_letter(one.value) for one in cluster.read("letters")]
        ends = cluster.ends()
        poison = [(one.partition, one.offset, one.reason, one.payload) for one in letters]
        assert (3, ends[3] - 2, "truncated", b"poison") in poison
        assert (3, ends[3] - 1, "bad_structure", b"") in poison
        for worker in cluster.workers.values():
            assert worker.stop() == 0, worker.log
        pulses = [decode_pulse(one.value) for one in cluster.read("pulses")]
        assert {one.partition: one.offset for one in pulses} == {
            number: end - 1 for number, end in ends.items()
        }
        # All state was saved at the end: who comes after reads nothing again.
        last = cluster.add("four")
        until(cluster.all_owned, WAIT_S, "one worker has all")
        found = {n: one["snapshot_offset"] for n, one in last.partitions().items()}
        assert found == {number: end - 1 for number, end in ends.items()}
        assert set(cluster.alerts()) == set(alerts)
        assert len(cluster.alerts()) == len(alerts)
        assert json.loads(last.get("/health")[1])["ok"]
    finally:
        cluster.discard()


def test_a_log_that_ends_before_what_is_decided_is_refused(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    """Kafka has lost its end: what comes now would be passed over as known."""
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=1, worker="marks = false")
    cluster.publish([rules()])
    cluster.put([(0, [installed(T0, "rules", rules())]), *[(0, [mark(T0 + S)])] * 20])
    try:
        worker = cluster.add("one")
        until(cluster.all_owned, WAIT_S, "the partition has a worker")
        cluster.finish()
        worker.stop()
        cluster.remake_log()
        cluster.put([(0, [mark(T0 + 9 * S)])])
        worker.start()
        why = "partition 0 stands: the log ends at offset 1, but is decided up to 21"
        until(lambda: why in worker.get("/health")[1].decode(), WAIT_S, "it says why")
        assert cluster.owned() == {}
        worker.stop()
        cluster.add("other", more="from_earliest = true\n")
        until(lambda: "other" in cluster.owned().get(0, []), WAIT_S, "it goes on when told to")
        cluster.put([(0, [mark(T0 + 10 * S)])])
        until(lambda: cluster.workers["other"].partitions()[0]["offset"] == 1, WAIT_S, "it decides")
    finally:
        cluster.discard()
