"""What a worker refuses, waits for, or ends for, each with its reason and mend."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from app.content import content_hash
from app.stream.contents import ContentMissing, ContentTopic
from app.stream.outlet import Outlet
from app.stream.post import OutletPost
from app.stream.records import pieces
from app.stream.snapshots import VERSION, Manifest, encode, manifest_key
from tests.app.stream.cluster import Cluster, until, wait
from tests.app.stream.town import Cell, S, installed, joined, mark, rules
from tests.parts.kafka import Kafka
from tests.torture.processes import command

T0 = 1_767_225_600_000
WAIT_S = 180.0


def record(key: bytes | None, value: bytes | None) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("content", 0, 0, 0, 0, key, value, None, 0, 0, ())


def test_content_is_taken_when_it_is_what_its_hash_says() -> None:
    topic = ContentTopic("content", patience_s=0)
    content = b"x" * 700_000
    for key, value in pieces(content_hash(content), content):
        topic.take(record(key, value))
    for key, value in [*pieces("0" * 64, b"y"), (b"odd", b"z"), (None, b"z"), (b"k/0/1", None)]:
        topic.take(record(key, value))
    assert topic.hashes() == [content_hash(content)]
    assert topic.get_content(content_hash(content)) == content
    assert topic.refused == 2
    with pytest.raises(ContentMissing, match="publish the same rules or registry again"):
        topic.get_content("0" * 64)


def fill(cluster: Cluster, numbers: range) -> None:
    cluster.publish([rules(), *(joined([Cell(number, T0)]) for number in numbers)])
    for number in numbers:
        cell = Cell(number, T0)
        cluster.put(
            [
                (number, [installed(T0 - 2, "rules", rules())]),
                (number, [installed(T0 - 1, "registry", joined([cell]))]),
                (number, cell.packs(T0, T0 + 2 * S, 1)),
                (number, [mark(T0 + 9 * S)]),
            ]
        )


def ends_with(cluster: Cluster, name: str) -> tuple[int, str]:
    """Start a worker that ends by itself: its status and its last line."""
    worker = cluster.add(name)
    until(lambda: worker.status is not None, WAIT_S, f"{name} ended")
    return int(worker.status or 0), worker.log.splitlines()[-1]


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_topics_that_are_otherwise_are_refused(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=2)
    text = cluster.config.read_text().replace("partitions = 2", "partitions = 3")
    (tmp_path / "other.toml").write_text(text)
    done = subprocess.run(
        command("worker", "--config", tmp_path / "other.toml"),
        capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{topic_prefix}log: 2 partitions, the settings say 3" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_records_that_are_gone_are_missed(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=1)
    fill(cluster, range(1))
    wait(_delete(kafka, cluster.topics.log.name, 2))
    try:
        status, line = ends_with(cluster, "one")
        assert status == 1
        assert line.startswith("gridwarden: partition 0: the log begins at offset 2, but")
        assert "worker.from_earliest = true" in line
        cluster.add("two", "from_earliest = true\n")
        until(lambda: cluster.workers["two"].partitions(), WAIT_S, "it goes on")
        until(lambda: cluster.workers["two"].partitions()[0]["offset"] >= 3, WAIT_S, "decided")
    finally:
        cluster.discard()


async def _delete(bootstrap: str, topic: str, before: int) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})
    finally:
        await client.close()


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_state_of_a_newer_version_is_left_alone(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=1)
    newer = Manifest(
        version=VERSION + 1, id="x", partition=0, offset=5, position=5, starts_at=0, made_ms=1,
        by="later", chunks={},
    )  # fmt: skip
    wait(_put(cluster, manifest_key("x"), encode(newer)))
    try:
        status, line = ends_with(cluster, "one")
        assert (status, "run workers of the newer version" in line) == (1, True)
    finally:
        cluster.discard()


async def _put(cluster: Cluster, key: bytes, value: bytes) -> None:
    outlet = Outlet(cluster.settings.kafka)
    try:
        await OutletPost(outlet).send([(cluster.topics.snapshots.name, 0, key, value)])
    finally:
        await outlet.close()


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_it_waits_for_a_kafka_that_is_away(
    tmp_path: Path, killable_kafka: Kafka, topic_prefix: str
) -> None:
    cluster = Cluster(tmp_path, killable_kafka.bootstrap, topic_prefix, partitions=2)
    fill(cluster, range(2))
    worker = cluster.add("one")

    def health() -> dict[str, object]:
        cluster.fail_if_ended()
        body = worker.get("/health")[1]
        found: dict[str, object] = msgspec.json.decode(body or b"{}")
        return found

    try:
        until(cluster.all_owned, WAIT_S, "it works")
        cluster.finish()
        assert health()["ok"]
        lag = b"gridwarden_worker_lag_records{"
        until(lambda: worker.get("/metrics")[1].count(lag) == 2, WAIT_S, "it shows its lag")
        killable_kafka.kill()
        until(lambda: health().get("ok") is False, WAIT_S, "health says so")
        assert "kafka" in json.dumps(health()["problems"])
        killable_kafka.restart()
        cluster.put([(0, Cell(0, T0).packs(T0 + 2 * S, T0 + 4 * S, 2))])
        cluster.finish()
        until(lambda: health().get("ok"), WAIT_S, "it is well again")
        assert worker.lives == 1
    finally:
        cluster.discard()


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_who_has_a_name_gets_his_partitions_back(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    """A rolling restart moves nothing: the other worker isn't even told."""
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=4)
    fill(cluster, range(4))
    try:
        for name in ("one", "two"):
            cluster.add(name, f'instance = "{name}"\nsession_s = 60\n')
        # The first one has all of them until the second one comes.
        until(lambda: cluster.all_owned() and _all_work(cluster), WAIT_S, "both have partitions")
        before, told = cluster.owned(), cluster.workers["two"].log.count("taken over")
        assert cluster.workers["one"].stop() == 0
        cluster.add("one")
        until(cluster.all_owned, WAIT_S, "it is back")
        assert cluster.owned() == before
        cluster.workers["one"].kill()
        cluster.add("one")
        until(cluster.all_owned, WAIT_S, "and once more")
        assert cluster.owned() == before
        assert cluster.workers["two"].log.count("taken over") == told
    finally:
        cluster.discard()


def _all_work(cluster: Cluster) -> bool:
    return all(worker.partitions() for worker in cluster.workers.values())
