"""Shapes of the records beside the log."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stream.records import (
    Ask,
    Assembler,
    Assigned,
    BadRecord,
    DeadLetter,
    decode_ask,
    decode_assigned,
    decode_letter,
    encode,
    pieces,
)
from app.stream.topics import PIECE_BYTES, TopicPlan, topics_of


@given(
    size=st.integers(0, 3 * PIECE_BYTES + 1), repeats=st.booleans(), seed=st.integers(0, 1 << 32)
)
def test_content_comes_together_in_any_order(size: int, repeats: bool, seed: int) -> None:
    chance = random.Random(seed)
    content = chance.randbytes(size)
    records = list(pieces("abc", content))
    assert all(len(value) <= PIECE_BYTES for _, value in records)
    if repeats:
        records += records[:-1]
    chance.shuffle(records)
    assembler = Assembler()
    whole = [found for key, value in records if (found := assembler.add(key, value))]
    assert ("abc", content) in whole
    assert all(found == ("abc", content) for found in whole)


@pytest.mark.parametrize("key", [b"", b"a/1", b"a/1/1", b"a/-1/1", b"a/x/1", b"\xff/0/1", b"a/0/0"])
def test_a_key_that_names_no_piece(key: bytes) -> None:
    with pytest.raises(BadRecord):
        Assembler().add(key, b"")


def test_there_and_back() -> None:
    letter = DeadLetter(by="bridge", at_ms=5, source="x", reason="bad_json", payload=b"\x00\xff")
    assert decode_letter(encode(letter)) == letter
    assert decode_assigned(encode(Assigned(partition=3))) == 3
    ask = decode_ask(b'{"topic": "gw/v1/a/cmd", "payload": {"type": "resend"}}')
    assert ask == Ask(topic="gw/v1/a/cmd", payload=ask.payload)
    assert bytes(ask.payload) == b'{"type": "resend"}'


@pytest.mark.parametrize("value", [b"", b"{}", b'{"partition": -1}', b"\xff", b"[" * 5000])
def test_bad_values(value: bytes) -> None:
    for decode in (decode_assigned, decode_ask, decode_letter):
        with pytest.raises(BadRecord):
            decode(value)


def test_the_log_has_the_brokers_own_time() -> None:
    topics = topics_of(TopicPlan(prefix="p.", partitions=3, replication=3, min_insync=2))
    assert topics.log.name == "p.log"
    assert topics.log.config["message.timestamp.type"] == "LogAppendTime"
    assert all(topic.config["min.insync.replicas"] == "2" for topic in topics)
    assert {topic.role for topic in topics if topic.compacted} == {
        "assignments",
        "pulses",
        "content",
        "snapshots",
    }
    assert topics.snapshots.partitions == topics.log.partitions == 3
