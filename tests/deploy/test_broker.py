"""The compose file's broker, started for real with its own configuration, secrets and rights."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from contracts import topics
from tests.deploy.files import DEPLOY
from tests.parts.mosquitto import Mosquitto, free_port
from tests.parts.tools import find_tool

pytestmark = pytest.mark.broker

GATEWAY = "gw-1"
GATEWAY_WORD = "right-for-gw-8P"
ALERT = topics.alert("340111002015001", "smoke", 1)
WAIT_S = 20.0


class ComposeBroker(Mosquitto):
    """Mosquitto with the shipped file, its paths and its port mended to this machine's."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        super().__init__(folder, port=free_port())
        self.secrets = secrets

    def _config(self) -> str:
        text = (DEPLOY / "compose" / "mosquitto.conf").read_text(encoding="utf-8")
        for old, new in (
            ("/run/secrets/", f"{self.secrets}/"),
            ("/mosquitto/config/gridwarden.acl", str(DEPLOY / "mosquitto" / "gridwarden.acl")),
            ("/mosquitto/data/", f"{self.folder}/"),
            ("listener 8883", f"listener {self.port} 127.0.0.1"),
            ("log_dest stdout", "log_dest stderr\nlog_type all\nuser root"),
        ):
            assert old in text
            text = text.replace(old, new)
        return text


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "compose"
    (folder / "secrets").mkdir(parents=True)
    script = DEPLOY / "compose" / "make_secrets.sh"
    (folder / script.name).write_text(script.read_text())
    subprocess.run(["sh", str(folder / script.name)], check=True)
    return folder / "secrets"


@pytest.fixture
def broker(
    tmp_path: Path, secrets: Path, require_tool: Callable[[str], str]
) -> Iterator[ComposeBroker]:
    require_tool("mosquitto")
    words = secrets / "mosquitto_passwords"
    words.chmod(0o600)
    subprocess.run(
        [find_tool("mosquitto_passwd"), "-b", str(words), GATEWAY, GATEWAY_WORD], check=True
    )
    running = ComposeBroker(tmp_path / "mosquitto", secrets)
    with running:
        yield running


class Visitor:
    """Somebody with a name and a password. heard: (topic, payload)."""

    def __init__(self, broker: ComposeBroker, user: str, word: str, client: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._connected, self._granted = threading.Event(), threading.Event()
        self.refused = ""
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=client or user, protocol=MQTTv5
        )
        self._client.username_pw_set(user, word)
        self._client.tls_set(str(broker.secrets / "broker_ca"))
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.on_message = lambda _c, _u, m: self.heard.append((m.topic, bytes(m.payload)))
        self._client.connect("localhost", broker.port)
        self._client.loop_start()
        assert self._connected.wait(WAIT_S)

    def _on_connect(self, *arguments: object) -> None:
        reason = arguments[3]
        self.refused = str(reason) if getattr(reason, "is_failure", False) else ""
        self._connected.set()

    def subscribe(self, *filters: str) -> None:
        self._client.subscribe([(one, 1) for one in filters])
        assert self._granted.wait(WAIT_S)

    def send(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 0)

    def publish(self, topic: str, payload: bytes) -> None:
        message = self._client.publish(topic, payload, 1)
        message.wait_for_publish(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def word(secrets: Path, user: str) -> str:
    return (secrets / f"mqtt_{user}_password").read_text().strip()


def test_each_may_do_its_own_and_no_more(broker: ComposeBroker, secrets: Path) -> None:
    bridge = Visitor(broker, "bridge", word(secrets, "bridge"))
    alerts = Visitor(broker, "alerts", word(secrets, "alerts"))
    gateway = Visitor(broker, GATEWAY, GATEWAY_WORD)
    try:
        bridge.subscribe(
            f"$share/gridwarden/{topics.PACKS}", f"$share/gridwarden/{topics.STATES}", "alert/v1/#"
        )
        gateway.subscribe(topics.ack(GATEWAY), topics.cmd(GATEWAY), "alert/v1/#")
        for user, secret, topic in (
            (GATEWAY, GATEWAY_WORD, topics.pack("gw-2")),
            (GATEWAY, GATEWAY_WORD, topics.ack(GATEWAY)),
            ("alerts", word(secrets, "alerts"), topics.ack(GATEWAY)),
            ("bridge", word(secrets, "bridge"), ALERT),
        ):
            _trespass(broker, user, secret, topic)
        alerts.publish(ALERT, b"an alert")
        gateway.publish(topics.pack(GATEWAY), b"a pack")
        bridge.publish(topics.ack(GATEWAY), b"an ack")
        _until(lambda: bridge.heard and gateway.heard, lambda: broker.log)
    finally:
        for one in (bridge, alerts, gateway):
            one.close()
    assert bridge.heard == [(topics.pack(GATEWAY), b"a pack")]
    assert gateway.heard == [(topics.ack(GATEWAY), b"an ack")]


def test_a_wrong_word_is_refused(broker: ComposeBroker, secrets: Path) -> None:
    stranger = Visitor(broker, "bridge", "wrong")
    stranger.close()
    assert re.search("(?i)not authori", stranger.refused)
    assert word(secrets, "bridge") not in broker.log


def _trespass(broker: ComposeBroker, user: str, secret: str, topic: str) -> None:
    """Over a connection of its own: Mosquitto 2.0.11 ends those of who is denied."""
    visitor = Visitor(broker, user, secret, client=f"trespasser-{topic.replace('/', '-')}-{user}")
    visitor.send(topic, b"not mine")
    denied = f"Denied PUBLISH from trespasser-{topic.replace('/', '-')}-{user}"
    _until(lambda: denied in broker.log, lambda: broker.log)
    visitor.close()


def _until(what: Callable[[], object], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
