"""TLS, names and passwords, to a broker as shipped and to a Kafka that asks for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.stream import admin
from app.stream.settings import load
from app.stream.tails import read_to_end
from contracts import pack
from contracts.log import decode_bundle
from tests.app.stream.bridging import BridgePart
from tests.parts.guarded_broker import Authority, GuardedMosquitto
from tests.parts.kafka import Kafka, java_and_jars
from tests.parts.tools import MissingTool
from tests.torture.account import compare
from tests.torture.district import record
from tests.torture.packs import now_ms
from tests.torture.processes import Agent, until

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

MQTT = {"ingest": "right-for-ingest-7Q", "gw-1": "right-for-gw-4Z"}
KAFKA_PASSWORD = "right-for-kafka-2B"
WRONG = "not-the-password-9X"
LOGIN = (
    "org.apache.kafka.common.security.scram.ScramLoginModule required "
    f'username="gridwarden" password="{KAFKA_PASSWORD}";'
)


@dataclass
class Site:
    folder: Path
    stack: ExitStack
    authority: Authority
    broker: GuardedMosquitto
    kafka: Kafka

    def secret(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text + "\n")
        return f'password_file = "{name}"'

    def bridge(
        self, name: str, *, kafka: str = KAFKA_PASSWORD, ca: Path | None = None
    ) -> BridgePart:
        tls = f'tls = true\nca_file = "{ca or self.authority.file}"\n'
        made = BridgePart(
            name,
            self.folder,
            f'[kafka]\nbootstrap = "{self.kafka.bootstrap}"\n{tls}'
            f'sasl = "SCRAM-SHA-512"\nusername = "gridwarden"\n{self.secret(name + "-k", kafka)}\n'
            "[topics]\npartitions = 1\n"
            f'[mqtt]\nport = {self.broker.port}\n{tls}username = "ingest"\n'
            f"{self.secret(name + '-m', MQTT['ingest'])}\n[http]\nport = 0\n",
        )
        self.stack.callback(made.discard)
        return made

    def agent(self, recording: Path) -> Agent:
        access = (
            f'tls = true\nca_file = "{self.authority.file}"\nusername = "gw-1"\n'
            f'password_file = "{self.folder / "gw-1.secret"}"'
        )
        self.secret("gw-1.secret", MQTT["gw-1"])
        made = Agent(
            self.folder / "agent", "gw-1", recording, broker_port=self.broker.port, speed=0,
            broker=access,
        )  # fmt: skip
        self.stack.callback(made.discard)
        made.start()
        return made


@pytest.fixture
def site(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Site]:
    for tool in ("mosquitto", "mosquitto_passwd", "openssl"):
        require_tool(tool)
    try:
        java_and_jars()
    except MissingTool as missing:
        pytest.skip(str(missing))
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.sign("kafka")
    both = tmp_path / "kafka.pem"
    both.write_text(key.read_text() + certificate.read_text())
    guarded = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.plaintext.scram-sha-512.sasl.jaas.config": LOGIN,
    }
    user = f"SCRAM-SHA-512=[name=gridwarden,password={KAFKA_PASSWORD}]"
    with ExitStack() as stack:
        kafka = Kafka(tmp_path / "kafka", config=guarded, format_options=("--add-scram", user))
        stack.enter_context(kafka)
        broker = GuardedMosquitto(tmp_path / "broker", authority.sign("broker"), MQTT)
        stack.callback(lambda: broker.running and broker.kill())
        broker.start()
        yield Site(tmp_path, stack, authority, broker, kafka)


def test_it_gets_in_with_what_is_right_and_tells_nothing(site: Site) -> None:
    right = site.bridge("right")
    settings = load(site.folder / "right.toml")

    async def make() -> None:
        async with admin.admin(settings.kafka) as client:
            await admin.apply(client, settings.layout)

    asyncio.run(make())
    right.start()
    right.up()
    made = record(site.folder, "gw-1", start_ms=now_ms(), seconds=1, seed=3)
    agent = site.agent(made.path)
    until(lambda: agent.finished, 60, "everything is confirmed")
    records = asyncio.run(read_to_end(settings.kafka, settings.layout.log.name))
    packs = [one for bundle in records for one in decode_bundle(bundle.value, 1) if one.kind == 1]
    account = compare(made.parts, [pack.decode(one.payload).batch for one in packs])
    assert (account.lost, account.strange) == (0, 0)

    wrong = site.bridge("wrong", kafka=WRONG)
    strange = site.bridge("strange", ca=Authority(site.folder, "stranger").file)
    for part in (wrong, strange):
        part.start()
        until(lambda part=part: part.port, 60, "it answers")  # type: ignore[misc]
        until(  # type: ignore[misc]
            lambda part=part: "waiting for kafka at" in str(part.health()["problems"]),
            60,
            "health names Kafka",
        )
    shown = str([part.health() for part in (right, wrong, strange)])
    for secret in (*MQTT.values(), KAFKA_PASSWORD, WRONG):
        assert secret not in shown
        for part in (right, wrong, strange):
            assert secret not in part.log, part.name
    assert right.stop() == 0
