"""A worker that gets nowhere ends itself, and whoever comes next does what it didn't."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.app.stream.cluster import Cluster, until
from tests.app.stream.town import Cell, S, installed, joined, mark, rules

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

T0 = 1_767_225_600_000
WAIT_S = 120.0


def test_a_worker_that_gets_nowhere_ends_itself(
    tmp_path: Path, kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(0, T0)
    packs = [cell.packs(T0 + 2 * n * S, T0 + 2 * (n + 1) * S, n + 1) for n in range(4)]
    hanging = hashlib.sha256(packs[2][0].payload).hexdigest()
    monkeypatch.setenv("HANGING_PACK", hanging)
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=1, worker="marks = false")
    cluster.publish([rules(), joined([cell])])
    head = [installed(T0 - 2, "rules", rules()), installed(T0 - 1, "registry", joined([cell]))]
    try:
        worker = cluster.add("one", "stuck_s = 5\n", module="tests.app.stream.faulty_worker")
        until(cluster.all_owned, WAIT_S, "the partition has a worker")
        cluster.put([(0, head), *((0, records) for records in packs), (0, [mark(T0 + 60 * S)])])
        until(lambda: worker.status is not None, WAIT_S, "it ends itself")
        assert worker.status == 1
        last = worker.log.splitlines()[-1]
        assert last.startswith("gridwarden: stuck: partition 0: ")
        assert "records to go, none done for" in last
        # Its supervisor starts it again; this time nothing hangs.
        monkeypatch.delenv("HANGING_PACK")
        worker.start()
        cluster.finish()
        alerts = cluster.alerts()
        assert set(alerts) == set(cluster.replayed())
        assert alerts
        # Whoever scales workers by their lag sees that nothing waits.
        until(lambda: cluster.committed() == cluster.ends(), WAIT_S, "the group has committed all")
        assert worker.stop() == 0, worker.log
    finally:
        cluster.discard()
