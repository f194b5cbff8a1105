"""The subscriber on a real broker: acknowledged last, lost never."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts import pack, topics
from contracts.log import RecordKind
from contracts.messages import Confirm
from ingest.log import LogReader
from ingest.message import Message
from ingest.subscriber import BrokerAddress, Subscriber
from tests.ingest.packs import pack_bytes
from tests.parts.mosquitto import Mosquitto

pytestmark = pytest.mark.broker

DEADLINE_S = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"no {what} in {DEADLINE_S} s"
        time.sleep(0.01)


class Sender:
    """A gateway's client that knows what the broker has taken."""

    def __init__(self, broker: Mosquitto) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, bytes(m.payload)))
        self.heard: list[tuple[str, bytes]] = []
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        until(self.client.is_connected, "connection of the sender")

    def send(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(DEADLINE_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def sender(mosquitto: Mosquitto) -> Iterator[Sender]:
    sender = Sender(mosquitto)
    yield sender
    sender.close()


@pytest.fixture
def subscribe(mosquitto: Mosquitto) -> Iterator[Callable[..., Subscriber]]:
    started: list[Subscriber] = []

    def start(**settings: int) -> Subscriber:
        subscriber = Subscriber(BrokerAddress(port=mosquitto.port), **settings)  # type: ignore[arg-type]
        started.append(subscriber)
        subscriber.start()
        until(lambda: subscriber.connected, "connection")
        return subscriber

    yield start
    for subscriber in started:
        subscriber.stop()


def take(subscriber: Subscriber, count: int) -> list[Message]:
    found: list[Message] = []
    until(lambda: found.extend(subscriber.take(1000, 100)) or len(found) >= count, "messages")
    return found


def test_messages_come_in_order_and_are_answered(
    sender: Sender, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe()
    sender.client.subscribe(topics.ack("g1"), 1)
    wanted = [(topics.pack("g1"), bytes([n])) for n in range(50)]
    wanted.append((topics.foreign("340111002003004", "smoke", "s"), b"{}"))
    for topic, payload in wanted:
        sender.send(topic, payload)
    sender.send("elsewhere", b"not for us")
    found = take(subscriber, 51)
    assert [(m.topic, m.payload) for m in found] == wanted
    subscriber.ack(found)
    until(lambda: subscriber.counts.acknowledged == 51, "acknowledgements")
    subscriber.publish(topics.ack("g1"), b"confirm")
    until(lambda: sender.heard == [(topics.ack("g1"), b"confirm")], "answer")


def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(
    sender: Sender, subscribe: Callable[..., Subscriber]
) -> None:
    first = subscribe()
    for n in range(10):
        sender.send(topics.pack("g1"), bytes([n]))
    found = take(first, 10)
    first.ack(found[:4])
    until(lambda: first.counts.acknowledged == 4, "acknowledgements")
    first.stop()
    sender.send(topics.pack("g1"), b"\x0a")  # The session waits while nobody is there.
    second = subscribe()
    again = take(second, 7)
    assert [m.payload[0] for m in again] == [4, 5, 6, 7, 8, 9, 10]
    # Numbers of the old connection may mean other messages now.
    stale = [m._replace(connection=99) for m in again]
    second.ack(stale)
    until(lambda: second.counts.stale_acks == 7, "stale acknowledgements")
    assert second.counts.acknowledged == 0


def test_it_comes_back_when_the_broker_does(
    mosquitto: Mosquitto, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe()
    before = Sender(mosquitto)
    before.send(topics.pack("g1"), b"1")
    held = take(subscriber, 1)
    before.close()
    # Stopped, not killed: a killed one may forget what it took, which is why agents wait for the
    # Confirm; here the question is what becomes of a message that was handed over.
    mosquitto.stop()
    until(lambda: not subscriber.connected, "loss of the connection")
    mosquitto.start()
    until(lambda: subscriber.connected, "return")
    assert subscriber.counts.connections == 2
    subscriber.ack(held)
    after = Sender(mosquitto)
    after.send(topics.pack("g1"), b"2")
    assert [m.payload for m in take(subscriber, 2)] == [b"1", b"2"]
    assert subscriber.counts.acknowledged == 0
    after.close()


def test_a_full_queue_stops_reading_and_drops_nothing(
    sender: Sender, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe(max_messages=10, receive_maximum=1000)
    for n in range(200):
        sender.send(topics.pack("g1"), n.to_bytes(2, "big"))
    until(lambda: subscriber.queued >= 10, "messages")
    assert subscriber.queued == 10
    found = take(subscriber, 200)
    subscriber.ack(found)
    assert [int.from_bytes(m.payload, "big") for m in found] == list(range(200))
    assert subscriber.counts.paused > 0


def test_answers_while_away_are_counted(subscribe: Callable[..., Subscriber]) -> None:
    subscriber = subscribe()
    subscriber.stop()
    subscriber.publish("x", b"")
    assert subscriber.counts.unsent == 1


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(BrokerAddress(password="hush", username="u"))


def kill_rounds(folder: Path, broker: Mosquitto, rounds: int, total: int) -> None:
    """Packs, statuses and foreign messages flow in while the server is killed again and again."""
    sender = Sender(broker)
    sender.client.subscribe("gw/v1/+/ack", 1)
    taken: list[int] = []
    foreign = topics.foreign("340111002003004", "smoke", "s1")

    def feed() -> None:
        for seq in range(1, total + 1):
            sender.send(topics.pack("g1"), pack_bytes(seq))
            if seq % 10 == 0:
                sender.send(foreign, b'{"n":%d}' % seq)
            taken.append(seq)

    chance = random.Random(11)
    feeder = threading.Thread(target=feed)
    command = [sys.executable, "-m", "tests.ingest.child_server", str(folder), str(broker.port)]
    for number in range(rounds + 1):
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        if number == 0:
            # The session must be there before the first message: before it nothing was promised.
            feeder.start()
        if number < rounds:
            for _ in range(chance.randrange(2, 25)):
                child.stdout.readline()
        else:
            until(lambda: len(taken) == total, "end of the feed")
            while child.stdout.readline() != b"0\n":
                pass
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    feeder.join()
    check_all_there(folder, total, sender)
    sender.close()


def check_all_there(folder: Path, total: int, sender: Sender) -> None:
    log = LogReader(folder / "log")
    found = [one for part in log.read(1) for one in part]
    log.close()
    packs = [pack.peek(r.payload)[1] for r in found if r.kind is RecordKind.PACK]
    assert sorted(packs) == list(range(1, total + 1)), "lost or twice in the log"
    others = {r.payload for r in found if r.kind is RecordKind.FOREIGN}
    assert len(others) == total // 10
    confirmed = [
        msgspec.json.decode(payload, type=Confirm).confirms[0].upto for _, payload in sender.heard
    ]
    assert all(upto <= total for upto in confirmed)


@pytest.mark.parametrize(
    ("rounds", "total"),
    [
        pytest.param(3, 300, id="short"),
        pytest.param(60, 20_000, marks=pytest.mark.torture, id="long"),
    ],
)
def test_killing_the_server_loses_nothing(
    tmp_path: Path, mosquitto: Mosquitto, rounds: int, total: int
) -> None:
    kill_rounds(tmp_path, mosquitto, rounds, total)


def test_a_broker_that_refuses_a_subscription_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        subscriber = Subscriber(BrokerAddress("127.0.0.1", listening.getsockname()[1]))
        subscriber.start()
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00")
            asked = connection.recv(4096)
            assert asked[0] == 0x82
            start = asked.index(b"\x00", 2)  # the number stands behind the length
            mid = asked[start : start + 2]
            connection.sendall(b"\x90\x08" + mid + b"\x00\x00\x00\x87\x00\x00")
            until(lambda: "Not authorized" in subscriber.last_error, "word of the refusal")
            until(lambda: not subscriber.connected, "end of the connection")
            assert topics.STATES in subscriber.last_error
            assert topics.PACKS not in subscriber.last_error
        subscriber.stop()
