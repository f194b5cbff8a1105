"""The bridge between a real MQTT broker and a real Kafka: what goes where, and when it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from app.stream.records import Assigned, encode, gateway_key, grid_key
from app.stream.routes import by_checksum
from contracts import pack, topics
from contracts.batch import ReadingBatch
from contracts.log import RecordKind, decode_bundle
from contracts.messages import Confirm
from contracts.pack import Pack, PackHeader
from tests.app.stream.bridging import PARTITIONS, BridgePart, BridgeScene, Device, bridging
from tests.torture.account import compare
from tests.torture.district import record
from tests.torture.processes import until

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

GRID = "340111002001001"
TOPIC = topics.foreign(GRID, "smoke", "d1")
READING = b'{"deviceId": "d1", "family": "smoke", "ts": 1780000000000, "metrics": {"fire": 0}}'
SENML = b'[{"bn": "urn:dev:mac:d1:", "n": "temperature", "u": "Cel", "v": 20, "bt": 1780000000}]'


@pytest.fixture
def there(
    tmp_path: Path, kafka: str, topic_prefix: str, require_tool: Callable[[str], str]
) -> Iterator[BridgeScene]:
    require_tool("mosquitto")
    with bridging(tmp_path, kafka, topic_prefix) as scene:
        yield scene


def a_pack(gateway: str, seq: int, *, alarm: bool = False) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    batch = ReadingBatch.of([("p1", "firewater", "static_pressure", now_ms, 0.3, 0)])
    header = PackHeader(
        gateway=gateway, boot=7, seq=seq, wall_ms=now_ms, mono_ms=1_000, alarm=alarm
    )
    return pack.encode(Pack(header, batch))


def confirmed(device: Device, gateway: str) -> set[int]:
    """Sequences of boot 7 that the gateway was told; "all up to" never."""
    found: set[int] = set()
    for topic, payload in device.heard:
        if topic == topics.ack(gateway):
            for one in msgspec.json.decode(payload, type=Confirm).confirms:
                assert (one.boot, one.upto) == (f"{7:016x}", 0)
                found |= {n for first, last in one.ranges for n in range(first, last + 1)}
    return found


def test_packs_arrive_and_outboxes_drain(there: BridgeScene) -> None:
    there.bridge().up()
    start_ms = time.time_ns() // 1_000_000
    made = [
        record(there.folder, gateway, start_ms=start_ms, seconds=2, seed=1)
        for gateway in ("gw-1", "gw-2")
    ]
    agents = [there.agent(one.gateway, one.path) for one in made]
    until(lambda: all(agent.finished for agent in agents), 60, "everything is confirmed")
    account = compare([part for one in made for part in one.parts], there.readings())
    assert (account.lost, account.strange, account.doubled) == (0, 0, 0)
    for partition, records in there.log().items():
        packs = {one.source for one in records if one.kind is RecordKind.PACK}
        assert {by_checksum(name, PARTITIONS) for name in packs} <= {partition}
    keys = {one.key for one in there.read(there.topics.log)}
    assert keys <= {b"gw-1", b"gw-2", None}


def test_confirms_carry_exactly_what_kafka_has(there: BridgeScene) -> None:
    there.bridge().up()
    with Device(there.broker.port, topics.ack("gw-1")) as gateway:
        for seq in (1, 2, 5):
            gateway.say(topics.pack("gw-1"), a_pack("gw-1", seq))
        until(lambda: confirmed(gateway, "gw-1") == {1, 2, 5}, 20, "1, 2 and 5 are confirmed")


def test_an_alarm_goes_at_once(there: BridgeScene) -> None:
    there.bridge(more="[bridge]\nbundle_ms = 5000\n").up()
    with Device(there.broker.port, topics.ack("gw-1")) as gateway:
        gateway.say(topics.pack("gw-1"), a_pack("gw-1", 1))
        gateway.say(topics.pack("gw-1"), a_pack("gw-1", 2, alarm=True))
        until(lambda: confirmed(gateway, "gw-1") == {1, 2}, 20, "both are confirmed")
    (bundle,) = there.read(there.topics.log)
    born = decode_bundle(bundle.value, 1)[0].accepted_ms
    assert bundle.timestamp - born < 5_000  # It didn't wait for its age.
    assert bundle.timestamp_type == 1  # The broker's own time.


def test_foreign_messages_go_by_the_grid_of_their_topic(there: BridgeScene) -> None:
    there.bridge().up()
    with Device(there.broker.port) as device:
        device.say(TOPIC, READING)
        device.say(TOPIC, SENML)
        until(lambda: len(there.read(there.topics.log)) > 0, 20, "they are in the log")
        until(lambda: sum(map(len, there.log().values())) == 2, 20, "both")
    ((partition, records),) = there.log().items()
    assert partition == by_checksum(GRID, PARTITIONS)
    assert [(one.kind, one.source, one.payload) for one in records] == [
        (RecordKind.FOREIGN, TOPIC, READING),
        (RecordKind.FOREIGN, TOPIC, SENML),
    ]


def test_what_cannot_be_read_becomes_a_letter(there: BridgeScene) -> None:
    bridge = there.bridge()
    bridge.up()
    with Device(there.broker.port) as device:
        device.say(topics.pack("gw-1"), b"\x00nonsense")
        device.say(TOPIC, b"{not json")
        device.say(TOPIC, b" " * (2 << 20))
        until(lambda: len(there.letters()) == 3, 20, "three letters")
    letters = there.letters()
    assert [one.by for one in letters] == ["bridge"] * 3
    assert (letters[0].source, letters[0].payload) == (topics.pack("gw-1"), b"\x00nonsense")
    assert (letters[1].source, letters[1].reason) == (TOPIC, "bad_json")
    assert (letters[2].reason, letters[2].size) == ("too_large", 2 << 20)
    assert not there.read(there.topics.log)
    metrics = bridge.ask("/metrics")[1].decode()
    assert 'gridwarden_bridge_messages_total{outcome="refused"} 3.0' in metrics
    # Acknowledged: the next life doesn't get them again.
    assert bridge.stop() == 0
    bridge.start()
    bridge.up()
    assert bridge.health()["mqtt"]["queued"] == 0
    assert len(there.letters()) == 3


def test_assignments_are_followed(there: BridgeScene) -> None:
    assigned = (by_checksum("gw-1", PARTITIONS) + 1) % PARTITIONS
    value = encode(Assigned(partition=assigned))
    there.write(there.topics.assignments, gateway_key("gw-1"), value)
    there.write(there.topics.assignments, b"nonsense", b"x")
    bridge = there.bridge()
    bridge.up()
    with Device(there.broker.port, topics.ack("gw-1")) as gateway:
        gateway.say(topics.pack("gw-1"), a_pack("gw-1", 1))
        until(lambda: confirmed(gateway, "gw-1") == {1}, 20, "confirmed")
        assert list(there.log()) == [assigned]
        assert bridge.health()["unassigned"] == []
        gateway.say(topics.pack("gw-new"), a_pack("gw-new", 1))
        until(lambda: bridge.health()["unassigned"] == ["gw-new"], 20, "it is told")
        # While it runs, too.
        elsewhere = (by_checksum(GRID, PARTITIONS) + 1) % PARTITIONS
        there.write(there.topics.assignments, grid_key(GRID), encode(Assigned(partition=elsewhere)))
        until(lambda: bridge.health()["assignments"] == 2, 20, "it has heard")
        gateway.say(TOPIC, READING)
        until(lambda: elsewhere in there.log(), 20, "the new partition has it")
    metrics = bridge.ask("/metrics")[1].decode()
    assert 'gridwarden_bridge_state{what="unassigned_gateways"} 1.0' in metrics
    assert 'bad_records_total{topic="assignments"} 1.0' in bridge.ask("/metrics")[1].decode()


def test_asks_become_commands(there: BridgeScene) -> None:
    bridge = there.bridge()
    bridge.up()
    asked = b'{"type":"resend","boot":"0000000000000007","ranges":[[3,4]]}'

    def write(topic: str, **more: int) -> None:
        value = json.dumps({"topic": topic, "payload": json.loads(asked)}).encode()
        there.write(there.topics.asks, b"gw-1", value, **more)

    def outcome(name: str) -> bool:
        line = f'gridwarden_bridge_asks_total{{outcome="{name}"}} 1.0'
        return line in bridge.ask("/metrics")[1].decode()

    with Device(there.broker.port, "gw/v1/+/cmd", "elsewhere") as gateway:

        def published() -> bool:
            # It hears what comes after it has joined its group.
            if not gateway.heard:
                write(topics.cmd("gw-1"))
            return bool(gateway.heard)

        until(published, 60, "the command came")
        write("elsewhere")
        until(lambda: outcome("refused"), 20, "no command topic")
        write(topics.cmd("gw-1"), timestamp_ms=1_700_000_000_000)
        until(lambda: outcome("stale"), 20, "too old")
    assert {topic for topic, _ in gateway.heard} == {topics.cmd("gw-1")}
    assert json.loads(gateway.heard[0][1]) == json.loads(asked)


def test_another_layout_is_refused_at_the_start(there: BridgeScene) -> None:
    bridge = there.bridge(more="")
    bridge.up()
    assert bridge.stop() == 0
    text = there.settings().replace(f"partitions = {PARTITIONS}", "partitions = 5")
    (there.folder / "one.toml").write_text(text)
    bridge.start()
    until(lambda: bridge.status is not None, 60, "it has ended")
    assert bridge.status == 2
    assert f"{there.prefix}log: {PARTITIONS} partitions, the settings say 5" in bridge.log


def test_the_rest_is_brought_at_the_end(there: BridgeScene) -> None:
    bridge = there.bridge(more="[bridge]\nbundle_ms = 5000\n")
    bridge.up()
    with Device(there.broker.port, topics.ack("gw-1")) as gateway:
        gateway.say(topics.pack("gw-1"), a_pack("gw-1", 1))
        received = 'inner_total{part="mqtt",what="received"} 1.0'
        until(lambda: received in bridge.ask("/metrics")[1].decode(), 20, "it has it")
        assert bridge.stop() == 0
        until(lambda: confirmed(gateway, "gw-1") == {1}, 20, "confirmed")
    assert bridge.log.splitlines()[-1] == "stopped"


def test_who_leaves_brings_what_the_broker_holds_for_him(there: BridgeScene) -> None:
    bridge = there.bridge()
    bridge.up()
    assert bridge.stop() == 0
    with Device(there.broker.port) as device:
        for n in range(300):
            device.say(topics.foreign(GRID, "smoke", f"d{n}"), READING)
        assert not there.log()  # They wait in its session.
        last = BridgePart("one", there.folder, there.settings())
        last.arguments = (*last.arguments, "--leave")
        there.stack.callback(last.discard)
        last.start()
        until(lambda: last.status is not None, 60, "it has ended")
        assert last.status == 0, last.log
        assert sum(map(len, there.log().values())) == 300
        # Nothing is kept for it any more.
        device.say(topics.foreign(GRID, "smoke", "late"), READING)
    bridge.start()
    bridge.up()
    with Device(there.broker.port) as device:
        device.say(topics.foreign(GRID, "smoke", "new"), READING)
        until(lambda: sum(map(len, there.log().values())) == 301, 20, "the new one is there")
    sources = {one.source for records in there.log().values() for one in records}
    assert topics.foreign(GRID, "smoke", "late") not in sources
