"""`bench e2e`: the whole way, as users run it: agents, broker, server with shipped rules.

Three phases on one rig:

1. load: agents (the shipped one, with its synced outbox and end-to-end confirms) send packs of
   500 readings of 10 000 devices faster than they can be taken; counted are the readings that
   the engine has let in and decided, over the window.
2. latency: half of that rate, with probes from publish to webhook beside it.
3. single messages: one native JSON reading a message, QoS 1, from a sender that is not the limit.

Resident memory is read at a district's ordinary rate, before the load.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from app.bench.document import document
from app.bench.probe import BEATING, GATEWAY, Prober, Webhook
from app.bench.rig import Child, Rig, RigError, rig
from app.bench.wire import WireSender
from contracts import topics
from edge.sources.simulate import write_registry
from edge.sources.simulate.load import LoadDistrict, LoadSize

GATEWAYS = 200
DEVICES_EACH = 50
PROBES = 400
FOREIGN = 1_000
TIMED_SLACK_MS = 2_000
TARGET_PER_S = 1_300_000


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    load_s, latency_s, single_s = (6.0, 6.0, 4.0) if quick else (60.0, 40.0, 20.0)
    with TemporaryDirectory(prefix="gridwarden-bench-") as name:
        folder = Path(name)
        hook = Webhook(folder / "hook.secret")
        registry = _registry(folder / "registry", seed)
        settings = f"""[[webhook]]
name = "bench"
url = "{hook.url}"
secret_file = "{folder / "hook.secret"}"
"""
        figures: dict[str, float] = {}
        with rig(registry, settings=settings.replace("[[webhook]]", "\n[[webhook]]")) as parts:
            figures |= _memory(parts, seed, quick)
            rate, found = _load(parts, seed, load_s)
            figures |= found
            figures |= _latency(parts, hook, seed, latency_s, rate / 2)
            figures |= _single(parts, single_s)
        hook.close()
    how = {
        "devices": GATEWAYS * DEVICES_EACH,
        "gateways": GATEWAYS,
        "pack_readings": 500,
        "load_s": load_s,
        "latency_s": latency_s,
        "single_s": single_s,
        "target_per_s": TARGET_PER_S,
        "broker": parts.broker.kind,
        "quick": quick,
    }
    return document("e2e", figures, seed=seed, settings=how)


def _registry(folder: Path, seed: int) -> Path:
    """10 000 load devices, and devices for the probes and the single messages."""
    district = LoadDistrict(seed, LoadSize(_gateways(), DEVICES_EACH, 1_000), start_ms=0)
    write_registry(folder, district)
    table = folder / "devices.csv"
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    columns = head.split(",")
    grid = dict(zip(columns, rows[0].split(","), strict=True))["grid"]

    def row(device: str, family: str, gateway: str) -> str:
        known = {"device": device, "family": family, "gateway": gateway, "grid": grid}
        return ",".join(known.get(column, "") for column in columns)

    rows += [row(f"probe-{i:04d}", "smoke", GATEWAY) for i in range(PROBES)]
    rows += [row(f"timed-{i:04d}", "efire", GATEWAY) for i in range(PROBES)]
    rows += [row(f"single-{i:04d}", "efire", "") for i in range(FOREIGN)]
    table.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return folder


def _gateways() -> tuple[str, ...]:
    return tuple(f"gw-{i:04d}" for i in range(1, GATEWAYS + 1))


def _agent(parts: Rig, name: str, seed: int, per_s: float, gateways: tuple[str, ...]) -> Child:
    """An agent that sends `per_s` readings a second from `gateways`."""
    devices = len(gateways) * DEVICES_EACH
    period_ms = max(1, round(devices * 1000 / per_s))
    names = ", ".join(f'"{gateway}"' for gateway in gateways)
    return parts.agent(
        name,
        f"""[agent]
