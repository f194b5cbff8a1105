"""Three brokers, of which one at a time dies: the others go on, nothing is lost, nothing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.stream.cluster import Cluster, until
from tests.app.stream.test_worker import T0, heads, said
from tests.app.stream.town import Cell, changed_rules, joined, rules
from tests.parts.kafka import Kafka
from tests.torture.processes import gridwarden

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PARTITIONS = 2
WAIT_S = 180.0


def test_workers_go_on_while_one_of_three_brokers_is_dead(
    tmp_path: Path, three_kafkas: Kafka, topic_prefix: str
) -> None:
    cells = [Cell(number, T0) for number in range(PARTITIONS)]
    cluster = Cluster(
        tmp_path,
        three_kafkas.bootstrap,
        topic_prefix,
        partitions=PARTITIONS,
        worker="marks = false",
        topics="replication = 3\nmin_insync = 2",
    )
    cluster.publish([rules(), changed_rules(), *(joined([cell]) for cell in cells)])
    records = {cell.number: [*heads([cell]), *said(cell)] for cell in cells}

    def put(part: int, parts: int) -> None:
        for number, listed in records.items():
            step = -(-len(listed) // parts)
            cluster.put([(number, listed[part * step : (part + 1) * step])])

    try:
        put(0, 3)
        for name in ("one", "two"):
            cluster.add(name)
        until(cluster.all_owned, WAIT_S, "each partition has one worker")
        cluster.finish()
        for part, node in enumerate((1, 2), 1):
            three_kafkas.kill(node)
            put(part, 3)
            cluster.finish()
            gridwarden("topics", "check", "--config", cluster.config)
            three_kafkas.restart()
        assert {worker.lives for worker in cluster.workers.values()} == {1}
        alerts = set(cluster.alerts())
        assert alerts == set(cluster.replayed())
        assert len(alerts) > 20
        for worker in cluster.workers.values():
            assert worker.stop() == 0, worker.log
    finally:
        cluster.discard()
