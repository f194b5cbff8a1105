"""What a worker refuses, waits for, or ends for, each with its reason and mend."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from app.content import content_hash, pack_files
from app.stream.contents import KEPT_S, ContentIndex, Library
from app.stream.outlet import Outlet
from app.stream.partition import ContentMissing
from app.stream.post import OutletPost
from app.stream.records import decode_letter, pieces
from app.stream.snapshots import VERSION, Manifest, encode, manifest_key
from contracts.messages import Installed
from rules import RulesInvalid
from tests.app.stream.cluster import Cluster, until, wait
from tests.app.stream.town import Cell, S, installed, joined, mark, rules
from tests.parts.kafka import Kafka
from tests.torture.processes import command, gridwarden

T0 = 1_767_225_600_000
WAIT_S = 180.0


def test_a_content_is_there_when_all_its_pieces_have_come() -> None:
    async def body() -> None:
        index, content = ContentIndex(), b"x" * 700_000
        name = content_hash(content)
        waiting = asyncio.ensure_future(index.there(name))
        first, second = pieces(name, content)
        for offset, (key, value) in enumerate(
            [first, (b"odd", b"z"), (None, b"z"), (b"k/0/1", None), second]
        ):
            assert index.where(name) is None
            index.take(record(offset, key, value))
        assert await waiting == index.where(name) == (0, 5)
        assert index.refused == 2
        index.take(record(5, first[0], None))
        assert index.where(name) is None
        index.take(record(6, second[0], None))
        assert index.hashes() == []

    asyncio.run(body())


def test_what_nobody_has_in_force_any_more_is_forgotten_after_a_while() -> None:
    now_s, fetched = 0.0, list[str]()
    good, broken = pack_files({"a.yml": b"rules: []"}), pack_files({"a.yml": b"rules: ["})
    names = {content_hash(one): one for one in (good, broken)}

    async def fetch(name: str) -> bytes:
        fetched.append(name)
        return names[name]

    async def body() -> None:
        nonlocal now_s
        library = Library(fetch, lambda: now_s)
        one, other = names
        told = Installed(what="rules", hash=one, active_ms=1)
        assert not library.ready(told)
        with pytest.raises(ContentMissing):
            library.rules(one)
        await asyncio.gather(library.bring("rules", one), library.bring("rules", one))
        assert fetched == [one]
        await library.bring("rules", other)
        assert library.ready(told)
        assert library.rules(one).rules == ()
        # What is damaged is at hand too: it is refused by all alike.
        with pytest.raises(RulesInvalid):
            library.rules(other)
        assert library.keep([]) == 0
        now_s = KEPT_S + 1
        assert (library.keep([one]), len(library)) == (1, 1)
        assert library.rules(one).rules == ()
        now_s *= 3
        assert (library.keep([]), library.ready(told)) == (1, False)

    asyncio.run(body())


def record(offset: int, key: bytes | None, value: bytes | None) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("content", 0, offset, 0, 0, key, value, None, 0, 0, ())


def gaps(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gridwarden("gaps", *arguments, "--json"))["gateways"]
    return found


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
def test_what_is_wrong_with_a_partition_stays_with_it(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    """One has lost the beginning of its log, one has a snapshot of a newer version, one waits for
    rules: each stands and says why, the last one is decided, and gets on when the rules come."""
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=4)
    fill(cluster, range(4))
    wait(_delete(kafka, cluster.topics.log.name, 2))
    newer = Manifest(
        version=VERSION + 1, id="x", partition=1, offset=5, position=5, starts_at=0, made_ms=1,
        by="later", chunks={},
    )  # fmt: skip
    wait(_put(cluster, 1, manifest_key("x"), encode(newer)))
    unknown = pack_files({"a.yml": b"rules: ["})
    cluster.put([(2, [installed(T0 + 10 * S, "rules", unknown)])])
    cluster.put([(2, Cell(2, T0).packs(T0 + 2 * S, T0 + 12 * S, 2))])
    worker = cluster.add("one")

    def health() -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(worker.get("/health")[1] or b"{}")
        return found

    def decided(number: int) -> int:
        offset: int = worker.partitions().get(number, {"offset": -1})["offset"]
        return offset

    try:
        until(lambda: len(health().get("standing", {})) == 3, WAIT_S, "three of them stand")
        until(lambda: decided(3) >= 3, WAIT_S, "the last one is decided")
        why = health()["standing"]
        assert "worker.from_earliest = true" in why["0"]
        assert "run workers of the newer version" in why["1"]
        assert content_hash(unknown)[:16] in why["2"]
        assert "gridwarden publish" in why["2"]
        assert decided(2) == 3
        line = b'gridwarden_worker_partition_stands{partition="2"} 1.0'
        until(lambda: line in worker.get("/metrics")[1], WAIT_S, "metrics tell it")
        assert worker.get("/health")[0] == 503
        cluster.publish([unknown])
        until(lambda: decided(2) >= 5, WAIT_S, "it gets on")
        assert "2" not in health()["standing"]
        reasons = [decode_letter(one.value or b"").field for one in cluster.read("letters")]
        assert reasons == ["rules"]
        url = f"http://127.0.0.1:{worker.port}"
        missing = gaps("--worker", url)
        assert missing == []
        cluster.put([(3, Cell(3, T0).packs(T0 + 6 * S, T0 + 8 * S, 3))])
        until(lambda: gaps("--worker", url), WAIT_S, "a pack is missing")
        one, two = gaps("--worker", url)
        assert {one["gateway"], two["gateway"]} == {Cell(3, T0).gateway(row) for row in (0, 1)}
        assert [(gap["first"], gap["last"]) for gap in one["open"]] == [(2, 2)]
        assert one["partition"] == 3
        # It is heard long after its stamp.
        assert one["hours"][-1]["packs"] == 1
        assert worker.stop() == 0
        more = cluster.add("two", "from_earliest = true\n")
        until(
            lambda: more.partitions().get(0, {"offset": 0})["offset"] >= 3, WAIT_S, "all the same"
        )
    finally:
        cluster.discard()


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_a_record_that_the_engine_fails_on_is_left_out(
    tmp_path: Path, kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever reads it; the partition goes on, and the others notice nothing."""
    cell, others = Cell(0, T0), [Cell(1, T0)]
    bad = cell.packs(T0 + 6 * S, T0 + 8 * S, 4)[1]
    monkeypatch.setenv("FAULTY_PACK", hashlib.sha256(bad.payload).hexdigest())
    faulty = "tests.app.stream.faulty_worker"
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=2)
    fill(cluster, range(2))
    try:
        worker = cluster.add("one", module=faulty)
        saved = lambda: worker.partitions().get(0, {"snapshot_offset": -1})["snapshot_offset"]  # noqa: E731
        until(lambda: saved() >= 3, WAIT_S, "a snapshot to take up")
        for seq in range(2, 9):
            span = T0 + (2 * seq - 2) * S, T0 + 2 * seq * S
            cluster.put([(one.number, one.packs(*span, seq)) for one in (cell, *others)])
        cluster.finish()
        assert worker.lives == 1
        assert worker.partitions()[0]["undecidable"] == 1
        letters = [decode_letter(one.value or b"") for one in cluster.read("letters")]
        found = {(one.reason, one.partition, one.nth, one.payload) for one in letters}
        assert found == {("undecidable", 0, 1, bad.payload)}
        assert letters[0].detail == "ZeroDivisionError: a fault of ours"
        # All that stood beside it in its bundle and came after was decided.
        status = worker.stop()
        assert status == 0, worker.log
        replayed = cluster.replayed()
        assert set(cluster.alerts()) == set(replayed)
        # Without its snapshots another worker finds the same.
        before = cluster.ends()
        cluster.remake("snapshots")
        after = cluster.add("two", module=faulty)
        until(lambda: cluster.done(before), WAIT_S, "decided anew")
        assert after.partitions()[0]["undecidable"] == 1
        assert set(cluster.alerts()) == set(replayed)
    finally:
        cluster.discard()


async def _delete(bootstrap: str, topic: str, before: int) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})
    finally:
        await client.close()


async def _put(cluster: Cluster, number: int, key: bytes, value: bytes) -> None:
    outlet = Outlet(cluster.settings.kafka)
    try:
        await OutletPost(outlet).send([(cluster.topics.snapshots.name, number, key, value)])
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
