"""A stand-in for ingest that confirms what a test wants, over a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contracts import topics
from contracts.messages import BootConfirm, Confirm, GatewayStatus, Resend
from contracts.pack import Pack, boot_text, decode

DEADLINE_S = 30.0


def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until `condition` holds; AssertionError with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)


class TinyIngest:
    """Keeps every pack that comes. accept(gateway, boot, seq, times): whether to confirm it now.

    Confirms hold everything accepted so far, as cumulative sequence and ranges.
    """

    def __init__(
        self, port: int, accept: Callable[[str, int, int, int], bool] = lambda *_: True
    ) -> None:
        self._accept = accept
        self._lock = threading.Lock()
        self.packs: list[Pack] = []
        self.times: dict[tuple[str, int, int], int] = {}
        self.confirmed: dict[tuple[str, int], set[int]] = {}
        self.statuses: list[GatewayStatus] = []
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="tiny-ingest", protocol=paho.MQTTv5
        )
        # Paho takes fractions of a second, though its types say whole ones.
        untyped: Any = self._client
        untyped.reconnect_delay_set(0.05, 0.5)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._port = port

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe([(topics.PACKS, 1), (topics.STATES, 1)])

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/state"):
            status = msgspec.json.decode(message.payload, type=GatewayStatus)
            with self._lock:
                self.statuses.append(status)
            return
        pack = decode(bytes(message.payload))
        header = pack.header
        key = (header.gateway, header.boot, header.seq)
        with self._lock:
            self.packs.append(pack)
            self.times[key] = self.times.get(key, 0) + 1
            if not self._accept(*key, self.times[key]):
                return
            have = self.confirmed.setdefault(key[:2], set())
            have.add(header.seq)
            told = _confirm(header.boot, have)
        client.publish(topics.ack(header.gateway), msgspec.json.encode(told), qos=1)

    def ask(self, gateway: str, boot: int, *ranges: tuple[int, int]) -> None:
        resend = Resend(boot=boot_text(boot), ranges=ranges)
        self._client.publish(topics.cmd(gateway), msgspec.json.encode(resend), qos=1)

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)

    def seen(self, kind: str, gateway: str = "gw") -> list[GatewayStatus]:
        with self._lock:
            return [s for s in self.statuses if s.type == kind and s.gateway == gateway]

    def unique(self, gateway: str = "gw") -> dict[tuple[int, int], Pack]:
        """(boot, seq) -> pack."""
        with self._lock:
            return {
                (pack.header.boot, pack.header.seq): pack
                for pack in self.packs
                if pack.header.gateway == gateway
            }

    def values(self, gateway: str = "gw") -> list[float]:
        """Every reading's value, each pack counted once."""
        return [v for pack in self.unique(gateway).values() for v in pack.batch.value.tolist()]

    def __enter__(self) -> TinyIngest:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _confirm(boot: int, have: set[int]) -> Confirm:
    upto = 0
    while upto + 1 in have:
        upto += 1
    ranges = tuple((seq, seq) for seq in sorted(have) if seq > upto)
    return Confirm(confirms=(BootConfirm(boot=boot_text(boot), upto=upto, ranges=ranges),))
