"""Messages told apart: a topic that is known as good says nothing about the next message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts import pack, topics
from contracts.log import RecordKind
from contracts.rejects import Reason, Refused
from ingest import triage as module
from ingest.triage import KEPT_TOPICS, MAX_FOREIGN_BYTES, MAX_TOPIC_BYTES, triage
from tests.contracts.examples import READINGS

TOPIC = topics.foreign("340111002003004", "smoke", "s1")
LONG = topics.foreign("340111002003004", "x" * MAX_TOPIC_BYTES, "s1")


def reason(topic: str, payload: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        triage(topic, payload)
    return refused.value.reject.reason


def test_a_good_topic_is_told_the_same_again() -> None:
    first, again = triage(TOPIC, b"{}"), triage("".join(TOPIC), b"[1]")

    assert (first.kind, first.source) == (RecordKind.FOREIGN, TOPIC)
    assert again == first


def test_each_payload_on_a_known_topic_is_checked() -> None:
    triage(TOPIC, b"{}")

    assert reason(TOPIC, b"{") is Reason.BAD_JSON
    assert reason(TOPIC, b'"' + b"x" * MAX_FOREIGN_BYTES + b'"') is Reason.TOO_LARGE


@pytest.mark.parametrize("topic", [LONG, "grid/v1/what", TOPIC + "x", TOPIC.replace("s1", "s 1")])
def test_a_bad_topic_stays_bad(topic: str) -> None:
    assert [reason(topic, b"{}") for _ in range(2)] == [Reason.BAD_TOPIC] * 2


def test_what_is_remembered_of_topics_is_bounded() -> None:
    for number in range(KEPT_TOPICS + 1):
        triage(topics.foreign("340111002003004", "smoke", f"s{number}"), b"{}")

    assert module._foreign.cache_info().currsize == KEPT_TOPICS


def test_a_pack_with_tracklets_is_a_pack() -> None:
    data = pack.encode(replace(READINGS, tracks=b"whatever the detector will read"))
    found = triage(topics.tracks("gw-0001"), data)
    assert found == triage(topics.pack("gw-0001"), data)
    assert found.kind is RecordKind.PACK
