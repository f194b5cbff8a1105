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

import os
import random
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka.errors import KafkaError

from app import broker as brokers
from app.bench.document import document
from app.bench.kafka_bridge import carried
from app.bench.kafka_part import Kafka, named_bootstrap
from app.bench.kafka_peer import peer
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

DEVICES = 10_000
MANY, QUICK_MANY = 1_000_000, 20_000
READINGS, QUICK_READINGS = 18_000_000, 6_000_000
GROWN_DEVICES, GROWN_PARTITIONS = (100_000, 300_000), 16
BRIDGED_PACKS, QUICK_BRIDGED_PACKS = 8_000, 2_000
"""At most 80 MB, of the 256 MB that the broker queues."""
PEER_READINGS, QUICK_PEER_READINGS = 200_000, 20_000
FILLED_PER_S = 1_500_000
"""Readings a second at which the log is filled, each stamped as it is put in."""
PARTITIONS = 4
WARM_SHARE = 0.1
"""Of the log, worked off before the clock starts: imports, first snapshots, caches."""
SNAPSHOT_EVERY_S = 5
SNAPSHOT = f"[worker]\nsnapshot_every_s = {SNAPSHOT_EVERY_S}\nsession_s = 10\n"


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    """A part that fails leaves its figures out; the document tells of it under `failed`."""
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
        parts: list[tuple[str, Callable[[], dict[str, float]]]] = [
            ("throughput", lambda: bench.throughput("", shipped_rules(), readings)),
            ("recovery", lambda: bench.recovery(QUICK_MANY if quick else MANY)),
            ("bridge", lambda: bench.bridge(QUICK_BRIDGED_PACKS if quick else BRIDGED_PACKS)),
        ]
        if find_spec("quixstreams"):
            many = QUICK_PEER_READINGS if quick else PEER_READINGS
            parts.append(("peer", lambda: bench.peer(many)))
        if not quick:
            parts.insert(1, ("latency", lambda: bench.latency(figures["readings_per_s"] / 2)))
            parts += _grown(bench, readings, one_rule)
        failed = measure(parts, figures)
    how = {
        "devices": DEVICES,
        "bridged_packs": QUICK_BRIDGED_PACKS if quick else BRIDGED_PACKS,
        "pack_readings": PACK_READINGS,
        "readings": readings,
        "partitions": PARTITIONS,
        "snapshot_every_s": SNAPSHOT_EVERY_S,
        "recovered_devices": QUICK_MANY if quick else MANY,
        "quixstreams": metadata.version("quixstreams") if find_spec("quixstreams") else "",
        "own_broker": not named_bootstrap(),
        "quick": quick,
    }
    if failed:
        how["failed"] = failed
    return document("kafka", figures, seed=seed, settings=how)


def measure(
    parts: Iterable[tuple[str, Callable[[], dict[str, float]]]], figures: dict[str, float]
) -> dict[str, str]:
    """Adds the figures of each part; gives why some have none. The others are measured all the
    same: one run takes ten minutes."""
    failed: dict[str, str] = {}
    for part, figures_of in parts:
        try:
            figures |= figures_of()
        except (RigError, KafkaError, OSError, LookupError, ValueError) as error:
            failed[part] = f"{type(error).__name__}: {error}"[:500]
            print(f"bench kafka: {part}: {failed[part]}", file=sys.stderr)
    return failed


def _grown(
    bench: _Bench, readings: int, one_rule: Path
) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """What is measured once more with fewer rules, and with more of all else."""
    rules = shipped_rules()
    yield "one rule", lambda: bench.throughput("one_rule_", one_rule, readings)
    yield "two workers", lambda: bench.throughput("two_workers_", rules, readings, workers=2)
    name = f"partitions_{GROWN_PARTITIONS}_"
    yield name, lambda: bench.throughput(name, rules, readings, partitions=GROWN_PARTITIONS)
    for many in GROWN_DEVICES:
        yield f"{many} devices", partial(bench.grown, many, rules, readings)


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

    def grown(self, devices: int, rules: Path, readings: int) -> dict[str, float]:
        """`throughput` in a larger town."""
        registry = town(self._folder, devices, self._seed)
        other = _Bench(self._folder, self._bootstrap, registry, self._seed)
        other._sites = self._sites
        return other.throughput(f"devices_{devices}_", rules, readings)

    def _site(self, partitions: int, more: str = "") -> Site:
        prefix = f"b{next(self._sites)}-{os.getpid()}."
        return Site.make(self._folder, self._bootstrap, prefix, partitions, more + SNAPSHOT)

    def throughput(
        self,
        name: str,
        rules: Path,
        readings: int,
        *,
        workers: int = 1,
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

    def peer(self, readings: int) -> dict[str, float]:
        """The same packs for Quix Streams."""
        live = Gateways(self._registry, self._seed).live(FILLED_PER_S, DEADLINE_S)
        packs = list(islice(live, readings // PACK_READINGS))
        return peer(self._bootstrap, self._folder, packs)

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
