"""The shipped access list: nobody speaks for others, and only the server confirms and commands."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.mosquitto import Mosquitto
from tests.parts.tools import find_tool

ACL = Path(__file__).parents[2] / "deploy" / "mosquitto" / "gridwarden.acl"
PLACE = "340111/002/003/004"

pytestmark = pytest.mark.broker


@pytest.fixture
def guarded(tmp_path: Path, require_tool: Any) -> Iterator[Mosquitto]:
    """A broker under the shipped access list; each user's password is its name."""
    require_tool("mosquitto")
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    tool = str(Path(find_tool("mosquitto")).parent.parent / "bin" / "mosquitto_passwd")
    for user in ("ingest", "dispatch", "gw-1", "gw-2", "meter-7"):
        subprocess.run([tool, "-b", str(passwords), user, user], check=True, capture_output=True)
    extra = (
        "allow_anonymous false",
        f"password_file {passwords}",
        f"acl_file {ACL}",
    )
    with Mosquitto(tmp_path / "broker", extra=extra) as broker:
        yield broker


class Client:
    """One user on the broker. `heard` are the topics of what arrived."""

    def __init__(self, broker: Mosquitto, user: str, name: str = "") -> None:
        self.heard: list[str] = []
        self._arrived = threading.Condition()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name or user, protocol=mqtt.MQTTv5
        )
        self._client.username_pw_set(user, user)
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._arrived:
            self.heard.append(message.topic)
            self._arrived.notify_all()

    def subscribe(self, topic: str) -> None:
        done = threading.Event()
        self._client.on_subscribe = lambda *_: done.set()
        self._client.subscribe(topic, 1)
        assert done.wait(10)

    def publish(self, topic: str) -> None:
        self._client.publish(topic, b"x", 1).wait_for_publish(10)

    def wait_for(self, topic: str) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: topic in self.heard, 10), self.heard

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def people(guarded: Mosquitto) -> Iterator[dict[str, Client]]:
    users = {u: Client(guarded, u) for u in ("ingest", "dispatch", "gw-1", "gw-2", "meter-7")}
    yield users
    for user in users.values():
        user.close()


@pytest.mark.parametrize(
    ("speaker", "forbidden", "allowed", "listener"),
    [
        pytest.param("gw-1", "gw/v1/gw-2/pack", "gw/v1/gw-1/pack", "ingest", id="pack"),
        pytest.param("gw-1", "gw/v1/gw-2/state", "gw/v1/gw-1/state", "ingest", id="state"),
        pytest.param(
            "meter-7",
            f"grid/v1/{PLACE}/water/meter-8/tele",
            f"grid/v1/{PLACE}/water/meter-7/tele",
            "ingest",
            id="foreign-device",
        ),
    ],
)
def test_each_speaks_only_as_itself(
    guarded: Mosquitto,
    people: dict[str, Client],
    speaker: str,
    forbidden: str,
    allowed: str,
    listener: str,
) -> None:
    people[listener].subscribe("gw/v1/+/pack")
    people[listener].subscribe("gw/v1/+/state")
    people[listener].subscribe("grid/v1/#")
    # A second connection, for Mosquitto 2.0 ends one that publishes what it may not.
    itself = Client(guarded, speaker, f"{speaker}-again")
    itself.publish(forbidden)
    itself.close()
    people[speaker].publish(allowed)  # Comes after it, so its arrival ends the wait.
    people[listener].wait_for(allowed)
    assert people[listener].heard == [allowed]


@pytest.mark.parametrize("topic", ["gw/v1/gw-1/ack", "gw/v1/gw-1/cmd"])
def test_only_the_server_confirms_and_commands(
    guarded: Mosquitto, people: dict[str, Client], topic: str
) -> None:
    people["gw-1"].subscribe(topic)
    itself = Client(guarded, "gw-1", "gw-1-again")
    for other in (people["gw-2"], people["dispatch"], itself):
        other.publish(topic)
    itself.close()
    people["ingest"].publish(topic)
    people["gw-1"].wait_for(topic)
    assert people["gw-1"].heard == [topic]


def test_only_the_server_raises_alerts(people: dict[str, Client]) -> None:
    alert = f"alert/v1/{PLACE}/smoke/1"
    people["dispatch"].subscribe("alert/v1/#")
    people["gw-1"].publish(f"alert/v1/{PLACE}/smoke/2")
    people["ingest"].publish(alert)
    people["dispatch"].wait_for(alert)
    assert people["dispatch"].heard == [alert]
