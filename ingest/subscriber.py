"""The MQTT subscriber: paho under one thread of ours, acknowledging by hand.

paho's client is touched by that thread alone. Messages go into a bounded queue; when it is full
the thread stops reading the socket, so the broker keeps what it has, and goes on with pings and
acknowledgements. An acknowledgement is sent only for the connection that the message came on: on
the next one the broker sends the message again, and its number means another one.
"""

from __future__ import annotations

import random
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from contracts import topics
from ingest.buffered_client import BufferedClient
from ingest.message import Message

SESSION_S = 7 * 86_400
KEEPALIVE_S = 60
RECEIVE_MAXIMUM = 4_096
MAX_MESSAGES = 20_000
MAX_BYTES = 64 << 20
MAX_OUTGOING = 50_000
READS_AT_ONCE = 256
TURN_MS = 500
BACKOFF_S = (0.25, 15.0)
CONNECT_S = 5.0
FILTERS = (topics.PACKS, topics.TRACKS, topics.STATES, *topics.FOREIGN)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to get in. ca_file: "" = the system's authorities."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""

    def __repr__(self) -> str:
        # The password must not reach a log by way of a traceback.
        return f"BrokerAddress({self.host}:{self.port})"


@dataclass(slots=True)
class SubscriberCounts:
    """Totals since the start. stale_acks: acknowledgements of messages of a lost connection.

    unsent: answers thrown away because the connection was down or the queue full; they are
    repeated with the next message or heartbeat.
    """

    received: int = 0
    acknowledged: int = 0
    stale_acks: int = 0
    connections: int = 0
    unsent: int = 0
    paused: int = 0


