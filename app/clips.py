"""Asking a gateway for the clips that it keeps, over the broker, as the server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.settings import MqttSettings, SettingsError
from contracts import topics
from contracts.clips import ClipAsk, ClipPart, KeptClip, decode
from contracts.rejects import Refused
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from ingest.subscriber import BrokerAddress, Subscriber

_clips_decoder = msgspec.json.Decoder(list[KeptClip])

POLL_S = 0.02
MESSAGES = 64


class ClipError(Exception):
    """No clip, and why; one line."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """data: MP4, its sha256 checked. start_ms, end_ms: unix time of the gateway's clock."""

    camera: str
    start_ms: int
    end_ms: int
    sha256: str
    data: bytes


def gateway_of(camera: str, registry: Path | None) -> str:
    """The gateway that speaks for a camera, by a folder of registry files. Raises `ClipError`."""
    if registry is None:
        raise ClipError("no registry to find the camera's gateway in; name --gateway")
    try:
        found = load_registry(registry)
    except (RegistryError, OSError) as error:
        raise ClipError(f"--registry {registry}: {error}") from None
    table = found.devices
    row = table.ids.index(camera) if camera in table.ids else -1
    if row >= 0 and table.gateway[row] >= 0:
        return str(table.gateways[table.gateway[row]])
    raise ClipError(f"{camera} has no gateway in the registry; name it with --gateway")


def fetch(mqtt: MqttSettings, gateway: str, camera: str, at_ms: int, wait_s: float) -> Fetched:
    """The clip of a camera nearest to a moment. Raises `ClipError`, `SettingsError`."""
    now_ms = time.time_ns() // 1_000_000
    ask = ClipAsk(ask=secrets.token_hex(8), kind="clip", camera=camera, at_ms=at_ms, now_ms=now_ms)
    parts: dict[int, bytes] = {}
    for head, body in _answers(mqtt, gateway, ask, wait_s):
        parts[head.part] = body
        if len(parts) == head.parts:
            data = b"".join(parts[n] for n in sorted(parts))
            if len(data) != head.size or hashlib.sha256(data).hexdigest() != head.sha256:
                raise ClipError(f"{gateway}: the clip came damaged; fetch it again")
            return Fetched(head.camera, head.start_ms, head.end_ms, head.sha256, data)
    raise ClipError(f"{gateway}: the clip broke off")


def listed(mqtt: MqttSettings, gateway: str, camera: str, wait_s: float) -> list[KeptClip]:
    """What a gateway keeps, oldest first. Raises `ClipError`, `SettingsError`."""
    ask = ClipAsk(ask=secrets.token_hex(8), kind="list", camera=camera)
    for _, body in _answers(mqtt, gateway, ask, wait_s):
        try:
            return _clips_decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise ClipError(f"{gateway}: not understood: {error}") from None
    raise ClipError(f"{gateway}: no answer")


def _answers(
    mqtt: MqttSettings, gateway: str, ask: ClipAsk, wait_s: float
) -> Iterator[tuple[ClipPart, bytes]]:
    """Answers to an ask, as they come; each is waited for `wait_s`."""
    with _connected(mqtt, topics.clip(gateway), wait_s) as there:
        there.publish(topics.ask(gateway), msgspec.json.encode(ask), qos=1)
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            messages = there.take(MESSAGES, max(round(left * 1000), 1), gather_ms=0)
            there.ack(messages)
            for message in messages:
                try:
                    head, body = decode(message.payload)
                except Refused as refused:
                    raise ClipError(f"{gateway}: not understood: {refused}") from None
                if head.ask != ask.ask:
                    continue  # Somebody else's answer.
                if head.why:
                    raise ClipError(f"{gateway}: {head.why}")
                until = time.monotonic() + wait_s
                yield head, body
    raise ClipError(
        f"{gateway}: no answer within {wait_s:g} s; is it online, and does it keep clips "
        "(clips_dir)?"
    )


@contextmanager
def _connected(mqtt: MqttSettings, topic: str, wait_s: float) -> Iterator[Subscriber]:
    """A subscriber to `topic`, without a session that outlives it."""
    address = BrokerAddress(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username,
        password=_password(mqtt),
        tls=mqtt.tls,
        ca_file=str(mqtt.ca_file or ""),
    )
    name = f"gridwarden-clip-{secrets.token_hex(4)}"
    there = Subscriber(address, client_id=name, session_s=0, filters=(topic,))
    there.start()
    try:
        until = time.monotonic() + wait_s
        while not there.connected:
            if there.last_error or time.monotonic() > until:
                why = there.last_error or "no answer"
                raise ClipError(f"broker {mqtt.host}:{mqtt.port}: {why}; is it running?")
            time.sleep(POLL_S)
        yield there
    finally:
        there.stop()


def _password(mqtt: MqttSettings) -> str:
    if mqtt.password_file is None:
        return ""
    try:
        return mqtt.password_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(
            f"mqtt.password_file: {mqtt.password_file}: can't be read; name one with the password"
        ) from None
