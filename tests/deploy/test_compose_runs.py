"""The compose file's parts together, each with its own configuration, environment and rights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.conftest import GATEWAY, GATEWAY_WORD
from tests.deploy.files import compose
from tests.deploy.parts import ComposeBroker, ComposeKafka, Service, Visitor, add_user
from tests.parts.kafka import Kafka, java_and_jars
from tests.parts.mosquitto import free_port
from tests.parts.telemetry_servers import VictoriaMetrics
from tests.parts.tools import ROOT, MissingTool, load_script
from tests.torture.district import FIRE_RULE, record, write_registry, write_rules
from tests.torture.packs import now_ms
from tests.torture.processes import Agent, gridwarden, until

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.timeout(400)]

PLATFORM_WORD = "right-for-platform-3C"
WAIT_S = 180.0


def test_the_image_of_kafka_is_the_version_that_is_tested() -> None:
    image = compose()["services"]["kafka"]["image"]
    jars = load_script(ROOT / "deploy" / "setup" / "kafka_jars.py")
    assert image == f"apache/kafka:{jars.version()}"


class Site:
    """Broker, Kafka and a store as compose.yml has them, and services beside them."""

    def __init__(
        self, folder: Path, stack: ExitStack, broker: ComposeBroker, kafka: Kafka, store: str
    ) -> None:
        self.folder, self._stack, self.broker = folder, stack, broker
        self.places = {
            "kafka:9092": kafka.bootstrap,
            'host = "mosquitto"': 'host = "localhost"',
            "port = 8883": f"port = {broker.port}",
            "/run/secrets": str(broker.secrets),
            "http://influxdb:8086": store,
            "0.0.0.0": "127.0.0.1",  # noqa: S104
        }

    def service(self, name: str, **more: str) -> Service:
        made = Service(name, self.folder, self.places, more)
        self._stack.callback(made.discard)
        made.start()
        return made


@pytest.fixture
def site(
    tmp_path: Path, broker: ComposeBroker, require_tool: Callable[[str], str]
) -> Iterator[Site]:
    require_tool("victoria-metrics")
    try:
        java_and_jars()
    except MissingTool as missing:
        pytest.skip(str(missing))
    with ExitStack() as stack:
        kafka = stack.enter_context(ComposeKafka(tmp_path / "kafka"))
        store = stack.enter_context(VictoriaMetrics(tmp_path / "store"))
        yield Site(tmp_path, stack, broker, kafka, store.url)


def test_a_fire_goes_from_a_gateway_to_the_platform(site: Site, tmp_path: Path) -> None:
    topics = site.service("topics")
    until(lambda: topics.status is not None, WAIT_S, "topics are made")
    assert topics.status == 0, topics.log
    registry = write_registry(tmp_path / "registry", [GATEWAY])
    rules = write_rules(tmp_path / "rules")
    for what in (["settings"], ["registry", registry], ["rules", rules]):
        gridwarden("publish", *what, "--config", topics.config, "--wait", "0")
    add_user(site.broker.secrets, "dispatch", PLATFORM_WORD)
    site.broker.reload()
    bridge = site.service("bridge-1", GRIDWARDEN_MQTT__CLIENT_ID="bridge-1")
    worker = site.service("worker-1")
    page = free_port()
    dispatch = site.service("dispatch-1", GRIDWARDEN_CONSOLE__PORT=str(page))
    until(lambda: bridge.healthy() and worker.healthy(), WAIT_S, "bridge and worker are ready")
    until(lambda: dispatch.healthy(page), WAIT_S, "dispatch is ready")

    platform = Visitor(site.broker, "dispatch", PLATFORM_WORD)
    platform.subscribe("alert/v1/#")
    made = record(tmp_path, GATEWAY, start_ms=now_ms(), seconds=2, seed=5, fires=3, breaches=0)
    (tmp_path / "word").write_text(GATEWAY_WORD)
    access = (
        f'tls = true\nca_file = "{site.broker.secrets / "broker_ca"}"\n'
        f'username = "{GATEWAY}"\npassword_file = "{tmp_path / "word"}"'
    )
    agent = Agent(
        tmp_path / "agent", GATEWAY, made.path, broker_port=site.broker.port, broker=access
    )
    try:
        agent.start()
        until(lambda: agent.finished, WAIT_S, "all is confirmed")

        def rung() -> set[str]:
            events = [json.loads(payload) for _, payload in platform.heard]
            return {
                event["data"]["device"]
                for event in events
                if event["data"]["rule"]["id"] == FIRE_RULE
            }

        until(lambda: rung() == set(made.fires), WAIT_S, "every fire has rung at the platform")
    finally:
        agent.discard()
        platform.close()
    for service in (bridge, worker, dispatch):
        assert service.stop() == 0, service.log
