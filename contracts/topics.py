"""MQTT topics, in one place.

Gateways of ours::

    gw/v1/{gateway}/pack    agent -> ingest   packs (binary)
    gw/v1/{gateway}/tracks  agent -> ingest   packs that hold tracklets of cameras
    gw/v1/{gateway}/state   agent -> ingest   GatewayStatus, retained; also the will
    gw/v1/{gateway}/ack     ingest -> agent   Confirm
    gw/v1/{gateway}/cmd     ingest -> agent   Command
    gw/v1/{gateway}/ask     server -> agent   ClipAsk
    gw/v1/{gateway}/clip    agent -> server   parts of a clip that was asked for (binary)

Devices of anyone::

    grid/v1/{area6}/{street3}/{community3}/{grid3}/{family}/{device}/{tele|evt}

Alerts::

    alert/v1/{area6}/{street3}/{community3}/{grid3}/{family}/{severity}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from contracts.rejects import Reason, Refused

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Device and gateway ids."""

PACKS = "gw/v1/+/pack"
TRACKS = "gw/v1/+/tracks"
STATES = "gw/v1/+/state"
FOREIGN = ("grid/v1/+/+/+/+/+/+/tele", "grid/v1/+/+/+/+/+/+/evt")
HEARTBEAT = "gridwarden/v1/heartbeat"


def pack(gateway: str) -> str:
    return f"gw/v1/{gateway}/pack"


def tracks(gateway: str) -> str:
    return f"gw/v1/{gateway}/tracks"


def state(gateway: str) -> str:
    return f"gw/v1/{gateway}/state"


def ack(gateway: str) -> str:
    return f"gw/v1/{gateway}/ack"


def cmd(gateway: str) -> str:
    return f"gw/v1/{gateway}/cmd"


def ask(gateway: str) -> str:
    return f"gw/v1/{gateway}/ask"


def clip(gateway: str) -> str:
    return f"gw/v1/{gateway}/clip"


@dataclass(frozen=True, slots=True)
class ForeignTopic:
    """The parts of a `grid/v1/...` topic. `grid` is the 15 digits joined, as claimed."""

    grid: str
    family: str
    device: str
    klass: str


def gateway_of(topic: str) -> str:
    """The gateway of a `gw/v1/{gateway}/...` topic. Raises `Refused`."""
    parts = topic.split("/")
    if len(parts) != 4 or parts[:2] != ["gw", "v1"] or not ID.fullmatch(parts[2]):
        raise Refused(Reason.BAD_TOPIC, field="topic", detail=topic[:120])
    return parts[2]


def parse_foreign(topic: str) -> ForeignTopic:
    """Parse `grid/v1/...`. Raises `Refused`."""
    parts = topic.split("/")
    if len(parts) != 9 or parts[:2] != ["grid", "v1"] or parts[8] not in ("tele", "evt"):
        raise Refused(Reason.BAD_TOPIC, field="topic", detail=topic[:120])
    if not ID.fullmatch(parts[7]):
        raise Refused(Reason.BAD_TOPIC, field="device", detail=parts[7][:80])
    return ForeignTopic("".join(parts[2:6]), parts[6], parts[7], parts[8])


def foreign(grid: str, family: str, device: str, klass: str = "tele") -> str:
    return f"grid/v1/{_levels(grid)}/{family}/{device}/{klass}"


def alert(grid: str, family: str, severity: int) -> str:
    return f"alert/v1/{_levels(grid)}/{family}/{severity}"


def _levels(grid: str) -> str:
    """The four levels of a code: 6, 3, 3 and the rest; zeros where the grid is unknown."""
    code = grid or "0" * 15
    return f"{code[:6]}/{code[6:9]}/{code[9:12]}/{code[12:]}"
