"""Alerts on MQTT, with a real broker that comes and goes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.alerts import AlertEvent
from dispatch.deliver.mqtt import BrokerAddress, MqttSender
from dispatch.dispatcher import Dispatcher, Pulse, Timing
from dispatch.receivers import Filter
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.conftest import until
from tests.parts.mosquitto import Mosquitto

pytestmark = pytest.mark.broker
Heard = queue.Queue[tuple[str, bytes, bool]]


@contextmanager
def listening(broker: Mosquitto, *topics: str) -> Iterator[Heard]:
    heard: Heard = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    subscribed = queue.Queue[int]()
    client.on_message = lambda *given: heard.put(
        (given[2].topic, given[2].payload, given[2].retain)
    )
    client.on_subscribe = lambda *given: subscribed.put(given[2])
    client.connect(broker.host, broker.port)
    client.subscribe([(topic, paho.SubscribeOptions(qos=1)) for topic in topics])
    client.loop_start()
    subscribed.get(timeout=20)
    yield heard
    client.disconnect()
    client.loop_stop()


@contextmanager
def dispatching(store: Store, broker: Mosquitto, timing: Timing) -> Iterator[Dispatcher]:
    store.set_receivers({"mqtt": Filter()})
    sender = MqttSender(BrokerAddress(broker.host, broker.port))
    dispatcher = Dispatcher(store, {"mqtt": sender}, pulse=lambda: Pulse(7, 12), timing=timing)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()


def test_a_streets_subscription_hears_its_alerts(store: Store, mosquitto: Mosquitto) -> None:
    here, stranger = scene.fire(), scene.fire(scene.STRANGER)
    with (
        listening(mosquitto, "alert/v1/340111/002/#", "alert/v1/000000/#") as heard,
        dispatching(store, mosquitto, Timing(200, 3_600_000)),
    ):
        store.record([here, stranger], 1)
        got = [heard.get(timeout=20) for _ in range(2)]

    topics = {msgspec.json.decode(body, type=AlertEvent).id: topic for topic, body, _ in got}
    assert topics == {
        here.id: "alert/v1/340111/002/003/001/smoke/1",
        stranger.id: "alert/v1/000000/000/000/000/smoke/1",
    }
    assert not any(retained for _, _, retained in got)


def test_an_outage_of_the_broker_loses_nothing(store: Store, mosquitto: Mosquitto) -> None:
    with dispatching(store, mosquitto, Timing(200, 3_600_000)) as dispatcher:
        until(lambda: store.outbox.state("mqtt").failures == 0, "connected")
        mosquitto.kill()
        events = [scene.fire(), *scene.flood(4)]
        store.record(events, 1)
        until(lambda: dispatcher.counts["failed_no_answer"] >= 5, "attempts failed")
        mosquitto.start()
        with listening(mosquitto, "alert/#") as heard:
            until(lambda: store.queries.receivers()[0]["open"] == 0, "all published")
            del heard

    assert dispatcher.counts["delivered"] == 5


def test_the_heartbeat_says_where_the_pipeline_is(store: Store, mosquitto: Mosquitto) -> None:
    with (
        listening(mosquitto, "gridwarden/v1/heartbeat") as heard,
        dispatching(store, mosquitto, Timing(50, 3_600_000)),
    ):
        _, body, _ = heard.get(timeout=20)

    beat = msgspec.json.decode(body)
    assert beat["type"] == "io.gridwarden.pipeline.heartbeat"
    assert beat["data"] == {"position": 7, "lag_ms": 12, "every_ms": 50, "stalled": False}
