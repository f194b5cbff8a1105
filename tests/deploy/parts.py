"""The compose file's parts without containers: its own configuration, secrets and environment, with
paths, names and ports mended to this machine's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from app.bench.kafka_part import Node, java_and_jars
from tests.deploy.files import DEPLOY, compose
from tests.parts.kafka import Kafka
from tests.parts.mosquitto import Mosquitto, free_port
from tests.parts.tools import find_tool

WAIT_S = 20.0
WRAPPER = "kafka.docker.KafkaDockerWrapper"
"""What the image of Apache Kafka starts with; it is in Kafka's own jar."""


def make_secrets(folder: Path) -> Path:
    """What `make_secrets.sh` makes, in a folder like that of the compose file."""
    (folder / "secrets").mkdir(parents=True)
    script = DEPLOY / "compose" / "make_secrets.sh"
    (folder / script.name).write_text(script.read_text())
    subprocess.run(["sh", str(folder / script.name)], check=True)
    return folder / "secrets"


def add_user(secrets: Path, user: str, word: str) -> None:
    """As the docs say, by Mosquitto's own program."""
    words = secrets / "mosquitto_passwords"
    words.chmod(0o600)
    subprocess.run([find_tool("mosquitto_passwd"), "-b", str(words), user, word], check=True)


def word_of(secrets: Path, user: str) -> str:
    return (secrets / f"mqtt_{user}_password").read_text().strip()


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

    def reload(self) -> None:
        """Have it read its passwords again."""
        os.kill(self.pid, signal.SIGHUP)


class ComposeKafka(Kafka):
    """Kafka with the properties that its image makes of the environment in compose.yml."""

    def _properties(self, node: Node) -> str:
        text = self._as_the_image_makes_them()
        client, controller = node.ports
        for old, new in (
            ("kafka:9092", f"127.0.0.1:{client}"),
            ("kafka:9093", f"127.0.0.1:{controller}"),
            ("//:9092", f"//127.0.0.1:{client}"),
            ("//:9093", f"//127.0.0.1:{controller}"),
            (str(self.folder / "first"), str(node.folder / "data")),
        ):
            assert old in text, (old, text)
            text = text.replace(old, new)
        return text

    def _as_the_image_makes_them(self) -> str:
        """Its set-up formats the log's folder too, with the cluster id that stands there."""
        java, jars = java_and_jars()
        folders = [self.folder / name for name in ("default", "mounted", "final")]
        for one in folders:
            one.mkdir(parents=True)
        for name in ("log4j2.yaml", "tools-log4j2.yaml", "server.properties"):
            (folders[0] / name).write_text("")
        env = compose()["services"]["kafka"]["environment"]
        assert env["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
        done = subprocess.run(
            [java, "-cp", f"{jars}/*", WRAPPER, "setup", "--default-configs-dir", str(folders[0]),
             "--mounted-configs-dir", str(folders[1]), "--final-configs-dir", str(folders[2])],
            env={"PATH": os.environ["PATH"], **env, "KAFKA_LOG_DIRS": str(self.folder / "first")},
            capture_output=True, text=True, check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return (folders[2] / "server.properties").read_text()


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


class Service:
    """A process of ours as compose.yml starts it. places: what stands there -> what is here."""

    def __init__(
        self, name: str, folder: Path, places: Mapping[str, str], more: Mapping[str, str]
    ) -> None:
        """more: further environment."""
        service = compose()["services"][name]
        self.folder = folder / name
        self.folder.mkdir()
        self.vitals = free_port()
        self._places = {**places, "port = 9464": f"port = {self.vitals}"}
        (source,) = {one.split(":")[0] for one in service["volumes"] if one.startswith("./")}
        self.config = self.folder / "gridwarden.toml"
        self.config.write_text(self._mended((DEPLOY / "compose" / source).read_text()))
        self._places["/etc/gridwarden/gridwarden.toml"] = str(self.config)
        self._places["/var/lib/gridwarden"] = str(self.folder)
        self.command = [self._mended(one) for one in service["command"]]
        env = {key: self._mended(value) for key, value in service.get("environment", {}).items()}
        self.env = {**os.environ, **env, **more, "PYTHONUNBUFFERED": "1"}
        self.health = service.get("healthcheck", {}).get("test", [])
        self._child: subprocess.Popen[bytes] | None = None

    def _mended(self, text: str) -> str:
        for old, new in self._places.items():
            text = text.replace(old, new)
        return text

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def start(self) -> None:
        with (self.folder / "service.log").open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "app", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
            )

    @property
    def status(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def healthy(self, port: int = 0) -> bool:
        """What the container's health check says. port: where it really listens."""
        assert self._child is not None
        assert self._child.poll() is None, self.log
        kind, program, *rest = self.health
        assert (kind, program) == ("CMD", "python3")
        rest = [one.replace(":9464", f":{port or self.vitals}") for one in rest]
        rest = [one.replace(":8080", f":{port or self.vitals}") for one in rest]
        return not subprocess.run(
            [sys.executable, *rest], capture_output=True, check=False
        ).returncode

    def stop(self) -> int:
        assert self._child is not None
        self._child.terminate()
        return self._child.wait(60)

    def discard(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