gateways = [{names}]
[broker]
host = "127.0.0.1"
port = {parts.mqtt_port}
connections = 2
[outbox]
path = "outbox.db"
limit_mib = 1024
[window]
# As many as {len(gateways)} gateways of the default 32 would have under way, within reason.
packs = {min(800, 32 * len(gateways))}
bytes = {min(800, 32 * len(gateways)) * 12_000}
[source]
kind = "simulate"
profile = "load"
seed = {seed}
devices_per_gateway = {DEVICES_EACH}
period_ms = {period_ms}
""",
    )


def _memory(parts: Rig, seed: int, quick: bool) -> dict[str, float]:
    """At one reading per device and 10 s; the agent is one gateway's."""
    many = _agent(parts, "district", seed, GATEWAYS * DEVICES_EACH / 10, _gateways()[1:])
    one = _agent(parts, "gateway", seed, DEVICES_EACH / 10, _gateways()[:1])
    _await(parts, lambda: parts.readings() >= 1_000, (many, one))
    time.sleep(3 if quick else 20)
    figures = {
        "agent_rss_mb": one.usage().rss_mb,
        "server_rss_mb": parts.server.usage().rss_mb,
    }
    many.stop()
    one.stop()
    return figures


def _load(parts: Rig, seed: int, seconds: float) -> tuple[float, dict[str, float]]:
    sender = _agent(parts, "load", seed, TARGET_PER_S, _gateways())
    start_readings = parts.readings()
    _await(parts, lambda: parts.readings() > start_readings + TARGET_PER_S, (sender,))
    before, agent_before = parts.server.usage(), sender.usage()
    count, clock = parts.readings(), time.monotonic()
    while time.monotonic() - clock < seconds:
        time.sleep(0.5)
        sender.check()
        parts.server.check()
    took_s, done = time.monotonic() - clock, parts.readings() - count
    after, agent_after = parts.server.usage(), sender.usage()
    health = parts.health()
    sender.stop()
    per_s = done / took_s
    telemetry = health["telemetry"] or {}
    return per_s, {
        "packed_readings_per_s": per_s,
        "server_cpu_s_per_million": (after.cpu_s - before.cpu_s) / (done / 1e6),
        "agent_cpu_s_per_million": (agent_after.cpu_s - agent_before.cpu_s) / (done / 1e6),
        "server_peak_mb_under_load": after.peak_mb,
        "store_lag_ms_under_load": float(telemetry.get("lag_ms", 0)),
        "store_thinned_share": telemetry.get("thinned_rows", 0)
        / max(1, telemetry.get("handed_rows", 1)),
    }


def _latency(
    parts: Rig, hook: Webhook, seed: int, seconds: float, per_s: float
) -> dict[str, float]:
    settled_s = _settle(parts)
    sender = _agent(parts, "half", seed + 1, per_s, _gateways())
    start = parts.readings()
    _await(parts, lambda: parts.readings() > start + per_s * 2, (sender,))
    prober = Prober(parts.mqtt_port)
    prober.connect()
    timed = _probe(prober, seconds, random.Random(seed))  # noqa: S311 - moments, not secrets
    deadline = time.monotonic() + TIMED_SLACK_MS / 1000 + 40
    while time.monotonic() < deadline and not _all_in(hook, prober):
        time.sleep(0.1)
    prober.close()
    sender.stop()
    instant = [
        (hook.arrivals[device, "raised"] - sent) * 1000
        for device, sent in prober.sent.items()
        if device.startswith("probe-") and device != BEATING and (device, "raised") in hook.arrivals
    ]
    late = [
        hook.arrivals[device, "raised"] * 1000 - due_ms - TIMED_SLACK_MS
        for device, due_ms in timed.items()
        if (device, "raised") in hook.arrivals
    ]
    delays = {
        hook.events[device, "raised"]["data"]["timing"]["on_delay_ms"]
        for device in timed
        if (device, "raised") in hook.events
    }
    if delays - {HOT_FOR_MS}:
        raise RigError(f"the shipped rule holds for {delays} ms, the probes expect {HOT_FOR_MS}")
    lost = sum(1 for device in prober.sent if device != BEATING) - len(instant) - len(late)
    return {
        "p50_ms": median(instant),
        "p99_ms": _quantile(instant, 0.99),
        "timed_p50_over_slack_ms": median(late),
        "timed_p99_over_slack_ms": _quantile(late, 0.99),
        "probes": float(len(instant)),
        "timed_probes": float(len(late)),
        "probes_lost": float(lost),
        "half_load_per_s": per_s,
        "settled_after_load_s": settled_s,
    }


