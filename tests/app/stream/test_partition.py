"""A partition decides what one box does, however it is cut, restarted and handed over."""

from __future__ import annotations

import random
from functools import cache

import msgspec
import pytest

from app.content import ContentError
from app.engine import Engine, SnapshotMismatch, Step
from app.stream.partition import LOG_CHUNK, ContentMissing, Outputs, Partition, Undecidable
from contracts.alerts import encode_event
from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.pack import decode as decode_pack
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.partition import Bundle
from rules.ruleset import RuleSet
from tests.app import scene


class Contents:
    """The scene's, by the names that stand for hashes there."""

    def rules(self, content: str) -> RuleSet:
        if content == "broken":
            raise ContentError("damaged")
        if content == "unheard of":
            raise ContentMissing(content, "memory")
        return scene.contents().rules[content]

    def registry(self, content: str) -> Registry:
        return scene.contents().registries[content]

    def settings(self, content: str) -> AdmissionSettings:
        return scene.contents().settings[content]


@cache
def bundles() -> list[Bundle]:
    """The scene in bundles of up to 5 records, some packs twice, some marks twice."""
    chance = random.Random(4)
    found: list[Bundle] = []
    waiting = scene.log()
    while waiting:
        count = chance.randint(1, 5)
        part, waiting = waiting[:count], waiting[count:]
        repeated = [one for one in part if one.kind in (RecordKind.PACK, RecordKind.MARK)]
        if chance.random() < 0.2:
            part = [*part, *repeated]
        found.append(Bundle(len(found), part[-1].accepted_ms + 30_000, encode_bundle(part)))
    return found


def few() -> list[Bundle]:
    """Where the same shall be done over and over."""
    return bundles()[:120]


def told(outputs: list[Outputs]) -> list[bytes]:
    return [encode_event(event) for one in outputs for event in one.events]


@cache
def embedded() -> list[bytes]:
    """The same records on one box. The last mark is the only one that no later record reveals."""
    engine = Engine(Registry(), RuleSet.empty(), sources=scene.contents().sources())
    return [encode_event(event) for event in engine.step(scene.log()[:-1]).events]


def test_it_decides_what_one_box_decides() -> None:
    outputs = [Partition(3, Contents()).work(bundles())]
    assert told(outputs) == embedded()
    assert len(embedded()) > 20
    assert outputs[0].records["duplicate"] > 0
    assert {one.state for one in outputs[0].news} == {"done"}


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_restarts_change_nothing(seed: int) -> None:
    chance = random.Random(seed)
    whole = Partition(3, Contents()).work(bundles())
    partition, parts, at = Partition(3, Contents()), [], 0
    while at < len(bundles()):
        size = chance.randint(1, 60)
        if chance.random() < 0.3:
            frozen = partition.freeze()
            # Packed later than it was taken.
            parts.append(partition.work(bundles()[at : at + size]))
            chunks = frozen.chunks()
            again = Partition.restored(3, Contents(), chunks)
            assert again.offset == frozen.offset
            repeated = again.work(bundles()[at : at + size])
            assert told([repeated]) == told(parts[-1:])
            assert repeated.letters == parts[-1].letters
            partition = again
        else:
            # Some are offered again, as after a rebalance.
            parts.append(partition.work(bundles()[max(0, at - 3) : at + size]))
        at += size
    assert told(parts) == told([whole])
    assert [letter for one in parts for letter in one.letters] == whole.letters
    assert parts[-1].position == whole.position


def test_what_is_refused_names_its_offset() -> None:
    good = bundles()
    nonsense = LogRecord(RecordKind.FOREIGN, good[9].append_ms, scene.foreign()[2].source, b'{"a":')
    poisoned = [
        *good[:10],
        Bundle(10, good[9].append_ms, b"poison"),
        Bundle(11, good[9].append_ms, encode_bundle([nonsense])),
    ]
    letters = Partition(3, Contents()).work(poisoned).letters
    found = [(one.by, one.partition, one.offset, one.size) for one in letters]
    assert found == [("worker", 3, 10, 6), ("worker", 3, 11, 5)]
    assert letters[0].payload == b"poison"


def test_rules_that_are_damaged_stay_out() -> None:
    partition = Partition(0, Contents())
    records = [
        scene.installed(scene.T0, "rules", "shipped"),
        scene.installed(scene.T0 + 1, "rules", "broken"),
    ]
    outputs = partition.work([Bundle(0, 1 << 60, encode_bundle(records))])
    assert [(one.field, one.detail) for one in outputs.letters] == [("rules", "broken: damaged")]
    assert partition.engine.content == {"rules": "shipped"}


