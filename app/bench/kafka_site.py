"""A site on Kafka for `bench kafka`: topics, a made-up town, its packs in the log, and processes.

The packs are those of agents, put into the log in bundles as a bridge puts them there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from numpy.typing import NDArray

from app.bench.rig import Child, RigError
from app.bench.town import CALM, DEVICES_EACH, write_town
from app.stream.records import decode_pulse
from app.stream.routes import Routes
from app.stream.settings import load
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.pack import Pack, PackHeader, encode
from contracts.quantities import FAMILIES
from ingest.registry import load_with_findings

PACK_READINGS = 1_000
ONCE_READINGS = 200
"""Of a pack in which each device of a gateway says all that it has to say, about once."""
BUNDLE_BYTES = 64 << 10
HEARD_AFTER_MS = 200
START_S = 60.0
DEADLINE_S = 300.0


class Site:
    """One prefix on a running Kafka. config: the settings file of all its processes."""

    def __init__(self, config: Path) -> None:
        self.config, self.folder = config, config.parent
        self.settings = load(config)
        self.bootstrap = self.settings.kafka.bootstrap
        self.partitions = self.settings.topics.partitions

    @classmethod
    def make(
        cls, folder: Path, bootstrap: str, prefix: str, partitions: int, more: str = ""
    ) -> Site:
        """more: further TOML."""
        config = folder / f"{prefix}toml"
        config.write_text(
            f'{more}[kafka]\nbootstrap = "{bootstrap}"\n'
            f'[topics]\nprefix = "{prefix}"\npartitions = {partitions}\n[http]\nport = 0\n',
            encoding="utf-8",
        )
        return cls(config)

    def run(self, *arguments: str | Path) -> None:
        """A verb to its end. Raises `RigError` with what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *map(str, arguments), "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RigError(f"{arguments[0]} {arguments[1]}: {done.stdout}{done.stderr}"[-2000:])

    def prepare(self, rules: Path, registry: Path) -> None:
        self.run("topics", "apply")
        self.run("publish", "settings")
        self.run("publish", "registry", registry)
        self.run("publish", "rules", rules)

    @contextmanager
    def child(self, verb: str, name: str = "", **environment: str) -> Iterator[Child]:
        """A running verb, ended by SIGTERM at the end of the context."""
        log = self.folder / f"{name or verb}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", verb, "--config", str(self.config)],
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )
        child = Child(name or verb, process, log)
        try:
            yield child
        finally:
            child.stop()

    def health(self, child: Child) -> dict[str, Any]:
        """What a worker or bridge says of itself."""
        url = self.url(child)
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310
                found: dict[str, Any] = msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            found = msgspec.json.decode(error.read())
        return found

    def url(self, child: Child) -> str:
        """Where it answers, as it says when it starts. Raises `RigError`."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            child.check()
            for word in child.log.read_text(encoding="utf-8").split():
                if word.startswith("http://"):
                    return word.removesuffix("/health")
            time.sleep(0.05)
        raise RigError(f"{child.name} told no address: {child.log.read_text()[-2000:]}")

    def ends(self) -> dict[int, int]:
        """The offset at which each partition of the log ends."""
        return asyncio.run(self._ends())

    async def _ends(self) -> dict[int, int]:
        name = self.settings.layout.log.name
        parts = [TopicPartition(name, n) for n in range(self.partitions)]
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            found = await consumer.end_offsets(parts)
        return {one.partition: offset for one, offset in found.items()}

    def routes(self) -> Routes:
        return asyncio.run(self._routes())

    async def _routes(self) -> Routes:
        routes = Routes(self.partitions)
        one = TopicPartition(self.settings.layout.assignments.name, 0)
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            consumer.assign([one])
            await consumer.seek_to_beginning(one)
            end = (await consumer.end_offsets([one]))[one]
            while await consumer.position(one) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        routes.learn(record.key, record.value)
        return routes

    def done(self) -> dict[int, int]:
        """Partition -> the offset up to which it is decided, from the newest pulses."""
        return asyncio.run(self._done())

    async def _done(self) -> dict[int, int]:
        one = TopicPartition(self.settings.layout.pulses.name, 0)
        found: dict[int, int] = {}
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            consumer.assign([one])
            end = (await consumer.end_offsets([one]))[one]
            consumer.seek(one, max(0, end - 4 * self.partitions))
            while await consumer.position(one) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        pulse = decode_pulse(record.value or b"")
                        found[pulse.partition] = pulse.offset
        return found


class Gateways:
    """Gateways of a town that speak in turns, `readings` a pack."""

    def __init__(self, registry: Path, seed: int, readings: int = PACK_READINGS) -> None:
        self._readings = readings
        table = load_with_findings(registry)[0].devices
        self._dice = np.random.default_rng(seed)
        self._templates: list[tuple[str, ReadingBatch]] = []
        self.span_ms = 0
        """How much event time a pack covers."""
        for first in range(0, len(table), DEVICES_EACH):
            rows = range(first, min(first + DEVICES_EACH, len(table)))
            gateway = table.gateways[int(table.gateway[first])]
            self._templates.append(
                (
                    gateway,
                    self._template([(table.ids[r], FAMILIES[int(table.family[r])]) for r in rows]),
                )
            )

    def __len__(self) -> int:
        return len(self._templates)

    def _template(self, devices: list[tuple[str, str]]) -> ReadingBatch:
        """Every device says all its quantities once a second, until the pack is full."""
        once = ReadingBatch.of([(d, f, q, 0, v, 0) for d, f in devices for q, v in CALM[f].items()])
        rounds = -(-self._readings // len(once))
        self.span_ms = max(self.span_ms, rounds * 1_000)
        nth = np.arange(self._readings)
        pack = once.take(nth % len(once))
        return dataclasses.replace(pack, ts_ms=nth // len(once) * 1_000)

    def live(self, per_s: float, seconds: float) -> Iterator[LogRecord]:
        """For so long, packs of the moment at which each is asked for."""
        end, number = time.monotonic() + seconds, 0
        every_ms = 1_000 * self._readings * len(self) / per_s
        while time.monotonic() < end:
            number += 1
            for gateway, template in self._templates:
                at_ms = time.time_ns() // 1_000_000 - int(every_ms)
                ts_ms = (template.ts_ms * (every_ms / self.span_ms)).astype(np.int64)
                yield self._pack(gateway, template, number, at_ms, ts_ms)

    def _pack(
        self, gateway: str, template: ReadingBatch, seq: int, at_ms: int, ts_ms: NDArray[np.int64]
    ) -> LogRecord:
        """Values differ a little from pack to pack."""
        little = 1 + 1e-4 * self._dice.integers(0, 50)
        batch = dataclasses.replace(template, ts_ms=at_ms + ts_ms, value=template.value * little)
        closed_ms = at_ms + int(ts_ms[-1])
        header = PackHeader(gateway, 1 << 32, seq, closed_ms, closed_ms)
        payload = encode(Pack(header, batch))
        return LogRecord(RecordKind.PACK, closed_ms + HEARD_AFTER_MS, gateway, payload)


def town(folder: Path, devices: int, seed: int) -> Path:
    """A registry of so many devices."""
    registry = folder / f"town-{devices}"
    write_town(registry, devices, seed)
    return registry


def fill(
    site: Site, packs: Iterator[LogRecord], per_s: float = 0.0, each: int = PACK_READINGS
) -> int:
    """Bundles into the log; how many readings. per_s: readings a second, 0 = as fast as it goes.
    each: readings of a pack."""
    return asyncio.run(_fill(site, packs, per_s, each))


async def _fill(site: Site, packs: Iterator[LogRecord], per_s: float, each: int) -> int:
    routes, name = await site._routes(), site.settings.layout.log.name
    waiting: dict[int, list[LogRecord]] = {n: [] for n in range(site.partitions)}
    sizes = dict.fromkeys(waiting, 0)
    readings, began = 0, time.monotonic()
    async with AIOKafkaProducer(
        bootstrap_servers=site.bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=1 << 20,
        max_request_size=8 << 20,
    ) as producer:
        sent: list[asyncio.Future[Any]] = []

        async def close(n: int) -> None:
            records, waiting[n], sizes[n] = waiting[n], [], 0
            if records:
                sent.append(await producer.send(name, encode_bundle(records), partition=n))

        for pack in packs:
            n = routes.of_gateway(pack.source)
            waiting[n].append(pack)
            sizes[n] += len(pack.payload)
            readings += each
            if sizes[n] >= BUNDLE_BYTES:
                await close(n)
            if per_s and (ahead := readings / per_s - (time.monotonic() - began)) > 0.02:
                await asyncio.sleep(ahead)
            if len(sent) > 256:
                await asyncio.gather(*sent)
                sent.clear()
        for n in waiting:
            await close(n)
        await asyncio.gather(*sent)
    return readings
