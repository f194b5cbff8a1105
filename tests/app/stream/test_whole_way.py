"""The whole way at scale: agents, MQTT, bridge, Kafka, workers, alerts; what is published first."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.stream.records import decode_letter
from contracts.alerts import alert_id
from contracts.transitions import Episode
from tests.app.stream.bridging import BridgePart
from tests.app.stream.cluster import Cluster
from tests.parts.mosquitto import Mosquitto
from tests.torture.district import (
    FIRE_RULE,
    HEADS,
    PUMPS,
    TIMED_RULE,
    head,
    pump,
    record,
    write_rules,
)
from tests.torture.packs import now_ms
from tests.torture.processes import Agent, gridwarden, until

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.timeout(400)]

GATEWAYS = ("gw-1", "gw-2", "gw-3")
PARTITIONS = 3
WAIT_S = 120.0


def grid_of(gateway: str) -> str:
    return f"34011100200100{gateway[-1]}"


def write_registry(folder: Path) -> Path:
    """Each gateway has a grid, and so a cell, of its own."""
    folder.mkdir()
    (folder / "areas.csv").write_text(
        "code,level,name\n340111,district,包河区\n"
        "340111002,street,骆岗街道\n340111002001,community,滨湖社区\n"
    )
    grids = [f"{grid_of(gateway)},网格,residential" for gateway in GATEWAYS]
    (folder / "grids.csv").write_text("\n".join(["code,name,kind", *grids]) + "\n")
    rows = ["device,family,gateway,grid,building"]
    for gateway in GATEWAYS:
        grid = grid_of(gateway)
        rows += [f"{pump(gateway, n)},firewater,{gateway},{grid},1号楼" for n in range(PUMPS)]
        rows += [f"{head(gateway, n)},smoke,{gateway},{grid},2号楼" for n in range(HEADS)]
    (folder / "devices.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_fires_and_breaches_ring_as_on_one_box(
    tmp_path: Path, kafka: str, topic_prefix: str, require_tool: Callable[[str], str]
) -> None:
    require_tool("mosquitto")
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=PARTITIONS)
    registry, rules = write_registry(tmp_path / "registry"), write_rules(tmp_path / "rules")
    for what in (["settings"], ["registry", registry], ["rules", rules]):
        gridwarden("publish", *what, "--config", cluster.config)
    with ExitStack() as stack:
        stack.callback(cluster.discard)
        broker = stack.enter_context(Mosquitto(tmp_path / "broker"))
        bridge = BridgePart(
            "bridge",
            tmp_path,
            cluster.config.read_text() + f'[mqtt]\nport = {broker.port}\nclient_id = "b"\n',
        )
        stack.callback(bridge.discard)
        bridge.start()
        for name in ("one", "two"):
            cluster.add(name)
        bridge.up()
        made = [
            record(tmp_path, gateway, start_ms=now_ms(), seconds=6, seed=5, fires=20)
            for gateway in GATEWAYS
        ]
        agents = [
            Agent(tmp_path / "agents", one.gateway, one.path, broker_port=broker.port)
            for one in made
        ]
        for agent in agents:
            stack.callback(agent.discard)
            agent.start()
        until(lambda: all(agent.finished for agent in agents), WAIT_S, "all is confirmed")

        fires = {device: at for one in made for device, at in one.fires.items()}
        breached = {device for one in made for device in one.breaches}

        def raised(rule: str) -> dict[str, str]:
            events = [json.loads(event) for event in cluster.alerts()]
            return {
                event["data"]["device"]: event["data"]["alert"]
                for event in events
                if event["type"].endswith(".raised") and event["data"]["rule"]["id"] == rule
            }

        until(lambda: raised(FIRE_RULE).keys() == fires.keys(), WAIT_S, "every fire has rung")
        until(lambda: raised(TIMED_RULE).keys() >= breached, WAIT_S, "every breach, too")
        for device, alert in raised(FIRE_RULE).items():
            lanes = [int(lane) for lane in Episode]
            assert alert in [alert_id(FIRE_RULE, device, fires[device], n) for n in lanes]
        assert bridge.stop() == 0
        for worker in cluster.workers.values():
            assert worker.stop() == 0, worker.log
    # Whatever was decided is what one box decides on the same log; the last marks may say more.
    alerts = cluster.alerts()
    assert set(alerts) <= set(cluster.replayed())
    assert {event["gridcode"] for event in map(json.loads, alerts)} == set(map(grid_of, GATEWAYS))
    assert [decode_letter(one.value) for one in cluster.read("letters")] == []
