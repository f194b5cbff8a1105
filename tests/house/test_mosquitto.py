"""The broker that the tests start keeps what it saved when it is killed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.parts.mosquitto import BrokerFailed, Mosquitto, free_port

pytestmark = pytest.mark.broker

MESSAGES = 2_000  # more than the 1 000 that Mosquitto queues unless told
WAIT_S = 30


@contextmanager
def connected(broker: Mosquitto, client: Client) -> Iterator[Client]:
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # as paho has it
    lasting.SessionExpiryInterval = 3600
    client.connect(broker.host, broker.port, clean_start=False, properties=lasting)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def named_client(name: str) -> Client:
    return Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)


def test_what_was_saved_survives_a_kill(mosquitto: Mosquitto) -> None:
    subscribed = threading.Event()
    subscriber = named_client("subscriber")
    subscriber.on_subscribe = lambda *_: subscribed.set()
    with connected(mosquitto, subscriber):
        subscriber.subscribe("a", 1)
        assert subscribed.wait(WAIT_S)
    with connected(mosquitto, named_client("publisher")) as publisher:
        sent = [publisher.publish("a", str(i), 1) for i in range(MESSAGES)]
        for message in sent:
            message.wait_for_publish(WAIT_S)
            assert message.is_published()
    port = mosquitto.port

    mosquitto.save()
    mosquitto.kill()
    mosquitto.restart()

    assert mosquitto.port == port
    heard: set[int] = set()
    complete = threading.Event()

    def hear(_client: Client, _userdata: Any, message: Any) -> None:
        heard.add(int(message.payload))
        if len(heard) == MESSAGES:
            complete.set()

    again = named_client("subscriber")
    again.on_message = hear
    with connected(mosquitto, again):
        assert complete.wait(WAIT_S), f"{len(heard)} of {MESSAGES} survived"


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(BrokerFailed, match="no_such_option"):
        Mosquitto(tmp_path, extra=["no_such_option true"]).start()


def test_a_given_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        broker = Mosquitto(tmp_path, port=other.getsockname()[1])

        with pytest.raises(BrokerFailed):
            broker.start()

        assert not broker.running
