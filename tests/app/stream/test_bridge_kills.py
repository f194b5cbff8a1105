"""kill -9 of bridges, broker and Kafka under load: nothing is lost, nothing acknowledged early."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts import topics
from contracts.log import RecordKind
from tests.app.stream.bridging import BridgePart, BridgeScene, Device, bridging
from tests.parts.kafka import Kafka
from tests.torture.account import compare
from tests.torture.district import record
from tests.torture.processes import until

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

GRID = "340111002001001"
GATEWAYS = ("gw-1", "gw-2", "gw-3")


@pytest.fixture
def there(
    tmp_path: Path, killable_kafka: Kafka, topic_prefix: str, require_tool: Callable[[str], str]
) -> Iterator[BridgeScene]:
    require_tool("mosquitto")
    with bridging(tmp_path, killable_kafka.bootstrap, topic_prefix) as scene:
        yield scene


def inner(bridge: BridgePart, what: str, part: str = "mqtt") -> float:
    """A total that one of its parts has counted."""
    text = bridge.ask("/metrics")[1].decode()
    found = re.search(rf'inner_total{{part="{part}",what="{what}"}} ([\d.]+)', text)
    assert found is not None
    return float(found[1])


def test_everything_is_killed_and_nothing_is_lost(
    there: BridgeScene, killable_kafka: Kafka
) -> None:
    one, two = there.bridge("one"), there.bridge("two")
    one.up()
    two.up()
    start_ms = time.time_ns() // 1_000_000
    made = [
        record(there.folder, gateway, start_ms=start_ms, seconds=12, seed=2) for gateway in GATEWAYS
    ]
    pack = "rows = 40\nage_ms = 50"
    agents = [there.agent(one.gateway, one.path, pack=pack) for one in made]
    until(lambda: len(there.read(there.topics.log)) > 10, 60, "the load is on")

    one.kill()
    one.start()
    there.broker.kill()
    there.broker.restart()
    two.kill()
    killable_kafka.kill()
    one.kill()
    killable_kafka.restart()
    one.start()
    two.start()
    assert not all(agent.finished for agent in agents), "the load ended before the kills"

    until(lambda: all(agent.finished for agent in agents), 120, "everything is confirmed")
    account = compare([part for one in made for part in one.parts], there.readings())
    assert (account.lost, account.strange, account.doubled) == (0, 0, 0)


def test_what_foreign_devices_said_outlives_the_bridges(there: BridgeScene) -> None:
    bridge = there.bridge()
    bridge.up()
    count = 400
    said = threading.Event()

    def say() -> None:
        with Device(there.broker.port) as device:
            for n in range(count):
                payload = b'{"deviceId":"d%d","family":"gas","ts":%d,"metrics":{"gas":0}}'
                device.say(topics.foreign(GRID, "gas", f"d{n}"), payload % (n, 1_780_000_000_000))
        said.set()

    threading.Thread(target=say).start()
    for _ in range(3):
        until(lambda: bridge.running and inner(bridge, "received") > 20, 60, "it works")
        bridge.kill()
        bridge.start()
        until(lambda: bridge.port, 60, "it answers")
    until(said.is_set, 60, "all is said")

    def all_there() -> bool:
        return {one.source for one in foreign()} == {
            topics.foreign(GRID, "gas", f"d{n}") for n in range(count)
        }

    def foreign() -> list[object]:
        return [
            one
            for records in there.log().values()
            for one in records
            if one.kind is RecordKind.FOREIGN
        ]

    until(all_there, 60, "every message is in the log")


def test_while_kafka_is_away_nothing_is_acknowledged(
    there: BridgeScene, killable_kafka: Kafka
) -> None:
    bridge = there.bridge(more="[bridge]\nstuck_s = 1.0\n")
    bridge.up()
    with Device(there.broker.port) as device:
        device.say(topics.foreign(GRID, "smoke", "d1"), b'{"n": 1}')
        until(lambda: inner(bridge, "acknowledged") == 1, 30, "the first is acknowledged")
        killable_kafka.kill()
        device.say(topics.foreign(GRID, "smoke", "d1"), b'{"n": 2}')
        until(lambda: inner(bridge, "received") == 2, 30, "it has the second")
        until(lambda: not bridge.health()["ok"], 60, "health says so")
        assert bridge.ask("/ready")[0] == 503
        assert "kafka" in bridge.health()["problems"][0]
        assert inner(bridge, "acknowledged") == 1
        killable_kafka.restart()
        until(lambda: inner(bridge, "acknowledged") == 2, 90, "the second is acknowledged")
        until(lambda: bridge.health()["ok"], 30, "it is well again")
    # What it reads from Kafka goes on, too.
    ask = b'{"topic": "gw/v1/gw-1/cmd", "payload": {"type": "resend"}}'
    with Device(there.broker.port, topics.cmd("gw-1")) as gateway:

        def commanded() -> bool:
            if not gateway.heard:
                there.write(there.topics.asks, b"gw-1", ask)
            return bool(gateway.heard)

        until(commanded, 60, "the command came")
    payloads = [one.payload for records in there.log().values() for one in records]
    assert sorted(payloads) == [b'{"n": 1}', b'{"n": 2}']


def test_it_waits_for_a_kafka_that_comes_later(there: BridgeScene, killable_kafka: Kafka) -> None:
    killable_kafka.kill()
    bridge = there.bridge()
    until(lambda: "waiting for kafka" in str(bridge.health()["problems"]), 60, "it says so")
    killable_kafka.restart()
    bridge.up()
    # And is stopped while it waits.
    assert bridge.stop() == 0
    killable_kafka.kill()
    bridge.start()
    until(lambda: "waiting for kafka" in str(bridge.health()["problems"]), 60, "it says so")
    assert bridge.stop() == 0


def test_it_is_stopped_while_kafka_is_away(there: BridgeScene, killable_kafka: Kafka) -> None:
    """What it has taken by then wasn't acknowledged: the next life gets it again."""
    bridge = there.bridge()
    bridge.up()
    killable_kafka.kill()
    with Device(there.broker.port) as device:
        device.say(topics.foreign(GRID, "smoke", "d1"), b'{"n": 1}')
    until(lambda: inner(bridge, "received") == 1, 30, "it has it")
    assert bridge.stop() == 0
    assert "they come again" in bridge.log
    killable_kafka.restart()
    bridge.start()
    until(there.log, 60, "it is in the log")
