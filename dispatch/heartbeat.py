"""The dead-man heartbeat: what tells the platform that the pipeline lives. Pure."""

from __future__ import annotations

import msgspec

from contracts.alerts import timestamp
from dispatch.renotify import is_stalled

HEARTBEAT_TYPE = "io.gridwarden.pipeline.heartbeat"
STALLED_TYPE = "io.gridwarden.pipeline.stalled"


def heartbeat(position: int, lag_ms: int, now_ms: int, *, every_ms: int) -> tuple[str, bytes]:
    """The heartbeat as (id, bytes of a CloudEvent). position: of the log, worked off.

    lag_ms: how far the pipeline is behind. Beyond `STALLED_MS` the type changes: who only looks
    for heartbeats misses them, as it should; who reads further learns why.
    """
    stalled = is_stalled(lag_ms)
    name = f"heartbeat-{now_ms}"
    body = msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": name,
            "source": "/gridwarden",
            "type": STALLED_TYPE if stalled else HEARTBEAT_TYPE,
            "time": timestamp(now_ms),
            "datacontenttype": "application/json",
            "data": {
                "position": position,
                "lag_ms": lag_ms,
                "every_ms": every_ms,
                "stalled": stalled,
            },
        },
        order="deterministic",
    )
    return name, body
