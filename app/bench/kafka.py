"""`bench kafka`: what a worker does on a real Kafka, beside Quix Streams on the same broker.

Kafka is the one that `KAFKA_BOOTSTRAP` names, else one node of our own on this machine, with one
copy of everything: its CPU stands beside ours.

* throughput: packs of 1 000 readings of 10 000 devices wait in the log; one worker with the shipped
  rules works them off, with snapshots on. Then the same with one rule, and with two workers, with
  ten and thirty times as many devices, and in four times as many partitions.
* bridge: packs from an MQTT broker to the acknowledged log, beside no worker.
* recovery: a worker takes over a partition with the state of a million devices.
* latency: at half of that load, a fire from the MQTT publish through bridge, worker and dispatch
  to the webhook.
* peer: Quix Streams with the one rule, a record a reading, and with the same bundles of packs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from app import broker as brokers
from app.bench.document import document
from app.bench.kafka_bridge import carried
from app.bench.kafka_part import Kafka, named_bootstrap
from app.bench.kafka_site import (
    DEADLINE_S,
    ONCE_READINGS,
    PACK_READINGS,
    Gateways,
    Site,
    fill,
    town,
)
from app.bench.probe import BEATING, Prober, Webhook
from app.bench.processes import usage
from app.bench.rig import Child, RigError
from app.bench.rules import ONE_RULE
from app.content import shipped_rules
from contracts.log import LogRecord, encode_bundle
from contracts.pack import decode

DEVICES = 10_000
MANY, QUICK_MANY = 1_000_000, 20_000
READINGS, QUICK_READINGS = 24_000_000, 6_000_000
GROWN_DEVICES, GROWN_PARTITIONS = (100_000, 300_000), 16
BRIDGED_PACKS, QUICK_BRIDGED_PACKS = 8_000, 2_000
"""At most 80 MB, of the 256 MB that the broker queues."""
PEER_READINGS, QUICK_PEER_READINGS = 200_000, 20_000
FILLED_PER_S = 1_500_000
"""Readings a second at which the log is filled, each stamped as it is put in."""
PARTITIONS = 4
WARM_SHARE = 0.1
"""Of the log, worked off before the clock starts: imports, first snapshots, caches."""
SNAPSHOT = "[worker]\nsnapshot_every_s = 5\nsession_s = 10\n"


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    readings = QUICK_READINGS if quick else READINGS
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="gridwarden-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        bootstrap = stack.enter_context(_kafka(folder))
        registry = town(folder, DEVICES, seed)
        one_rule = folder / "one"
        one_rule.mkdir()
        (one_rule / "one.yml").write_text(ONE_RULE, encoding="utf-8")
        bench = _Bench(folder, bootstrap, registry, seed)
        figures |= bench.throughput("", shipped_rules(), readings, workers=1)
        if not quick:
            figures |= bench.throughput("one_rule_", one_rule, readings, workers=1)
            figures |= bench.throughput("two_workers_", shipped_rules(), readings, workers=2)
            for many in GROWN_DEVICES:
                grown = bench.of(town(folder, many, seed))
                name = f"devices_{many}_"
                figures |= grown.throughput(name, shipped_rules(), readings, workers=1)
            name = f"partitions_{GROWN_PARTITIONS}_"
            figures |= bench.throughput(
                name, shipped_rules(), readings, workers=1, partitions=GROWN_PARTITIONS
            )
            figures |= bench.latency(figures["readings_per_s"] / 2)
        figures |= bench.bridge(QUICK_BRIDGED_PACKS if quick else BRIDGED_PACKS)
        figures |= bench.recovery(QUICK_MANY if quick else MANY)
        if find_spec("quixstreams"):
            figures |= bench.peer(QUICK_PEER_READINGS if quick else PEER_READINGS)
    how = {
        "devices": DEVICES,
        "bridged_packs": QUICK_BRIDGED_PACKS if quick else BRIDGED_PACKS,
        "pack_readings": PACK_READINGS,
        "readings": readings,
        "partitions": PARTITIONS,
        "recovered_devices": QUICK_MANY if quick else MANY,
        "quixstreams": metadata.version("quixstreams") if find_spec("quixstreams") else "",
        "own_broker": not named_bootstrap(),
        "quick": quick,
    }
    return document("kafka", figures, seed=seed, settings=how)


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    if named_bootstrap():
        yield named_bootstrap()
        return
    with Kafka(folder / "kafka", config={"log.flush.scheduler.interval.ms": "1000"}) as own:
        yield own.bootstrap


class _Bench:
    def __init__(self, folder: Path, bootstrap: str, registry: Path, seed: int) -> None:
        self._folder, self._bootstrap, self._registry = folder, bootstrap, registry
        self._seed = seed
        self._sites = count(1)

    def of(self, registry: Path) -> _Bench:
        """The same on another town."""
        other = _Bench(self._folder, self._bootstrap, registry, self._seed)
        other._sites = self._sites
        return other

    def _site(self, partitions: int, more: str = "") -> Site:
        prefix = f"b{next(self._sites)}-{os.getpid()}."
        return Site.make(self._folder, self._bootstrap, prefix, partitions, more + SNAPSHOT)

    def throughput(
        self,
        name: str,
        rules: Path,
        readings: int,
        *,
        workers: int,
        partitions: int = PARTITIONS,
    ) -> dict[str, float]:
        site = self._site(partitions)
        site.prepare(rules, self._registry)
        gateways = Gateways(self._registry, self._seed)
        begins = site.ends()
        total = fill(site, gateways.live(FILLED_PER_S, readings / FILLED_PER_S), FILLED_PER_S)
        ends = site.ends()
        with ExitStack() as stack:
            children = [
                stack.enter_context(site.child("worker", f"{name}worker{n}"))
                for n in range(workers)
            ]
            warm = _until_done(site, begins, ends, WARM_SHARE, children)
            cpu, began = _cpu(children), time.monotonic()
            whole = _until_done(site, begins, ends, 1.0, children)
            spent, wall = _cpu(children) - cpu, time.monotonic() - began
            peak = max(usage(child.process.pid).peak_mb for child in children)
        counted = total * (whole - warm)
        return {
            f"{name}readings_per_cpu_s": counted / spent,
            f"{name}readings_per_s": counted / wall,
            f"{name}peak_mb": peak,
        }

    def recovery(self, devices: int) -> dict[str, float]:
        """All devices in one partition have spoken; the state is saved, and taken over."""
        site = self._site(1)
        registry = town(self._folder, devices, self._seed)
        site.prepare(shipped_rules(), registry)
        gateways = Gateways(registry, self._seed, ONCE_READINGS)
        begins = site.ends()
        packs = islice(gateways.live(FILLED_PER_S, DEADLINE_S), len(gateways))
        fill(site, packs, each=ONCE_READINGS)
        ends = site.ends()
        with site.child("worker", "saving") as child:
            _until_done(site, begins, ends, 1.0, [child])
        began = time.monotonic()
        with site.child("worker", "recovering") as child:
            document = _until_ready(site, child)
            wall = time.monotonic() - began
            peak = usage(child.process.pid).peak_mb
        took = document["partitions"][0]["recovered_s"]
        return {
            "recovery_s_per_million_states": took * 1e6 / devices,
            "recovery_with_start_s": wall,
            "recovered_peak_mb": peak,
        }

    def bridge(self, packs: int) -> dict[str, float]:
        """Packs that a bridge carries into the log, while nobody reads it."""
        broker = brokers.start("auto", 0, self._folder / "bridged")
        try:
            site = self._site(PARTITIONS, f"[mqtt]\nport = {broker.port}\n")
            site.prepare(shipped_rules(), self._registry)
            gateways = Gateways(self._registry, self._seed)
            with site.child("bridge") as child:
                _until_connected(site, child)
                live = gateways.live(FILLED_PER_S, DEADLINE_S)
                return carried(site, child, list(islice(live, packs)), broker.port)
        finally:
            broker.stop()

    def latency(self, per_s: float) -> dict[str, float]:
        """Probes through everything, beside packs that come at `per_s` readings a second."""
        hook = Webhook(self._folder / "hook.secret")
        broker = brokers.start("auto", 0, self._folder / "broker")
        try:
            return self._latency(per_s, hook, broker.port)
        finally:
            broker.stop()
            hook.close()

    def _latency(self, per_s: float, hook: Webhook, mqtt_port: int) -> dict[str, float]:
        site = self._site(
            PARTITIONS,
            f'data = "dispatch"\n[mqtt]\nport = {mqtt_port}\n[console]\nport = 0\n'
            f'[dispatch]\nmqtt_alerts = false\n[[webhook]]\nname = "bench"\nurl = "{hook.url}"\n'
            f'secret_file = "{self._folder / "hook.secret"}"\n',
        )
        site.prepare(shipped_rules(), self._registry)
        seconds = 40.0
        with (
            site.child("worker"),
            site.child("bridge") as bridge,
            site.child("dispatch"),
        ):
            _until_connected(site, bridge)
            load = subprocess.Popen(
                [
                    *(sys.executable, "-m", "app.bench.kafka_load", str(site.config)),
                    *(str(self._registry), str(per_s), str(seconds + 20), str(self._seed)),
                ]
            )
            try:
                time.sleep(10)
                prober = Prober(mqtt_port)
                prober.connect()
                _probe(prober, seconds, random.Random(self._seed))  # noqa: S311 - moments
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline and not _all_in(hook, prober):
                    time.sleep(0.1)
                prober.close()
            finally:
                load.kill()
                load.wait()
        waits = sorted(
            (hook.arrivals[device, "raised"] - sent) * 1000
            for device, sent in prober.sent.items()
            if device != BEATING and (device, "raised") in hook.arrivals
        )
        return {
            "p50_ms": median(waits),
            "p99_ms": waits[min(len(waits) - 1, int(0.99 * len(waits)))],
            "probes": float(len(waits)),
            "probes_lost": float(len(prober.sent) - 1 - len(waits)),
            "half_load_per_s": per_s,
        }

    def peer(self, readings: int) -> dict[str, float]:
        """The same packs for Quix: as single readings in JSON, and as our bundles."""
        gateways = Gateways(self._registry, self._seed)
        packs = list(islice(gateways.live(FILLED_PER_S, 3600), readings // PACK_READINGS))
        name = f"quix-{os.getpid()}"
        figures = {}
        for kind, records in (
            ("readings", [row for pack in packs for row in _rows(pack)]),
            ("packs", [(pack.source.encode(), encode_bundle([pack])) for pack in packs]),
        ):
            asyncio.run(_send(self._bootstrap, f"{name}-{kind}", records))
            spent = self._quix(f"{name}-{kind}", kind, len(records))
            total = len(packs) * PACK_READINGS
            label = "quix_" if kind == "readings" else "quix_packs_"
            figures[f"{label}readings_per_cpu_s"] = total / spent["cpu_s"]
            figures[f"{label}readings_per_s"] = total / spent["wall_s"]
        return figures

    def _quix(self, topic: str, kind: str, count: int) -> dict[str, float]:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "app.bench.quix_flow"),
                *(self._bootstrap, topic, topic, kind, str(count)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": str(self._folder)},
        )
        if done.returncode:
            raise RigError(f"quix: {done.stderr[-2000:]}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def _rows(pack: LogRecord) -> Iterator[tuple[bytes, bytes]]:
    for device, _, quantity, ts_ms, value, _ in decode(pack.payload).batch.rows():
        body = {"d": device, "q": quantity, "ts": ts_ms, "v": value}
        yield device.encode(), msgspec.json.encode(body)


async def _send(bootstrap: str, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 << 20) as producer:
        sent = []
        for key, value in records:
            sent.append(await producer.send(topic, value, key=key))
            if len(sent) >= 5_000:
                await asyncio.gather(*sent)
                sent.clear()
        await asyncio.gather(*sent)


def _cpu(children: list[Child]) -> float:
    return sum(usage(child.process.pid).cpu_s for child in children)


def _until_done(
    site: Site,
    begins: dict[int, int],
    ends: dict[int, int],
    share: float,
    children: list[Child],
) -> float:
    """Wait until so much of the log between is decided; gives how much is."""
    total = sum(ends.values()) - sum(begins.values())
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for child in children:
            child.check()
        done = site.done()
        passed = [
            min(ends[n], max(begins[n], done.get(n, -1) + 1)) - begins[n] for n in range(len(ends))
        ]
        if sum(passed) >= share * total:
            return sum(passed) / total
        time.sleep(0.05)
    raise RigError(f"the log isn't worked off after {DEADLINE_S:.0f} s: {site.done()} of {ends}")


def _until_ready(site: Site, child: Child) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        child.check()
        try:
            document = site.health(child)
        except (urllib.error.URLError, OSError):
            document = {}
        if document.get("ready") and len(document.get("partitions", ())) == site.partitions:
            return document
        time.sleep(0.05)
    raise RigError("the worker has no partitions")


def _until_connected(site: Site, child: Child) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if site.health(child).get("ready"):
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise RigError("the bridge isn't ready")


def _probe(prober: Prober, seconds: float, dice: random.Random) -> None:
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        prober.send([(f"probe-{number:04d}", "smoke", "fire", 1.0)], alarm=True)
        number += 1
        time.sleep(dice.uniform(0.02, 0.18))


def _all_in(hook: Webhook, prober: Prober) -> bool:
    return all((device, "raised") in hook.arrivals for device in prober.sent if device != BEATING)
