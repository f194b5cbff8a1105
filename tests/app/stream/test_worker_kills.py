"""Whatever happens to workers and broker: nothing lost, nothing wrong, repeats with the same id."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.content import content_hash
from contracts.log import LogRecord
from tests.app.stream.cluster import Cluster, Worker, until
from tests.app.stream.town import Cell, S, changed_rules, coming, installed, joined, rules
from tests.parts.kafka import Kafka
from tests.torture import results

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PARTITIONS = 8
STEP_MS = 500
LEAD_MS = 120 * S
"""How long before its first pack a cell's time begins."""
PAUSE_S = 8.0
"""Longer than the session of 6 s: others take over meanwhile."""
ACTIVATE_MS = 10 * S
"""How far ahead rules change; what Kafka takes too late is refused, by all alike."""
PATIENCE_S = 900.0
"""For what waits after a long trouble on a machine that others use, too."""
MOST_WORKERS = 5
REST_S = 60.0
EXCUSED = ("gridwarden: stuck: ", "gridwarden: the end took too long")
"""Why a worker may end itself where nothing gets on for a minute; it is started again then."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Load:
    """Writes what the cells say, as it happens, in a thread."""

    def __init__(self, cluster: Cluster, cells: list[Cell], start_ms: int) -> None:
        self._cluster, self._cells, self._at_ms = cluster, cells, start_ms
        self._seq = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._ending.wait(0.25):
                due: list[tuple[int, list[LogRecord]]] = []
                while self._at_ms + STEP_MS <= now_ms():
                    self._seq += 1
                    end = self._at_ms + STEP_MS
                    due += [(c.number, c.packs(self._at_ms, end, self._seq)) for c in self._cells]
                    self._at_ms = end
                if due:
                    self._cluster.put(due)
        except BaseException as error:
            self.failure = error
            raise

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        assert self.failure is None, self.failure


@contextmanager
def rig(
    folder: Path, bootstrap: str, prefix: str, *, named: bool = False
) -> Iterator[tuple[Cluster, Load]]:
    """Three workers under load; named: one, with a name of its own."""
    start_ms = (now_ms() - 60 * S) // S * S
    cells = [Cell(number, start_ms - LEAD_MS) for number in range(PARTITIONS)]
    cluster = Cluster(folder, bootstrap, prefix, partitions=PARTITIONS)
    cluster.publish([rules(), changed_rules(), *(joined([cell]) for cell in cells)])
    for cell in cells:
        head = [
            installed(start_ms - 2, "rules", rules()),
            installed(start_ms - 1, "registry", joined([cell])),
            *cell.births(start_ms),
        ]
        cluster.put([(cell.number, head)])
    try:
        for name in ("one",) if named else ("one", "two", "three"):
            cluster.add(name, instance(name) if named else "")
        until(cluster.all_owned, 180, "each partition has one worker")
        load = Load(cluster, cells, start_ms)
        load.start()
        try:
            yield cluster, load
        finally:
            load.stop()
    finally:
        cluster.discard()


def instance(name: str) -> str:
    return f'instance = "{name}"\n'


def one_each(cluster: Cluster, workers: int) -> bool:
    """Whether so many workers have all partitions between them."""
    return cluster.all_owned() and len({who for [who] in cluster.owned().values()}) == workers


def in_force(cluster: Cluster) -> dict[int, str]:
    """Partition -> hash of the rules that its worker decides by."""
    return {
        number: one["rules"]
        for worker in cluster.workers.values()
        for number, one in worker.partitions().items()
    }


class Trouble:
    """What is done to workers. ended: those that were taken away for good."""

    def __init__(self, cluster: Cluster, kafka: Kafka, seed: int) -> None:
        self._cluster, self._kafka = cluster, kafka
        self._chance = random.Random(seed)
        self.did: list[str] = []
        self._more = self._reloads = 0

    def _running(self) -> list[Worker]:
        return [worker for worker in self._cluster.workers.values() if worker.running]

    def kill(self) -> None:
        worker = self._chance.choice(self._running())
        worker.kill()
        self.did.append(f"kill {worker.name}")
        time.sleep(self._chance.uniform(0, 2))
        self._cluster.add(worker.name)

    def pause(self) -> None:
        worker = self._chance.choice(self._running())
        worker.pause()
        self.did.append(f"pause {worker.name}")
        time.sleep(PAUSE_S)
        worker.resume()

    def add(self) -> None:
        if len(self._running()) >= MOST_WORKERS:
            return
        self._more += 1
        self._cluster.add(f"more{self._more}")
        self.did.append(f"add more{self._more}")

    def remove(self) -> None:
        # One that is still starting has no state to save, and ends at once.
        workers = [one for one in self._running() if "worker of" in one.log]
        if len(workers) < 3:
            return
        worker = self._chance.choice(workers)
        self._cluster.retire(worker)
        self.did.append(f"remove {worker.name}")
        if len(workers) == 3:
            self._cluster.add(worker.name)

    def broker(self) -> None:
        self._kafka.kill()
        self.did.append("broker killed")
        time.sleep(1)
        self._kafka.restart()

    def reload(self) -> None:
        """Other rules, at one event time in all partitions."""
        self._reloads += 1
        content = changed_rules() if self._reloads % 2 else rules()
        at_ms = now_ms()
        record = coming(at_ms, content, at_ms + ACTIVATE_MS)
        self._cluster.put([(number, [record]) for number in range(PARTITIONS)])
        self.did.append("reload")

    def rest(self) -> None:
        """Let them come to themselves: trouble meets workers that work, too."""
        end = time.monotonic() + REST_S
        while not self._cluster.all_owned():
            if time.monotonic() > end:
                self.did.append("restless")
                return
            time.sleep(0.2)
        self.did.append("rest")

    def go_on(self, seconds: float) -> None:
        """Rounds of everything, each in another order."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            turns: list[Callable[[], None]] = [
                *(self.kill, self.kill, self.kill, self.kill, self.kill, self.kill),
                *(
                    self.pause,
                    self.add,
                    self.remove,
                    self.reload,
                    self.rest,
                    self.rest,
                    self.broker,
                ),
            ]
            self._chance.shuffle(turns)
            for turn in turns:
                turn()
                self._cluster.fail_if_ended()
                if time.monotonic() > end:
                    return
                time.sleep(self._chance.uniform(1, 4))