class Subscriber:
    """Start it, `take` groups of messages, `ack` them once they are in the log."""

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        client_id: str = "gridwarden-ingest",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        receive_maximum: int = RECEIVE_MAXIMUM,
        session_s: int = SESSION_S,
        filters: Iterable[str] = FILTERS,
        leaving: bool = False,
    ) -> None:
        """leaving: subscribe to nothing any more and take what the session still holds; `has_left`
        is set once the broker adds nothing to it."""
        self.broker = broker
        self.counts = SubscriberCounts()
        self.connected = False
        self.last_error = ""
        self._filters = tuple(filters)
        self._leaving = leaving
        self._end_session = False
        self.has_left = threading.Event()
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._receive_maximum = receive_maximum
        self._session_s = session_s
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._wanted = 1
        self._arrived = threading.Condition()
        self._outgoing: deque[tuple[int, int] | tuple[str, bytes, int]] = deque()
        self._connection = 0
        self._stopping = threading.Event()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._client = self._build(client_id)
        self._thread = threading.Thread(target=self._run, name="mqtt-subscriber", daemon=True)

    def _build(self, client_id: str) -> BufferedClient:
        client = BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = lambda *_: self.has_left.set()
        client.on_message = self._on_message
        if self.broker.username:
            client.username_pw_set(self.broker.username, self.broker.password or None)
        if self.broker.tls:
            client.tls_set(ca_certs=self.broker.ca_file or None)
        return client

    def start(self) -> None:
        """Connect in the background and keep connecting until `stop`."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0, *, end_session: bool = False) -> None:
        """Send what acknowledgements are waiting, leave the session at the broker, end.

        end_session: the broker forgets it, with all that it holds for it.
        """
        self._end_session = end_session
        self._stopping.set()
        self._wake()
        with self._arrived:
            self._arrived.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._wake_out.close()
        self._wake_in.close()

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = 20) -> list[Message]:
        """The next group: waits up to `max_wait_ms` for a first message, then `gather_ms` more.

        Empty when nothing came. A full queue or `max_messages` end the wait.
        """
        with self._arrived:
            self._wanted = max_messages
            if not self._queue:
                self._arrived.wait(max_wait_ms / 1000)
            if not self._queue:
                return []
            deadline = time.monotonic() + gather_ms / 1000
            while len(self._queue) < max_messages and not self._full():
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping.is_set():
                    break
                self._arrived.wait(left)
            was_full = self._full()
            count = min(max_messages, len(self._queue))
            group = [self._queue.popleft() for _ in range(count)]
            self._queued_bytes -= sum(len(message.payload) for message in group)
        if was_full:
            self._wake()
        return group

    def ack(self, messages: Iterable[Message]) -> None:
        """Acknowledge messages that are in the log (or refused and kept)."""
        self._outgoing.extend((m.mid, m.connection) for m in messages if m.mid)
        self._wake()

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> None:
        """Publish from the subscriber's connection; thrown away and counted while it is down."""
        if not self.connected or len(self._outgoing) >= MAX_OUTGOING:
            self.counts.unsent += 1
            return
        self._outgoing.append((topic, payload, qos))
        self._wake()

    @property
    def alive(self) -> bool:
        """Whether the thread runs: it goes on through every loss of the connection."""
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        return len(self._queue)

    def _full(self) -> bool:
        return len(self._queue) >= self._max_messages or self._queued_bytes >= self._max_bytes

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except (BlockingIOError, OSError):
            # Full: the thread will wake anyway. Closed: there is no thread to wake.
            return

    def _run(self) -> None:
        pause_s = BACKOFF_S[0]
        while not self._stopping.is_set():
            try:
                self._connect()
                self._serve()
                pause_s = BACKOFF_S[0] if self.connected else pause_s
            except (OSError, ssl.SSLError, ValueError) as error:
                self.last_error = str(error)
            self.connected = False
            # Jitter: many clients of one broker must not come back in the same moment.
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(pause_s * 2, BACKOFF_S[1])

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._session_s
        properties.ReceiveMaximum = self._receive_maximum
        self._connection += 1
        self._client.forget()
        self._client.connect(
            self.broker.host,
            self.broker.port,
            keepalive=KEEPALIVE_S,
            clean_start=False,
            properties=properties,
        )

    def _serve(self) -> None:
        """Read and write until the connection ends."""
        paused = False
        misc_at = time.monotonic()
        while True:
            sock = self._client.socket()
            if sock is None:
                return
            # Looked at first: whatever was handed over before `stop` is still sent.
            stopping = self._stopping.is_set()
            self._send_waiting()
            self._client.flush()
            if stopping:
                self._leave()
                return
            full = self._full()
            self.counts.paused += full and not paused
            paused = full
            readable = self._wait(sock, read=not full)
            if readable:
                self._read()
            if self._client.want_write():
                self._client.loop_write()
            if time.monotonic() - misc_at > 1:
                misc_at = time.monotonic()
                self._client.loop_misc()

    def _wait(self, sock: Any, *, read: bool) -> bool:
        """Wait for work; True when the broker's socket has something and we have room."""
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        writing = self._client.want_write() or self._client.unsent
        events = (select.POLLIN if read else 0) | (select.POLLOUT if writing else 0)
        poll.register(sock, events)
        # Bytes that were read or decoded already don't show on the socket.
        decoded = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        pending = read and (self._client.buffered or decoded)
        found = dict(poll.poll(0 if pending else TURN_MS))
        if found.get(self._wake_in.fileno()):
            self._wake_in.recv(65536)
        flags = found.get(sock.fileno(), 0)
        if not read:
            if flags & (select.POLLHUP | select.POLLERR):
                # Not reading, poll would report it without end: the ping timeout closes it.
                self._stopping.wait(TURN_MS / 1000)
            return False
        return pending or bool(flags & ~select.POLLOUT)

    def _read(self) -> None:
        """Read packets until there are no more or the queue is full."""
        for _ in range(READS_AT_ONCE):
            before = self.counts.received
            self._client.loop_read()
            if self.counts.received == before or self._full():
                return

    def _send_waiting(self) -> None:
        while self._outgoing:
            one = self._outgoing.popleft()
            if len(one) == 3:
                topic, payload, qos = one
                self._client.publish(topic, payload, qos)
            elif one[1] == self._connection and self.connected:
                self._client.ack(one[0], 1)
                self.counts.acknowledged += 1
            else:
                self.counts.stale_acks += 1

    def _leave(self) -> None:
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        if self._end_session:
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        while self._client.want_write() and self._client.socket() is not None:
            self._client.loop_write()

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self.last_error = f"the broker refused: {reason}"
            return
        self.counts.connections += 1
        self.connected = True
        if self._leaving:
            client.unsubscribe(list(self._filters))
            return
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(name, options) for name in self._filters])

    def _on_subscribe(
        self, client: mqtt.Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        """Without its subscriptions it would look well and hear nothing: that is no connection."""
        refused = [
            f"{name} ({reason})"
            for name, reason in zip(self._filters, reasons, strict=False)
            if reason.is_failure
        ]
        if not refused:
            self.last_error = ""
            return
        self.last_error = f"the broker refused to subscribe to {', '.join(refused)}"
        self.connected = False
        client.disconnect()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        mid = message.mid if message.qos else 0
        payload = bytes(message.payload)
        with self._arrived:
            self._queue.append(Message(_topic(message), payload, mid, self._connection))
            self._queued_bytes += len(payload)
            self.counts.received += 1
            # Waking the taker for each message would cost more than the message.
            if len(self._queue) in (1, self._wanted) or self._full():
                self._arrived.notify()


def _topic(message: mqtt.MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        # No broker should pass it on; it must end as a dead letter and not come back for ever.
        return "not UTF-8"
