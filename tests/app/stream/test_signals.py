"""What a detector hears by way of its topic makes it say what it says on one box."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec
import pytest

from app.content import content_hash, pack_files
from app.contents import Contents
from app.engine import Engine
from app.speaker import Fed, Speaker
from app.stream import signals
from app.stream.judge import Judge
from app.stream.partition import Partition
from app.stream.signals import VERSION, BadSignals, Signal, decode
from contracts import pack
from contracts.detector import Detector
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed
from ingest.partition import Bundle, PartitionLog
from rules.ruleset import RuleSet
from tests.app import test_detection as homes
from tests.app import test_falling_cameras as cameras

HEARD_MS = 1 << 60


class Held(dict[str, bytes]):
    """Contents by their hash."""

    def get_content(self, content_hash: str) -> bytes:
        return self[content_hash]


def content_of(files: dict[str, str]) -> bytes:
    return pack_files({name: text.encode() for name, text in files.items()})


def grown(files: dict[str, str]) -> bytes:
    """One device more, before all others: every row of the directory is another."""
    head, rest = files["devices.csv"].split("\n", 1)
    row = ",".join(["aa-1", "smoke", "gw-1", "340199009001001", *[""] * (head.count(",") - 3)])
    return content_of(files | {"devices.csv": f"{head}\n{row}\n{rest}"})


CASES = {
    "falling": (cameras.FILES, [*cameras.LOG, cameras.mark(9, cameras.T0 + 30_000)]),
    "inactivity": (homes.FILES, list(homes.log())),
}


def detector(name: str) -> Detector:
    return cameras.speaker().detector if name == "falling" else homes.detector()


def log_of(name: str) -> tuple[Held, list[Bundle]]:
    """The records of the detector's own test as a partition; the registry changes in it."""
    files, records = CASES[name]
    contents = [content_of(files), grown(files)]
    held = Held({content_hash(content): content for content in contents})
    first, second = (
        LogRecord(
            RecordKind.INSTALLED,
            at_ms,
            "",
            msgspec.json.encode(
                Installed(what="registry", hash=content_hash(content), active_ms=at_ms)
            ),
        )
        for content, at_ms in zip(
            contents, (records[0].accepted_ms, records[2].accepted_ms), strict=True
        )
    )
    every = [first, *records[:2], second, *records[2:]]
    return held, [Bundle(n, HEARD_MS, encode_bundle([one])) for n, one in enumerate(every)]


def said(packs: Iterable[bytes]) -> list[list[object]]:
    """Sequences and rows. Boots say where in the log a detector began."""
    return [[pack.peek_header(blob)[0].seq, *pack.decode(blob).batch.rows()] for blob in packs]


def on_one_box(name: str) -> list[list[object]]:
    """The packs that a detector beside the engine makes of the same log."""
    held, bundles = log_of(name)
    contents = Contents(held)
    found: list[bytes] = []
    partition, speaker = Partition(0, contents), Speaker(detector(name))
    log = PartitionLog()
    engine = Engine(
        partition.engine.registry,
        RuleSet.empty(),
        sources=partition._sources(),
    )
    for record in log.take(bundles).records:
        step = engine.step([record])
        packs = speaker.work(Fed([record], step.batches, engine.directory))
        found += [message.payload for message in packs]
    return said(found)


def through_the_topic(name: str, cuts: list[int], *, again: bool) -> list[list[object]]:
    """The same by way of signals. again: at each cut another worker takes over that has seen less,
    and another judge that knows what was saved at the cut before."""
    held, bundles = log_of(name)
    contents = Contents(held)
    partition, judge = (
        Partition(0, contents, detectors=[name]),
        Judge(lambda: detector(name), contents),
    )
    found: dict[tuple[int, int], bytes] = {}
    topic: list[Signal] = []
    frozen, saved, read = partition.freeze(), judge.snapshot(), 0
    for first, last in pairwise([0, *cuts, len(bundles)]):
        begin = first
        if again and first:
            partition = Partition.restored(0, contents, frozen.chunks(), detectors=[name])
            judge = Judge(lambda: detector(name), contents)
            if saved is not None:
                judge.restore(saved)
                read = judge.offset
            else:
                read = 0
            begin = partition.offset + 1
        topic += partition.work(bundles[begin:last]).signals
        while read < len(topic):
            records, refused = judge.take(decode(topic[read].value))
            assert not refused
            for record in records:
                if record.kind is RecordKind.PACK:
                    header = pack.peek_header(record.payload)[0]
                    key = header.boot, header.seq
                    assert found.setdefault(key, record.payload) == record.payload
            read += 1
            judge.offset = read
            if first % 2 == 0:
                saved = judge.snapshot()
        if first % 3 == 0:
            frozen = partition.freeze()
    return said(found.values())


