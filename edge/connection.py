"""One MQTT connection of the agent: paho-mqtt v5, driven by the link's own loop, no thread.

paho's own memory of unacknowledged packs is emptied at every connection: the outbox and the
window know better what ingest still lacks. All its callbacks run inside `readable`.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.settings import BrokerSettings
from edge.shelf import Key
from edge.window import Pace

SESSION_S = 86_400
"""How long the broker keeps what it owes us when we are away."""
CONNACK_MS = 10_000
LEAVE_MS = 1000
IN_FLIGHT = 1000
UNKNOWN_RECEIVE_MAXIMUM = 65_535

log = logging.getLogger("gridwarden.edge.mqtt")


class Listener(Protocol):
    """What a connection tells; called in the link's thread."""

    def up(self, connection: Connection, now_ms: float) -> None: ...

    def down(self, connection: Connection, now_ms: float) -> None: ...

    def heard(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, gateway: int, key: Key, *, ok: bool, now_ms: float) -> None: ...


class Clockwork(Protocol):
    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Owed:
    """A publish that the broker has not acknowledged. key: None for a status."""

    gateway: int
    key: Key | None
    sent_ms: float


def client_for(settings: BrokerSettings, client_id: str, *, reconnects: bool) -> paho.Client:
    """A client with the broker's names and secrets, not connected. reconnects: by itself.

    Raises OSError for a file that can't be read.
    """
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=paho.MQTTv5,
        reconnect_on_failure=reconnects,
    )
    if settings.tls:
        client.tls_set(
            ca_certs=settings.ca_file or None,
            certfile=settings.cert_file or None,
            keyfile=settings.key_file or None,
            tls_version=ssl.PROTOCOL_TLS_CLIENT,
        )
    if settings.username:
        secret = settings.password_file
        password = Path(secret).read_text("utf-8").rstrip("\r\n") if secret else None
        client.username_pw_set(settings.username, password)
    return client