def account(cluster: Cluster, did: list[str], wait_s: float = 180.0) -> dict[str, int]:
    """All that is in the log by now is decided; then what came out beside what a replay gives."""
    ends = cluster.ends()
    until(lambda: cluster.done(ends), wait_s, f"decided up to {ends} after {did}")
    alerts = cluster.alerts()
    due = set(cluster.replayed(ends))
    for worker in cluster.workers.values():
        if worker.running:
            cluster.retire(worker)
    # Time went on meanwhile, and what it brought is right, too.
    right = due | set(cluster.replayed())
    told = set(alerts)
    ids = {json.loads(event)["id"] for event in told}
    assert len(ids) == len(told), "one id with different bytes"
    return {
        "events": len(due),
        "lost": len(due - told),
        "wrong": len(told - right),
        "repeated": len(alerts) - len(told),
    }


def test_kills_pauses_and_new_workers_lose_nothing(
    tmp_path: Path, killable_kafka: Kafka, topic_prefix: str
) -> None:
    with rig(tmp_path, killable_kafka.bootstrap, topic_prefix) as (cluster, load):
        trouble = Trouble(cluster, killable_kafka, 3)
        trouble.kill()
        trouble.reload()
        trouble.add()
        trouble.pause()
        trouble.broker()
        trouble.remove()
        trouble.kill()
        load.stop()
        wanted = {number: content_hash(changed_rules()) for number in range(PARTITIONS)}
        until(lambda: in_force(cluster) == wanted, 180, "other rules are in force everywhere")
        found = account(cluster, trouble.did)
    assert (found["lost"], found["wrong"]) == (0, 0), (found, trouble.did)
    assert found["events"] > 50


def scale(cluster: Cluster, restarts: int) -> list[str]:
    """One worker becomes four, each with a name of its own; then they are restarted in turn."""
    names = ["one", "two", "three", "four"]
    for name in names[1:]:
        cluster.add(name, instance(name))
    until(lambda: one_each(cluster, len(names)), 180, "each of four workers has partitions")
    did = ["scaled 1 to 4"]
    for turn in range(restarts):
        name = names[turn % len(names)]
        before = {n: who for n, who in cluster.owned().items() if who == [name]}
        worker = cluster.workers[name]
        assert worker.stop() == 0, worker.log[-3000:]
        cluster.add(name)
        until(cluster.all_owned, 180, f"{name} is back")
        # Whoever is back within his session has what he had.
        did.append(f"restarted {name}" if cluster.owned().items() >= before.items() else "moved")
    return did


def test_one_worker_becomes_four_under_load(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with rig(tmp_path, kafka, topic_prefix, named=True) as (cluster, load):
        did = scale(cluster, restarts=1)
        load.stop()
        found = account(cluster, did)
    assert (found["lost"], found["wrong"]) == (0, 0), (found, did)
    assert found["events"] > 20


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_rolling_restarts_for_long(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    began = time.monotonic()
    with rig(tmp_path, kafka, topic_prefix, named=True) as (cluster, load):
        cluster.supervised = True
        did = scale(cluster, restarts=12)
        load.stop()
        found = account(cluster, did, PATIENCE_S)
        gave_up = cluster.gave_up
    keep("rolling", time.monotonic() - began, found, did, gave_up)
    assert (found["lost"], found["wrong"]) == (0, 0), (found, did)


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_kills_for_long(tmp_path: Path, killable_kafka: Kafka, topic_prefix: str) -> None:
    """`TORTURE_S` seconds of it, 600 if not given."""
    seconds = float(os.environ.get("TORTURE_S", "600"))
    with rig(tmp_path, killable_kafka.bootstrap, topic_prefix) as (cluster, load):
        cluster.supervised = True
        trouble = Trouble(cluster, killable_kafka, int(os.environ.get("TORTURE_SEED", "1")))
        trouble.go_on(seconds)
        load.stop()
        found = account(cluster, trouble.did, PATIENCE_S)
        gave_up = cluster.gave_up
    keep("cluster", seconds, found, trouble.did, gave_up)
    assert (found["lost"], found["wrong"]) == (0, 0), (found, trouble.did)


def keep(
    name: str, seconds: float, found: dict[str, int], did: list[str], gave_up: list[str]
) -> None:
    """The figures of a long run. Fails where a worker ended itself for no reason that counts."""
    print(f"\n{name}: {found}\n{did}\n{gave_up}")
    told = Counter(done.split()[0] for done in did)
    load = {"ended_themselves": len(gave_up), "load_at_end": round(os.getloadavg()[2], 1)}
    results.keep(name, {"seconds": round(seconds, 1), **found, **told, **load})
    assert [why for why in gave_up if not why.partition(": ")[2].startswith(EXCUSED)] == []