@pytest.mark.parametrize("name", CASES)
def test_a_detector_says_the_same_by_way_of_its_topic(name: str) -> None:
    whole = on_one_box(name)
    assert len(whole) > 1
    assert through_the_topic(name, [], again=False) == whole
    _, bundles = log_of(name)
    cuts = sorted({2, 3, 5, *(len(bundles) * part // 11 for part in range(1, 11))})
    assert through_the_topic(name, cuts, again=False) == whole
    assert through_the_topic(name, cuts, again=True) == whole


def test_signals_are_of_one_camera_or_of_several() -> None:
    held, bundles = log_of("falling")
    partition = Partition(0, Contents(held), detectors=["falling"])
    told = [one for bundle in bundles for one in partition.work([bundle]).signals]
    assert {one.key for one in told} == {b"cam-1", b"cam-2", b""}
    assert {one.role for one in told} == {"tracks"}


def test_nobody_to_judge_means_no_signals() -> None:
    held, bundles = log_of("inactivity")
    partition = Partition(0, Contents(held), detectors=["falling"])
    assert partition.work(bundles).signals == []


def some_signals() -> dict[str, object]:
    held, bundles = log_of("falling")
    (signal,) = Partition(0, Contents(held), detectors=["falling"]).work(bundles).signals
    found: dict[str, object] = msgspec.msgpack.decode(signal.value)
    return found


def test_what_a_newer_worker_adds_is_passed_over() -> None:
    told = some_signals()
    parts = told["parts"]
    assert isinstance(parts, list)
    later = told | {"colour": "blue", "parts": [part | {"more": [1]} for part in parts]}
    for part in later["parts"]:  # type: ignore[attr-defined]
        for rows in part["rows"]:
            rows["quantities"].append("smell")
            rows["columns"]["loudness"] = b"\0" * 8
    assert decode(msgspec.msgpack.encode(later)).upto == told["upto"]
    held, _ = log_of("falling")
    records, refused = Judge(lambda: detector("falling"), Contents(held)).take(
        decode(msgspec.msgpack.encode(later))
    )
    assert (len(records), refused) == (5, [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"version": VERSION + 1}, "version 2, this worker reads up to 1", id="newer"),
        pytest.param({"parts": 3}, "array", id="type"),
        pytest.param({"upto": None}, "int", id="none"),
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(BadSignals, match=why):
        decode(msgspec.msgpack.encode(some_signals() | change))


def test_large_signals_are_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = some_signals()
    monkeypatch.setattr(signals, "PACKED_BYTES", 100)
    held, bundles = log_of("falling")
    (signal,) = Partition(0, Contents(held), detectors=["falling"]).work(bundles).signals
    assert len(signal.value) < len(msgspec.msgpack.encode(plain))
    assert decode(signal.value).upto == plain["upto"]
    with pytest.raises(BadSignals, match="cut off"):
        decode(signal.value[:-5])


@pytest.mark.parametrize("value", [b"", b"\xc1", b"poison", b"\x93\x01\x02\x03", b"\x78\x9c\x00"])
def test_other_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(BadSignals):
        decode(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("records", b"\1\2"), ("positions", [1]), ("rows", [{"devices": [], "quantities": [],
     "columns": {}}])],
)  # fmt: skip
def test_a_part_that_does_not_hang_together_is_passed_over(field: str, value: object) -> None:
    told = some_signals()
    parts = told["parts"]
    assert isinstance(parts, list)
    parts[0] |= {field: value}
    held, _ = log_of("falling")
    judge = Judge(lambda: detector("falling"), Contents(held))
    _, refused = judge.take(decode(msgspec.msgpack.encode(told)))
    assert len(refused) == 1
    assert judge.upto == told["upto"]