def test_rules_that_nobody_has_are_an_error() -> None:
    record = scene.installed(scene.T0, "rules", "unheard of")
    with pytest.raises(ContentMissing, match="publish the same rules or registry again"):
        Partition(0, Contents()).work([Bundle(0, 1 << 60, encode_bundle([record]))])


def test_it_waits_for_what_is_not_at_hand_and_loses_nothing() -> None:
    """Also where the control record stands in a bundle behind others."""
    whole = Partition(3, Contents()).work(few())
    at_hand: set[str] = set()
    partition = Partition(3, Contents(), ready=lambda one: one.hash in at_hand)
    parts, waited = [], []
    while partition.offset < few()[-1].offset:
        before = partition.offset
        parts.append(partition.work(few()))
        wanted = parts[-1].waits_for
        if wanted is None:
            break
        assert partition.work(few()).offset == parts[-1].offset < whole.offset
        assert parts[-1].offset >= before
        waited.append(wanted.what)
        at_hand.add(wanted.hash)
    assert told(parts) == told([whole])
    assert {"rules", "registry"} <= set(waited)
    assert parts[-1].position == whole.position


class Failing:
    """An engine with a fault: it fails on a pack with these bytes, and has decided by then."""

    def __init__(self, engine: Engine, payload: bytes) -> None:
        self._engine, self._payload = engine, payload

    def step(self, records: list[LogRecord]) -> Step:
        step = self._engine.step(records)
        if any(record.payload == self._payload for record in records):
            raise ZeroDivisionError("a fault of ours")
        return step


def a_pack() -> tuple[int, int, LogRecord]:
    """(offset, nth, record) of a pack in the middle that isn't the first of its bundle."""
    for bundle in few()[40:]:
        for nth, record in enumerate(decode_bundle(bundle.value or b"", 0)):
            if nth and record.kind is RecordKind.PACK:
                return bundle.offset, nth, record
    raise AssertionError


def test_what_the_engine_fails_on_is_named_and_can_be_left_out() -> None:
    offset, nth, record = a_pack()
    partition = Partition(3, Contents())
    partition.engine = Failing(partition.engine, record.payload)  # type: ignore[assignment]
    with pytest.raises(Undecidable) as several:
        partition.work(few())
    assert several.value.place is None
    partition = Partition(3, Contents())
    partition.engine = Failing(partition.engine, record.payload)  # type: ignore[assignment]
    partition.work(few()[:offset])
    with pytest.raises(Undecidable) as one:
        partition.work([few()[offset]], careful=True)
    assert (one.value.place, one.value.separable) == ((offset, nth), True)
    partition = Partition(3, Contents())
    partition.log.undecidable = {(offset, nth): one.value.why}
    outputs = partition.work(few())
    [letter] = [one for one in outputs.letters if one.reason == "undecidable"]
    assert (letter.offset, letter.nth, letter.payload) == (offset, nth, record.payload)
    assert letter.detail == "ZeroDivisionError: a fault of ours"
    # Its gateway isn't asked for it.
    header = decode_pack(record.payload).header
    assert partition.log.ledger.has(header.gateway, header.boot, header.seq)
    whole = Partition(3, Contents()).work(few())
    assert outputs.position == whole.position - 1


def test_careful_work_comes_to_the_same() -> None:
    whole = Partition(3, Contents()).work(few())
    careful = Partition(3, Contents()).work(few(), careful=True)
    assert told([careful]) == told([whole])
    assert (careful.rows, careful.letters) == (whole.rows, whole.letters)


def test_chunks_of_two_moments_are_refused() -> None:
    partition = Partition(3, Contents())
    partition.work(bundles()[:20])
    chunks = partition.freeze().chunks()
    partition.work(bundles()[20:40])
    chunks[LOG_CHUNK] = partition.freeze().chunks()[LOG_CHUNK]
    with pytest.raises(SnapshotMismatch):
        Partition.restored(3, Contents(), chunks)


def test_gaps_are_asked_for() -> None:
    packs = [one for one in scene.packs() if one.source == "gw-01"]
    records = [
        packs[0],
        packs[2],
        LogRecord(RecordKind.MARK, packs[2].accepted_ms + 20_000, "", b""),
    ]
    partition = Partition(0, Contents())
    partition.work([Bundle(0, 1 << 60, encode_bundle(records))])
    [(gateway, ask)] = partition.asks()
    assert (gateway, ask.ranges) == ("gw-01", ((2, 2),))
    assert msgspec.json.encode(ask)
