"""Workers on a real Kafka, as users start them, and what is put in and comes out."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.content import content_hash
from app.stream import admin
from app.stream.outlet import Outlet
from app.stream.post import OutletPost
from app.stream.records import pieces
from app.stream.settings import StreamSettings, load
from contracts.log import LogRecord, encode_bundle
from tests.torture.processes import Part, PartFailed, gridwarden, until

T = TypeVar("T")


def wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Worker(Part):
    """One worker process."""

    def __init__(self, name: str, folder: Path, config: Path) -> None:
        super().__init__(name, folder, "worker", "--config", config)

    @property
    def port(self) -> int:
        found = re.search(r"health and metrics on http://127.0.0.1:(\d+)", self.log)
        return int(found.group(1)) if found else 0

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body); status 0 = no answer."""
        if not self.running or not self.port:
            return 0, b""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def partitions(self) -> dict[int, dict[str, Any]]:
        status, body = self.get("/health")
        if not status:
            return {}
        return {one["partition"]: one for one in json.loads(body)["partitions"]}


class Cluster:
    """Topics under a prefix of their own, workers, and the far ends of the topics."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        prefix: str,
        *,
        partitions: int,
        worker: str = "",
        topics: str = "",
    ) -> None:
        """worker, topics: further lines of their sections."""
        self.folder, self.bootstrap = folder, bootstrap
        self.config = folder / "stream.toml"
        self._text = (
            f'[kafka]\nbootstrap = "{bootstrap}"\n'
            f'[topics]\nprefix = "{prefix}"\npartitions = {partitions}\n{topics}\n'
            f"[http]\nport = 0\n[worker]\nsnapshot_every_s = 2\n{worker}\n"
        )
        self.config.write_text(self._text, encoding="utf-8")
        self.settings = load(self.config)
        self.topics = self.settings.layout
        self.partitions = partitions
        self.workers: dict[str, Worker] = {}
        self.supervised = False
        """Start a worker again that has ended itself, as a supervisor does, and note why."""
        self.gave_up: list[str] = []
        gridwarden("topics", "apply", "--config", self.config)

    def add(self, name: str, more: str = "", module: str = "app") -> Worker:
        """Start a worker, or start it again. more: further lines of its section."""
        if name not in self.workers:
            config = self.folder / f"{name}.toml"
            # Before what may begin a section of its own.
            text = self._text + ("" if "session_s" in more else "session_s = 6\n") + more
            config.write_text(text, encoding="utf-8")
            self.workers[name] = Worker(name, self.folder, config)
            self.workers[name].module = module
        self.workers[name].start()
        return self.workers[name]

    def retire(self, worker: Worker) -> None:
        """Take a worker away for good: it saves its state, or has none yet."""
        status = worker.stop()
        if status not in (0, -signal.SIGTERM) and not self.supervised:
            raise PartFailed(f"{worker.name} ended ({status}):\n{worker.log[-3000:]}")

    def discard(self) -> None:
        for worker in self.workers.values():
            worker.discard()

    def remake_log(self) -> None:
        """An empty log in the place of the one that is there."""
        self.remake("log")

    def remake(self, role: str) -> None:
        """An empty topic in the place of the one that is there."""
        wait(_remake(self.settings, getattr(self.topics, role).name))

    def publish(self, contents: Iterable[bytes]) -> None:
        records = [
            (self.topics.content.name, 0, key, value)
            for content in contents
            for key, value in pieces(content_hash(content), content)
        ]
        wait(_write(self.settings, records))

    def put(self, bundles: Iterable[tuple[int, Sequence[LogRecord]]]) -> None:
        """(partition, records) of each bundle."""
        records = [
            (self.topics.log.name, number, None, encode_bundle(bundle))
            for number, bundle in bundles
        ]
        wait(_write(self.settings, records))

    def put_signals(self, role: str, partition: int, value: bytes) -> None:
        name = getattr(self.topics, role).name
        wait(_write(self.settings, [(name, partition, None, value)]))

    def put_raw(self, partition: int, value: bytes | None) -> None:
        wait(_write(self.settings, [(self.topics.log.name, partition, b"k", value)]))

    def read(self, role: str) -> list[ConsumerRecord]:
        """All that stands in a topic, partition by partition."""
        topic = getattr(self.topics, role)
        return wait(_read(self.bootstrap, topic.name, topic.partitions))

    def alerts(self) -> list[bytes]:
        return [record.value or b"" for record in self.read("alerts")]

    def ends(self) -> dict[int, int]:
        """Offsets at which the partitions of the log end now."""
        return wait(_ends(self.bootstrap, self.topics.log.name, self.partitions))

    def committed(self) -> dict[int, int]:
        """What the group has committed of the partitions of the log: an autoscaler asks for it."""
        return wait(_committed(self.bootstrap, self.settings.workers, self.topics.log.name))

    def owned(self) -> dict[int, list[str]]:
        """Partition -> who says that it is his."""
        found: dict[int, list[str]] = {}
        for name, worker in self.workers.items():
            for number in worker.partitions():
                found.setdefault(number, []).append(name)
        return found

    def all_owned(self) -> bool:
        self.fail_if_ended()
        owned = self.owned()
        return len(owned) == self.partitions and all(len(who) == 1 for who in owned.values())

    def done(self, ends: dict[int, int]) -> bool:
        """Whether all up to these ends is decided and sent."""
        self.fail_if_ended()
        reached: dict[int, int] = {}
        for worker in self.workers.values():
            for number, one in worker.partitions().items():
                reached[number] = max(reached.get(number, -1), one["offset"])
        return all(reached.get(number, -1) >= end - 1 for number, end in ends.items())

    def fail_if_ended(self) -> None:
        for worker in self.workers.values():
            if worker.status in (None, 0, -signal.SIGKILL, -signal.SIGTERM):
                continue
            if not self.supervised:
                raise PartFailed(f"{worker.name} ended ({worker.status}):\n{worker.log[-3000:]}")
            last = (worker.log.splitlines() or ["without a word"])[-1]
            self.gave_up.append(f"{worker.name}: {last}")
            worker.start()

    def finish(self, wait_s: float = 180.0) -> None:
        """Wait until all that is in the log by now is decided."""
        ends = self.ends()
        until(lambda: self.done(ends), wait_s, f"decided up to {ends}")

    def replayed(self, upto: dict[int, int] | None = None) -> list[bytes]:
        """What `replay` makes of the dumped partitions."""
        events: list[bytes] = []
        for number in range(self.partitions):
            dump, out = self.folder / f"{number}.dump", self.folder / f"{number}.jsonl"
            more = [] if upto is None else ["--upto", str(upto[number])]
            gridwarden(
                "log", "dump", "--config", self.config, "--partition", str(number),
                "--out", dump, *more,
            )  # fmt: skip
            gridwarden("replay", "--input", dump, "--out", out, "--json")
            events += out.read_bytes().splitlines()
        return events


Record = tuple[str, int, bytes | None, bytes | None]


async def _remake(settings: StreamSettings, name: str) -> None:
    async with admin.admin(settings.kafka) as client:
        await client.delete_topics([name])
        while name in await client.list_topics():
            await asyncio.sleep(0.1)
        while any(not one.good for one in await admin.compare(client, settings.layout)):
            await admin.apply(client, settings.layout)


async def _write(settings: StreamSettings, records: Sequence[Record]) -> None:
    """Tries until Kafka has them: some may be there twice then."""
    outlet = Outlet(settings.kafka)
    try:
        await OutletPost(outlet).send(records)
    finally:
        await outlet.close()


async def _read(bootstrap: str, topic: str, partitions: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: list[ConsumerRecord] = []
        for number in range(partitions):
            at = TopicPartition(topic, number)
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            end = (await consumer.end_offsets([at]))[at]
            while await consumer.position(at) < end:
                for records in (await consumer.getmany(at, timeout_ms=500)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def _ends(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        at = [TopicPartition(topic, number) for number in range(partitions)]
        return {one.partition: end for one, end in (await consumer.end_offsets(at)).items()}
    finally:
        await consumer.stop()


async def _committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        found = await client.list_consumer_group_offsets(group)
        return {at.partition: one.offset for at, one in found.items() if at.topic == topic}
    finally:
        await client.close()


__all__ = ["Cluster", "Worker", "until", "wait"]
