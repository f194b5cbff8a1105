"""The compose file's broker, started for real with its own configuration, secrets and rights."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts import topics
from tests.deploy.conftest import GATEWAY, GATEWAY_WORD
from tests.deploy.parts import WAIT_S, ComposeBroker, Visitor, word_of

pytestmark = pytest.mark.broker

ALERT = topics.alert("340111002015001", "smoke", 1)


def test_each_may_do_its_own_and_no_more(broker: ComposeBroker, secrets: Path) -> None:
    bridge = Visitor(broker, "bridge", word_of(secrets, "bridge"))
    alerts = Visitor(broker, "alerts", word_of(secrets, "alerts"))
    gateway = Visitor(broker, GATEWAY, GATEWAY_WORD)
    try:
        bridge.subscribe(
            f"$share/gridwarden/{topics.PACKS}", f"$share/gridwarden/{topics.STATES}", "alert/v1/#"
        )
        gateway.subscribe(topics.ack(GATEWAY), topics.cmd(GATEWAY), "alert/v1/#")
        for user, secret, topic in (
            (GATEWAY, GATEWAY_WORD, topics.pack("gw-2")),
            (GATEWAY, GATEWAY_WORD, topics.ack(GATEWAY)),
            ("alerts", word_of(secrets, "alerts"), topics.ack(GATEWAY)),
            ("bridge", word_of(secrets, "bridge"), ALERT),
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
    assert word_of(secrets, "bridge") not in broker.log


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