def _settle(parts: Rig) -> float:
    """Wait until what the full load left behind is worked off, in the stores too; seconds of it.

    Half load is what is measured after this, not the end of an overload.
    """
    began = time.monotonic()
    while time.monotonic() < began + SETTLE_S:
        health = parts.health()
        store_ms = (health["telemetry"] or {}).get("lag_ms", 0)
        if health["lag_ms"] < SETTLED_MS and store_ms < SETTLED_MS:
            break
        time.sleep(0.2)
    return time.monotonic() - began


def _probe(prober: Prober, seconds: float, dice: random.Random) -> dict[str, float]:
    """Fires at random moments, and hot cables; returns when each timed alert is due (unix ms)."""
    due: dict[str, float] = {}
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end and number < PROBES:
        if number % 2:
            device = f"timed-{number:04d}"
            at_ms = prober.send([(device, "efire", "cable_temperature", 95.0)], alarm=False)
            due[device] = at_ms + HOT_FOR_MS
        else:
            prober.send([(f"probe-{number:04d}", "smoke", "fire", 1.0)], alarm=True)
        number += 1
        time.sleep(dice.uniform(0.02, 0.18))
    return due


SETTLE_S, SETTLED_MS = 60.0, 2_000

HOT_FOR_MS = 30_000
"""The on-delay of the shipped rule for hot cables; checked against the alert itself."""


def _all_in(hook: Webhook, prober: Prober) -> bool:
    return all((device, "raised") in hook.arrivals for device in prober.sent if device != BEATING)


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _single(parts: Rig, seconds: float) -> dict[str, float]:
    grid = parts.metric("gridwarden_messages_total", outcome="accepted")
    before = parts.server.usage()
    sender = WireSender("127.0.0.1", parts.mqtt_port, "bench-single")
    start = time.monotonic()
    sender.send_all(_messages(), start + seconds)
    sender.settle(30)
    sent_s = time.monotonic() - start
    deadline = time.monotonic() + 60
    count = grid
    while time.monotonic() < deadline:
        count = parts.metric("gridwarden_messages_total", outcome="accepted")
        if count - grid >= sender.sent:
            break
        time.sleep(0.05)
    took_s = time.monotonic() - start
    sender.close()
    after = parts.server.usage()
    return {
        "single_messages_per_s": (count - grid) / took_s,
        "single_sender_per_s": sender.sent / sent_s,
        "single_server_cpu_us_each": (after.cpu_s - before.cpu_s) / max(1, count - grid) * 1e6,
    }


def _messages() -> Iterator[tuple[bytes, bytes]]:
    """One native JSON reading a message, devices in turn."""
    names = [
        (f"single-{i:04d}", topics.foreign("340199001001001", "efire", f"single-{i:04d}").encode())
        for i in range(FOREIGN)
    ]
    for number in itertools.count():
        device, topic = names[number % FOREIGN]
        at_ms = time.time_ns() // 1_000_000
        yield (
            topic,
            f'{{"deviceId":"{device}","family":"efire","ts":{at_ms},'
            f'"metrics":{{"residual_current":{100 + number % 50}.5}}}}'.encode(),
        )


def _await(parts: Rig, reached: Any, children: tuple[Child, ...]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        parts.server.check()
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise TimeoutError("the load didn't arrive within 60 s")
        time.sleep(0.1)
