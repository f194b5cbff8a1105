"""Delivery on MQTT topics per level of governance: QoS 1, not retained, structured JSON.

A broker's acknowledgement says that it has the event, not that anybody read it; who must not
miss one takes the webhook, or reads the API from the last event it knows.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contracts import topics
from contracts.alerts import AlertEvent
from dispatch.outbox import Delivery
from dispatch.receivers import worst_severity
from dispatch.retry import Outcome

_event_decoder = msgspec.json.Decoder(AlertEvent)

ACKNOWLEDGED = 200
"""Stands for the broker's acknowledgement where HTTP would say 200."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where alerts are published. ca_file: "" = the system's; used only with tls."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""
    client_id: str = ""

    def __repr__(self) -> str:
        return f"BrokerAddress({self.host!r}, {self.port})"


class MqttSender:
    """Publishes alerts; connects in the background and connects again by itself."""

    def __init__(self, address: BrokerAddress, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._refused: dict[int, str] = {}
        self._lock = threading.Lock()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=address.client_id, protocol=paho.MQTTv5
        )
        if address.username:
            self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set(ca_certs=address.ca_file or None)
        self._client.on_publish = self._on_publish
        self._client.reconnect_delay_set(1, 5)
        self._client.connect_async(address.host, address.port, keepalive=30)
        self._client.loop_start()

    def send(self, delivery: Delivery) -> Outcome:
        event = _event_decoder.decode(delivery.body)
        grid = "" if event.gridcode == "unknown" else event.gridcode
        topic = topics.alert(grid, str(event.data["family"]), worst_severity(event))
        return self._publish(topic, delivery.body)

    def beat(self, name: str, body: bytes) -> Outcome:
        del name  # It is in the body.
        return self._publish(topics.HEARTBEAT, body)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, body: bytes) -> Outcome:
        if not self._client.is_connected():
            return Outcome(None, error="no connection to the broker")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = "application/cloudevents+json; charset=utf-8"
        info = self._client.publish(topic, body, qos=1, retain=False, properties=properties)
        try:
            info.wait_for_publish(self._timeout_s)
            done = info.is_published()
        except (RuntimeError, ValueError) as error:
            return Outcome(None, error=str(error)[:80])
        with self._lock:
            refused = self._refused.pop(info.mid, None)
        if refused is not None:
            return Outcome(None, error=refused)
        return Outcome(ACKNOWLEDGED) if done else Outcome(None, error="no acknowledgement")

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties,
    ) -> None:
        del client, userdata, properties
        if reason.is_failure:
            with self._lock:
                self._refused[mid] = f"refused by the broker: {reason}"
