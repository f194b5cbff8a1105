"""Detectors on the log: what they say is the same after a restart, and nobody else may say it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import structlog

from app.engine import Engine
from app.models import load_inactivity
from app.runners.detection import Detection
from app.runners.quiet_homes import QuietHomes
from app.speaker import Fed, Speaker
from contracts import pack, topics
from contracts.alert_data import ModelRef
from contracts.batch import ReadingBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from contracts.registry import Registry
from contracts.rejects import Refused
from detectors.inactivity.operator import Scores
from detectors.inactivity.telling import readings
from ingest.message import Message
from ingest.registry import load as load_registry
from ingest.triage import OUTSIDE, triage
from rules.ruleset import RuleSet
from rules.zones import zone
from tests.app.listener import T0 as MARKED_MS
from tests.app.listener import Listener
from tests.detectors.inactivity.lives import unlike_a_clock

HOME, HUB, GATEWAY = "home-1", "home-1-hub", "gw-1"
T0 = 1_767_225_600_000
MODEL = ModelRef(detector="inactivity", hash="model")
MINUTE = 60_000
FILES = {
    "areas.csv": "code,level,name\n340199,district,D\n340199009,street,S\n"
    "340199009001,community,C\n",
    "grids.csv": "code,name,kind,valid_from,valid_to,state,reason\n"
    "340199009001001,G,residential,2000-01-01,,valid,\n",
    "devices.csv": "device,family,gateway,grid,home,room,role\n"
    f"{HOME},elderly,detector-inactivity,340199009001001,,,\n"
    f"{HUB},elderly,{GATEWAY},340199009001001,{HOME},living,room\n",
}


@cache
def registry() -> Registry:
    with TemporaryDirectory() as name:
        for file, text in FILES.items():
            (Path(name) / file).write_text(text, encoding="utf-8")
        return load_registry(Path(name))


def detector() -> QuietHomes:
    infer, prior, _ = load_inactivity()
    return QuietHomes(infer, prior, MODEL, zone("Asia/Shanghai").info)


MOVES = {*unlike_a_clock(0, 4 * 120, 14, 1), 476}
"""Half minutes."""


def log() -> Iterator[LogRecord]:
    """A day: the hub lives each ten minutes, somebody moves for four hours; a mark each half
    minute."""
    position, seq = 0, 0
    for n in range(24 * 120):
        at = T0 + n * MINUTE // 2
        rows = []
        if n % 20 == 0:
            rows.append((HUB, "elderly", "online", at, 1.0, 0))
        if n in MOVES:
            rows.append((HUB, "elderly", "motion", at + 5, 1.0, 0))
        if rows:
            position, seq = position + 1, seq + 1
            header = PackHeader(GATEWAY, 7, seq, at, at)
            blob = pack.encode(Pack(header, ReadingBatch.of(rows)))
            yield LogRecord(RecordKind.PACK, at + 50, GATEWAY, blob, position)
        position += 1
        yield LogRecord(RecordKind.MARK, at + 900, "", b"", position)


def run(cuts: list[int], *, restart: bool) -> list[bytes]:
    """The packs that come of it; with `restart`, engine and detector begin anew at each cut from
    what they saved at the cut before, and read again from there."""
    records = list(log())
    engine, speaker = Engine(registry(), RuleSet.empty()), Speaker(detector())
    packs: dict[tuple[str, int, int], bytes] = {}
    saved = engine.snapshot(), speaker.snapshot(), 0
    for first, last in pairwise([0, *cuts, len(records)]):
        begin = first
        if restart:
            engine, speaker = Engine(registry(), RuleSet.empty()), Speaker(detector())
            engine.restore(saved[0])
            speaker.restore(saved[1])
            begin = saved[2]
        part = records[begin:last]
        step = engine.step(part)
        for message in speaker.work(Fed(part, step.batches, engine.directory)):
            header, _ = pack.peek_header(message.payload)
            key = header.gateway, header.boot, header.seq
            assert packs.setdefault(key, message.payload) == message.payload
        # Saved only at every other cut: what came since is worked off twice.
        if first % 2 == 0:
            saved = engine.snapshot(), speaker.snapshot(), last
    assert [seq for _, _, seq in packs] == list(range(1, len(packs) + 1))
    return list(packs.values())


def test_cuts_and_restarts_change_no_score() -> None:
    whole = run([], restart=False)
    batches = [pack.decode(blob).batch for blob in whole]
    said = {name for batch in batches for name in batch.quantities}
    assert {device for batch in batches for device in batch.devices} == {HOME}
    assert said == {
        "home.state", "home.gone", "home.proven", "inactivity.minutes", "inactivity.usual",
        "inactivity.dry", "inactivity.p", "inactivity.per_30d",
    }  # fmt: skip
    assert run([3, 500, 1001, 2000], restart=False) == whole
    assert run([3, 500, 1001, 1500, 2001, 3000], restart=True) == whole


def test_a_silence_is_told_of_by_the_hour() -> None:
    batches = [pack.decode(blob).batch for blob in run([], restart=False)]
    told = [
        value
        for batch in batches
        for _, _, quantity, _, value, _ in batch.rows()
        if quantity == "inactivity.minutes"
    ]
    hours = [int(value // 60) for value in told if value >= 60]
    assert set(hours) == set(range(1, 20))
    assert max(told) < 20 * 60 + 30


def test_a_server_that_was_away_saw_no_silence() -> None:
    quiet = detector()
    quiet.settle(DeviceDirectory(registry()))
    quiet.on_mark(T0)
    quiet.on_mark(T0 + MINUTE)
    told = quiet.on_mark(T0 + 60 * 60 * MINUTE)
    assert len(told) <= 2
    assert all(batch.ts_ms.min() > T0 + 59 * 60 * MINUTE for batch in told)


def test_a_damaged_state_begins_anew_and_says_so() -> None:
    detection = Detection([detector()], structlog.stdlib.get_logger())
    detection.restore({"detector-inactivity": b"\xc1"})
    assert set(detection.freeze()()) == {"detector-inactivity"}


def test_a_detector_that_fails_goes_on_behind_what_it_failed_on() -> None:
    """With the state that was saved last, and with the sequence of its packs."""

    def fail(second: int) -> None:
        if second == 3:
            raise ZeroDivisionError("a poison record")

    listener = Listener(at=fail)
    detection = Detection([listener], structlog.stdlib.get_logger())
    engine, found = Engine(registry(), RuleSet.empty()), list[Message]()

    def hear(second: int) -> None:
        mark = LogRecord(RecordKind.MARK, MARKED_MS + second * 1000, "", b"", second)
        detection.feed([mark], engine.step([mark]), engine.directory)
        detection.catch_up(found.extend)

    for second in (1, 2, 3):
        if second == 2:
            saved = detection.freeze()()
        hear(second)
    assert detection.failed == {"inactivity": "ZeroDivisionError: a poison record"}
    for second in (4, 5):
        hear(second)
    assert listener.heard == [1, 4, 5]
    assert detection.failed == {}
    assert [pack.peek_header(one.payload)[0].seq for one in found] == [1, 2, 3, 4]
    # Whoever starts from the snapshot makes the same packs, and gets no farther wrong.
    again = Detection([Listener(at=fail)], structlog.stdlib.get_logger())
    again.restore(saved)
    detection, before = again, [one.payload for one in found]
    found.clear()
    engine = Engine(registry(), RuleSet.empty())
    for second in (2, 3, 4, 5):
        hear(second)
    assert [one.payload for one in found] == before[1:]


def message(quantity: str) -> Message:
    rows = [(HOME, "elderly", quantity, T0, 1.0, 0)]
    header = PackHeader("detector-inactivity", 1, 1, T0, T0)
    return Message(
        topics.pack("detector-inactivity"), pack.encode(Pack(header, ReadingBatch.of(rows)))
    )


def test_nobody_outside_speaks_for_a_detector() -> None:
    score = message("inactivity.p")
    with pytest.raises(Refused, match="gateway"):
        triage(score.topic, score.payload)
    assert triage(score.topic, score.payload, inner=True).header is not None
    help_button = message("help_button")
    found = triage(help_button.topic, help_button.payload)
    assert (found.source, found.header) == (OUTSIDE, None)


def test_the_batch_of_a_home_that_is_unknown_has_no_probability() -> None:
    scores = Scores(
        T0, np.ones(2), np.ones(2), np.full(2, 90.0), np.full(2, 80.0), np.array([0, 1], np.uint8),
        np.array([7.0, np.nan]), np.ones(2, bool),
    )  # fmt: skip
    rows = [row[:3] for row in readings(scores, np.arange(2), ("a", "b")).rows()]
    assert [(device, quantity) for device, _, quantity in rows] == [
        ("a", "home.state"), ("a", "home.gone"),
        ("b", "home.gone"), ("b", "home.proven"), ("b", "inactivity.usual"),
        ("b", "inactivity.minutes"), ("b", "inactivity.p"), ("b", "inactivity.per_30d"),
        ("b", "home.state"),
    ]  # fmt: skip
