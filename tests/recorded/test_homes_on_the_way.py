"""The recorded homes on the real path, in recorded time: agent, Mosquitto, server, webhook.

The agent plays a home's events as fast as it can and the server's clock is theirs
(`up --rehearse-from`), so weeks pass in seconds and every alarm comes at its minute. What comes out
is held against the detector itself, run beside over the same rows, and against a replay of the log.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.content import shipped_rules
from app.homes import RecordedHome, read_home
from app.models import load_inactivity
from contracts import telemetry
from contracts.batch import ReadingBatch
from detectors.inactivity.layout import Kind
from detectors.inactivity.operator import InactivityOperator
from tests.app.quiet_alerts import expected, risen
from tests.parts.mosquitto import Mosquitto
from tests.recorded.real_path import Told
from tests.recorded.recordings import REGISTRY
from tests.torture.processes import Agent, Receiver, Server, until

pytestmark = [pytest.mark.recorded, pytest.mark.broker]

GATEWAY, DETECTOR, GRID = "rec-gw-home", "detector-inactivity", "340199009001001"
DAY = 86_400_000
PLAUSIBLE_MS = 1_609_459_200_000  # 2021
QUANTITY = {
    Kind.MOTION: "motion",
    Kind.CONTACT: "contact",
    Kind.PRESSURE: "bed_pressure",
    Kind.WATER: "flow",
    Kind.POWER: "power_draw",
    Kind.HEARTBEAT: "online",
}
HOMES = ("home-a", "home-b", "home-c", "home-d", "home-e")
SHORT = ("home-a", "home-b", "home-d")
"""Motion, contacts and heartbeats; water; contacts and a mat without heartbeats."""
FIRST_DAY, LIVED_DAYS, QUIET_MS = 2, 0.5, 25 * 3_600_000


@dataclass(frozen=True)
class Stay:
    """A home, some of its days. facts: its `home.json`."""

    home: RecordedHome
    facts: dict[str, Any]

    @property
    def begin_ms(self) -> int:
        return int(self.home.ts_ms[0]) // 60_000 * 60_000 - 60_000


def stay_in(folder: Path, first_day: int = 0, days: float = 1e9) -> Stay:
    """Times are moved by whole 52 weeks: what is dated before 2015 is taken for a clock that was
    never set."""
    home = read_home(folder)
    moved = -(-max(0, PLAUSIBLE_MS - int(home.ts_ms[0])) // (364 * DAY)) * 364 * DAY
    home = replace(home, ts_ms=home.ts_ms + moved)
    day = (home.ts_ms - home.ts_ms[0]) / DAY
    some = of_rows(home, (day >= first_day) & (day < first_day + days))
    return Stay(some, json.loads((folder / "home.json").read_bytes()))


def of_rows(home: RecordedHome, use: NDArray[np.bool_]) -> RecordedHome:
    return RecordedHome(
        home.name, home.layout, home.sensor[use], home.ts_ms[use], home.value[use], {}
    )


def then_nobody_moves(folder: Path) -> Stay:
    """Some hours as recorded; then only heartbeats, or where there are none one at the end of more
    than a day, so that time goes on."""
    stay = stay_in(folder, FIRST_DAY, LIVED_DAYS + QUIET_MS / DAY)
    home = stay.home
    lived = home.ts_ms < home.ts_ms[0] + LIVED_DAYS * DAY
    beats = home.layout.kind[home.sensor] == Kind.HEARTBEAT
    if beats.any():
        return Stay(of_rows(home, lived | beats), stay.facts)
    home = of_rows(home, lived)
    old, hub = home.layout, {"sensor": "hub", "room": "other", "kind": "heartbeat", "role": "hub"}
    layout = replace(
        old,
        sensors=(*old.sensors, "hub"),
        home=np.append(old.home, np.int32(0)),
        kind=np.append(old.kind, np.uint8(Kind.HEARTBEAT)),
        room=np.append(old.room, np.uint8(0)),
        role=np.append(old.role, np.uint8(0)),
    )
    last = RecordedHome(
        home.name,
        layout,
        np.append(home.sensor, np.int32(len(old.sensors))),
        np.append(home.ts_ms, home.ts_ms[-1] + QUIET_MS),
        np.append(home.value, 1.0),
        {},
    )
    return Stay(last, stay.facts | {"sensors": [*stay.facts["sensors"], hub]})


def placed_registry(folder: Path, stay: Stay) -> Path:
    placed = folder / "registry"
    placed.mkdir()
    for name in ("areas.csv", "grids.csv"):
        (placed / name).write_bytes((REGISTRY / name).read_bytes())
    home = stay.home.name
    with (placed / "devices.csv").open("w", newline="", encoding="utf-8") as out:
        write = csv.writer(out).writerow
        write(["device", "family", "gateway", "grid", "home", "room", "role"])
        write([home, "elderly", DETECTOR, GRID, "", "", ""])
        for one in stay.facts["sensors"]:
            name = f"{home}-{one['sensor']}"
            write([name, "elderly", GATEWAY, GRID, home, one["room"], one["role"]])
    return placed


def played(folder: Path, stay: Stay) -> Path:
    """The rows as native lines, one reading each."""
    home, path = stay.home, folder / "home.jsonl"
    kinds = [Kind(kind) for kind in home.layout.kind.tolist()]
    quantities = tuple(QUANTITY.values())
    quantity_of = np.array([quantities.index(QUANTITY[kind]) for kind in kinds], np.int16)
    beats = home.layout.kind[home.sensor] == Kind.HEARTBEAT
    batch = ReadingBatch(
        tuple(f"{home.name}-{name}" for name in home.layout.sensors),
        ("elderly",) * len(kinds),
        quantities,
        home.sensor,
        quantity_of[home.sensor],
        home.ts_ms,
        np.where(beats, 1.0, home.value),
        np.zeros(len(home.ts_ms), np.uint16),
    )
    path.write_bytes(telemetry.encode_messages(batch))
    return path


@contextmanager
def rehearsal(folder: Path, stay: Stay) -> Iterator[tuple[Server, Receiver, Callable[[], Agent]]]:
    """Broker, receiver and server in the home's time; and what plays the home."""
    receiver = Receiver(folder / "receiver")
    rules = folder / "rules"
    rules.mkdir()
    for path in shipped_rules().glob("*.yml"):
        shutil.copy(path, rules / path.name)
    begin = datetime.fromtimestamp(stay.begin_ms / 1000, UTC).isoformat()
    with Mosquitto(folder / "broker", lasting=False) as broker:
        server = Server(
            folder / "server",
            broker_port=broker.port,
            registry=placed_registry(folder, stay),
            rules=rules,
            receiver=receiver,
            retention="min_free_bytes = 0\nreserve_bytes = 1048576\n"
            f'[detect]\nzone = "{stay.facts["timezone"]}"',
        )
        server.arguments = (*server.arguments, "--rehearse-from", begin)
        agent = Agent(
            folder, GATEWAY, played(folder, stay), broker_port=broker.port, speed=0,
            pack="rows = 1\nage_ms = 50",
        )  # fmt: skip
        try:
            receiver.start()
            receiver.up()
            server.start()
            server.up()
            yield server, receiver, lambda: agent
        finally:
            agent.discard()
            server.discard()
            receiver.discard()


