"""Topics are built and taken apart in one place."""

from __future__ import annotations

import pytest

from contracts import topics
from contracts.rejects import Reason, Refused

GRID = "340111002001007"


def test_gateway_topics() -> None:
    for build in (topics.pack, topics.state, topics.ack, topics.cmd):
        assert topics.gateway_of(build("gw-1")) == "gw-1"
    assert topics.pack("+") == topics.PACKS
    assert topics.tracks("+") == topics.TRACKS
    assert topics.state("+") == topics.STATES


def test_foreign_topics_round_trip() -> None:
    for klass in ("tele", "evt"):
        topic = topics.foreign(GRID, "smoke", "sm-1", klass)
        assert topics.parse_foreign(topic) == topics.ForeignTopic(GRID, "smoke", "sm-1", klass)
        assert topic.count("/") == topics.FOREIGN[0].count("/")


def test_one_level_for_each_level_of_governance() -> None:
    assert topics.foreign(GRID, "smoke", "sm-1") == "grid/v1/340111/002/001/007/smoke/sm-1/tele"
    assert topics.alert(GRID, "smoke", 1) == "alert/v1/340111/002/001/007/smoke/1"
    assert topics.alert("", "smoke", 1) == "alert/v1/000000/000/000/000/smoke/1"


@pytest.mark.parametrize(
    "topic",
    ["", "gw/v1/pack", "gw/v1//pack", "gw/v2/a/pack", "gw/v1/a/b/pack", "gw/v1/a b/pack",
     "gw/v1/a\n/pack", "gw/v1/" + "a" * 65 + "/pack"],
)  # fmt: skip
def test_bad_gateway_topics(topic: str) -> None:
    with pytest.raises(Refused) as refused:
        topics.gateway_of(topic)
    assert refused.value.reject.reason is Reason.BAD_TOPIC


@pytest.mark.parametrize(
    "topic",
    ["", "grid/v1/340111/002/001/007/smoke/tele", "grid/v1/340111/002/001/007/smoke/d/state",
     "grid/v2/340111/002/001/007/smoke/d/tele", "grid/v1/340111/002/001/007/smoke/a b/tele",
     "grid/v1/340111/002/001/007/smoke//tele"],
)  # fmt: skip
def test_bad_foreign_topics(topic: str) -> None:
    with pytest.raises(Refused) as refused:
        topics.parse_foreign(topic)
    assert refused.value.reject.reason is Reason.BAD_TOPIC