class Connection:
    """gateways: rows of the agent's gateways that speak over it. `mono_ms` is the clock."""

    def __init__(
        self,
        client_id: str,
        gateways: Sequence[int],
        topics: Sequence[str],
        *,
        settings: BrokerSettings,
        port: int,
        listener: Listener,
        mono_ms: Clockwork,
    ) -> None:
        self.client_id = client_id
        self.gateways = tuple(gateways)
        self._topics = tuple(topics)
        self._settings = settings
        self._port = port
        self._listener = listener
        self._mono_ms = mono_ms
        self._owed: dict[int, _Owed] = {}
        self._asked_ms: float | None = None
        self.is_up = False
        self.attempts = 0
        self.pace = Pace(IN_FLIGHT)
        self._client = self._built()

    def _built(self) -> paho.Client:
        client = client_for(self._settings, self.client_id, reconnects=False)
        # Our own windows bound what is on its way; a queue in paho would only hide packs.
        client.max_inflight_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    # Life.

    def connect(self, will: Will) -> bool:
        """Open the socket and ask for the session; the answer comes through `readable`."""
        self.attempts += 1
        self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = SESSION_S
        self._asked_ms = self._mono_ms()
        try:
            self._client.connect(
                self._settings.host,
                self._port,
                keepalive=self._settings.keepalive_s,
                clean_start=False,
                properties=session,
            )
        except (OSError, ValueError) as error:
            self._asked_ms = None
            log.warning(
                "broker unreachable client=%s host=%s port=%d why=%r",
                self.client_id, self._settings.host, self._port, str(error),
            )  # fmt: skip
            return False
        self._no_delay()
        return True

    def _no_delay(self) -> None:
        sock: Any = self._client.socket()
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def tick(self) -> None:
        """Keep-alive, and giving up on a broker that doesn't answer."""
        if self._client.socket() is None:
            return
        self._client.loop_misc()
        waiting = self._asked_ms
        if not self.is_up and waiting is not None and self._mono_ms() - waiting > CONNACK_MS:
            log.warning("broker silent client=%s", self.client_id)
            self.drop()

    def drop(self) -> None:
        """Close the socket without a goodbye, so that the broker publishes the will."""
        sock: Any = self._client.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
            self._client.loop_read()
        self._went_down("dropped")

    def leave(self) -> None:
        """Say goodbye: the broker forgets the will and keeps the session."""
        self.is_up = False
        self._client.disconnect()
        until = self._mono_ms() + LEAVE_MS
        while (sock := self._client.socket()) is not None and self._mono_ms() < until:
            if not self._client.want_write():
                return
            select.select([], [sock], [], 0.05)
            self._client.loop_write()

    # The loop's side.

    @property
    def socket(self) -> Any:
        return self._client.socket()

    @property
    def is_asked(self) -> bool:
        """Whether a connection is there or on its way."""
        return self._client.socket() is not None

    @property
    def wants_write(self) -> bool:
        return self._client.want_write()

    @property
    def owed(self) -> int:
        return len(self._owed)

    def readable(self) -> None:
        while True:
            self._client.loop_read()
            sock = self._client.socket()
            # TLS may hold decrypted bytes that no select sees.
            if sock is None or not getattr(sock, "pending", lambda: 0)():
                return

    def writable(self) -> None:
        self._client.loop_write()

    # Sending.

    def send(self, gateway: int, topic: str, key: Key, data: bytes) -> bool:
        """Publish a pack, QoS 1. False when the connection is gone."""
        info = self._client.publish(topic, data, qos=1)
        self._owed[info.mid] = _Owed(gateway, key, self._mono_ms())
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def say(self, gateway: int, topic: str, payload: bytes) -> None:
        """Publish a status: QoS 1, retained."""
        info = self._client.publish(topic, payload, qos=1, retain=True)
        self._owed[info.mid] = _Owed(gateway, None, self._mono_ms())

    def owes_status(self) -> bool:
        return any(owed.key is None for owed in self._owed.values())

    # Callbacks of paho.

    def _on_connect(
        self,
        client: paho.Client,
        _: Any,
        flags: Any,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.is_failure:
            log.error("broker refused client=%s why=%r", self.client_id, str(code))
            return
        client.drop_out_messages()
        self._owed.clear()
        most = getattr(properties, "ReceiveMaximum", UNKNOWN_RECEIVE_MAXIMUM)
        self.pace = Pace(IN_FLIGHT)
        self.pace.limit(most)
        if self._topics:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])
        self.is_up = True
        self._asked_ms = None
        log.info("connected client=%s session=%s", self.client_id, bool(flags.session_present))
        self._listener.up(self, self._mono_ms())

    def _on_subscribe(
        self, _: paho.Client, __: Any, ___: int, codes: list[ReasonCode], ____: Properties | None
    ) -> None:
        for topic, code in zip(self._topics, codes, strict=False):
            if code.is_failure:
                log.error("subscription refused topic=%s why=%r; mend the broker's access list",
                          topic, str(code))  # fmt: skip

    def _on_disconnect(
        self, _: paho.Client, __: Any, ___: Any, code: ReasonCode, ____: Properties | None
    ) -> None:
        self._went_down(str(code))

    def _went_down(self, why: str) -> None:
        self._asked_ms = None
        if self.is_up:
            self.is_up = False
            log.warning("disconnected client=%s why=%r", self.client_id, why)
            self._listener.down(self, self._mono_ms())

    def _on_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        self._listener.heard(message.topic, bytes(message.payload))

    def _on_publish(
        self, _: paho.Client, __: Any, mid: int, code: ReasonCode, ___: Properties | None
    ) -> None:
        owed = self._owed.pop(mid, None)
        if owed is None:
            return
        now_ms = self._mono_ms()
        self.pace.acknowledged(owed.sent_ms, now_ms)
        if owed.key is not None:
            ok = not code.is_failure
            self._listener.acknowledged(owed.gateway, owed.key, ok=ok, now_ms=now_ms)