def way(folder: Path, stay: Stay, wait_s: float) -> tuple[Told, list[dict[str, Any]]]:
    """Play it all; what was told, and the alert events of the home."""
    with rehearsal(folder, stay) as (server, receiver, play):
        assert server.health()["simulated"] is True
        agent = play()
        agent.start()
        until(lambda: agent.status is not None, wait_s, "all is played and confirmed")
        assert agent.status == 0, agent.log[-2000:]
        until(server.drained, 60, "all is delivered")
        assert server.stop() == 0
        told = Told(server.data, receiver)
    return told, [e for e in told.events if e["data"].get("device") == stay.home.name]


def beside(stay: Stay) -> set[tuple[str, str, int, int]]:
    """What the detector itself says of the same rows, as alerts."""
    infer, prior, _ = load_inactivity()
    home = stay.home
    operator = InactivityOperator(home.layout, infer, prior)
    operator.feed(home.sensor, home.ts_ms, home.value)
    until_ms = (int(home.ts_ms[-1]) - 2_000) // 60_000 * 60_000
    return expected((home.name,), operator.advance(until_ms))


def assert_same(stay: Stay, folder: Path, wait_s: float) -> None:
    told, events = way(folder, stay, wait_s)
    assert risen(events) == beside(stay)
    assert events
    assert {event["gridcode"] for event in events} == {GRID}
    assert told.stored() == told.replayed(folder)[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SHORT else pytest.mark.torture) for name in HOMES],
)
def test_who_falls_silent_in_a_recorded_home_is_told_of_with_the_grid(
    name: str, require_tool: Callable[[str], str], recorded_data: Path, tmp_path: Path
) -> None:
    require_tool("mosquitto")
    assert_same(then_nobody_moves(recorded_data / "elderly" / name), tmp_path, 250)


@pytest.mark.torture
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("name", HOMES)
def test_the_whole_of_each_home(
    name: str, require_tool: Callable[[str], str], recorded_data: Path, tmp_path: Path
) -> None:
    require_tool("mosquitto")
    assert_same(stay_in(recorded_data / "elderly" / name), tmp_path, 7_000)
