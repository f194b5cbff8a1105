"""What a bridge costs, for `bench kafka`: packs from an MQTT broker to an acknowledged log."""

from __future__ import annotations

import math
import time
import urllib.request
from collections.abc import Sequence

from app.bench.kafka_site import DEADLINE_S, PACK_READINGS, Site
from app.bench.processes import usage
from app.bench.rig import Child, RigError
from app.bench.wire import WireSender
from contracts import topics
from contracts.log import LogRecord

LOGGED = 'gridwarden_bridge_messages_total{outcome="logged"} '


def carried(
    site: Site, child: Child, packs: Sequence[LogRecord], mqtt_port: int
) -> dict[str, float]:
    """Publish all packs at once and wait until the bridge says that they are in the log.

    packs: few enough for the broker's queue. Raises `RigError`.
    """
    began, spent = time.monotonic(), usage(child.process.pid).cpu_s
    sender = WireSender("127.0.0.1", mqtt_port, "bench-bridge")
    sender.send_all(((topics.pack(one.source).encode(), one.payload) for one in packs), math.inf)
    sender.settle(60)
    sender.close()
    deadline = time.monotonic() + DEADLINE_S
    while (logged := _logged(site, child)) < len(packs):
        child.check()
        if time.monotonic() > deadline:
            raise RigError(f"{logged} of {len(packs)} packs are in the log")
        time.sleep(0.05)
    readings = len(packs) * PACK_READINGS
    spent = usage(child.process.pid).cpu_s - spent
    return {
        "bridge_cpu_s_per_million_readings": spent / readings * 1e6,
        "bridge_readings_per_s": readings / (time.monotonic() - began),
    }


def _logged(site: Site, child: Child) -> float:
    with urllib.request.urlopen(f"{site.url(child)}/metrics", timeout=10) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return sum(float(line.removeprefix(LOGGED)) for line in lines if line.startswith(LOGGED))
