"""A partition gives the same log however it is cut and restarted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import pack, topics
from contracts.log import LogRecord, RecordKind, encode_bundle
from contracts.messages import Installed, OperatorCommand
from contracts.rejects import Reason, Refused
from ingest.completeness import HOUR_MS
from ingest.ledger import PATIENCE_MS
from ingest.partition import (
    ANSWERS_MS,
    MARKED_SECONDS,
    Bundle,
    Letter,
    OffsetsMissing,
    PartitionLog,
    Taken,
    marks_of,
)
from ingest.recent_hours import SHOWN_HOURS
from tests.ingest.packs import BOOT, T0, pack_bytes, record, status

FOREIGN = topics.foreign("340111002003004", "smoke", "s1")
JSON = b'{"deviceId":"s1","family":"smoke","ts":1,"metrics":{"battery":3}}'
COMMAND = OperatorCommand(id="c", action="reset", alert="a", at_ms=1)
FAR = 1 << 62


def bundle(offset: int, *records: LogRecord, append_ms: int = FAR) -> Bundle:
    return Bundle(offset, append_ms, encode_bundle(records))


def mark(at_ms: int) -> LogRecord:
    return LogRecord(RecordKind.MARK, at_ms, "", b"")


def said(taken: Taken) -> list[tuple[str, int]]:
    return [(one.kind.name, one.accepted_ms - T0) for one in taken.records]


def control(kind: RecordKind, payload: bytes, at_ms: int = T0) -> LogRecord:
    return LogRecord(kind, at_ms, "", payload)


def test_time_is_the_earlier_of_stamp_and_append_and_never_falls() -> None:
    log = PartitionLog()
    taken = log.take(
        [
            bundle(0, record(1, T0 + 100), append_ms=T0 + 300),
            bundle(1, record(2, T0 + 90_000), append_ms=T0 + 400),
            bundle(2, record(3, T0 - 50_000), record(4, T0 + 500), append_ms=T0 + 600),
        ]
    )
    assert said(taken) == [("PACK", 100), ("PACK", 400), ("PACK", 400), ("PACK", 500)]
    assert [one.position for one in taken.records] == [1, 2, 3, 4]
    assert taken.offsets == [0, 1, 2, 2]


def test_a_mark_stands_behind_its_second() -> None:
    log = PartitionLog()
    taken = log.take([bundle(0, record(1, T0 + 400), record(2, T0 + 1000), record(3, T0 + 1001))])
    assert said(taken) == [("PACK", 400), ("PACK", 1000), ("MARK", 1000), ("PACK", 1001)]


def test_mark_records_only_tell_the_time() -> None:
    """Two workers that both write them, at odd times, change nothing."""
    one, two = PartitionLog(), PartitionLog()
    alone = one.take([bundle(0, record(1, T0)), bundle(1, mark(T0 + 3001))])
    both = two.take(
        [
            bundle(0, record(1, T0)),
            bundle(1, mark(T0 + 1000)),
            bundle(2, mark(T0 + 900)),
            bundle(3, mark(T0 + 1700)),
            bundle(4, mark(T0 + 2300), mark(T0 + 3001)),
        ]
    )
    assert alone.records == both.records
    assert said(alone) == [("PACK", 0), ("MARK", 0), *[("MARK", s * 1000) for s in (1, 2, 3)]]


@pytest.mark.parametrize(
    ("silence_ms", "count"),
    [
        pytest.param(1, 1, id="a-moment"),
        pytest.param(3_000, 3, id="three-seconds"),
        pytest.param(3_001, 4, id="a-moment-more"),
        pytest.param(600_000, 4, id="ten-minutes"),
        pytest.param(30 * 365 * 86_400_000, MARKED_SECONDS + 1, id="30-years"),
    ],
)
def test_marks_of_a_silence_are_bounded(silence_ms: int, count: int) -> None:
    marks = list(marks_of(T0, T0 + silence_ms))
    assert len(marks) == count
    assert marks == sorted(set(marks))
    assert marks[0] == T0
    assert 0 < T0 + silence_ms - marks[-1] <= 1000
    assert not any(at % 1000 for at in marks)


def test_after_a_silence_marks_go_on_second_by_second() -> None:
    log = PartitionLog()
    log.take([bundle(0, record(1, T0))])
    log.take([bundle(1, mark(T0 + 10 * 86_400_000 + 700))])
    taken = log.take([bundle(2, mark(T0 + 10 * 86_400_000 + 2001))])
    assert said(taken) == [("MARK", 864_001_000), ("MARK", 864_002_000)]


def test_a_pack_comes_out_once_and_is_asked_for_when_missing() -> None:
    log = PartitionLog()
    taken = log.take([bundle(0, record(1), record(3)), bundle(1, record(1), record(3))])
    assert [pack.peek(one.payload)[1] for one in taken.records] == [1, 3]
    assert taken.counts == {"pack": 2, "duplicate": 2}
    assert log.asks() == []
    log.take([bundle(2, mark(T0 + PATIENCE_MS))])
    [(gateway, resend)] = log.asks()
    assert (gateway, resend.ranges) == ("g1", ((2, 2),))


def test_what_was_lost_is_kept_until_it_comes_after_all() -> None:
    log = PartitionLog()
    gone = pack.Evicted(BOOT, 1, 4, T0, T0 + 9, 7)
    log.take([bundle(0, record(5, evicted=(gone,)))])
    assert [(one.first, one.last, one.reason) for one in log.losses] == [(1, 4, "evicted")]
    log.take([bundle(1, record(2))])
    again = PartitionLog()
    again.restore(log.snapshot())
    assert [(one.first, one.last) for one in again.losses] == [(1, 1), (3, 4)]


def test_who_is_not_heard_any_more_is_not_asked() -> None:
    """He may be assigned to another partition by now."""
    log = PartitionLog()
    log.take([bundle(0, record(1), record(3)), bundle(1, mark(T0 + ANSWERS_MS + 2_000))])
    assert log.asks() == []
    log.take([bundle(2, record(4, T0 + ANSWERS_MS + 2_000))])
    [(_, resend)] = log.asks()
    assert resend.ranges == ((2, 2),)


def test_the_last_hours_of_a_gateway_can_be_shown() -> None:
    log = PartitionLog()
    hours = [T0 + n * HOUR_MS for n in range(SHOWN_HOURS + 3)]
    for n, at_ms in enumerate(hours):
        log.take([bundle(n, record(n + 1 + (n > 10), at_ms, wall_ms=at_ms))])
    again = PartitionLog()
    again.restore(log.snapshot())
    found = again.judged_hours("g1")
    assert found == log.judged_hours("g1")
    assert len(found) == SHOWN_HOURS
    assert found[-1].from_ms == hours[-1]
    # The pack between the tenth and the eleventh hour never came.
    assert [one.state for one in found[:9]] == ["data"] * 7 + ["data missing"] * 2
    assert {one.state for one in found[9:]} == {"data"}
    assert {one.packs for one in found} == {1}


def test_a_bundle_that_waits_for_something_waits_whole_and_comes_first_then() -> None:
    told = Installed(what="rules", hash="h", active_ms=T0)
    at_hand: set[str] = set()
    log = PartitionLog(ready=lambda one: one.hash in at_hand)
    change = control(RecordKind.INSTALLED, msgspec.json.encode(told))
    bundles = [bundle(0, record(1)), bundle(1, record(2), change), bundle(2, record(3))]
    taken = log.take(bundles)
    assert (said(taken), taken.waits_for, log.offset) == ([("PACK", 0)], told, 0)
    assert log.take(bundles).records == []
    at_hand.add("h")
    taken = log.take(bundles)
    assert [kind for kind, _ in said(taken)] == ["PACK", "INSTALLED", "PACK"]
    assert (taken.waits_for, log.offset, taken.nths) == (None, 2, [0, 1, 0])


REFUSED = [
    pytest.param(LogRecord(RecordKind.PACK, T0, "g1", b"x"), "truncated", id="pack"),
    pytest.param(
        LogRecord(RecordKind.PACK, T0, "g1", pack_bytes(1, gateway="g2")),
        "wrong_gateway",
        id="name",
    ),
    pytest.param(LogRecord(RecordKind.PACK, T0, "a b", pack_bytes(1)), "bad_topic", id="source"),
    pytest.param(LogRecord(RecordKind.STATUS, T0, "g1", b"{"), "bad_json", id="status"),
    pytest.param(LogRecord(RecordKind.FOREIGN, T0, "any/topic", JSON), "bad_topic", id="topic"),
    pytest.param(control(RecordKind.COMMAND, b"{}"), "bad_field", id="command"),
    pytest.param(control(RecordKind.INSTALLED, b"nothing"), "bad_json", id="installed"),
]


@pytest.mark.parametrize(("bad", "reason"), REFUSED)
def test_a_bad_record_spoils_nothing(bad: LogRecord, reason: str) -> None:
    taken = PartitionLog().take([bundle(0, record(7), bad, record(8), append_ms=T0 + 5)])
    assert [pack.peek(one.payload)[1] for one in taken.records] == [7, 8]
    [letter] = taken.letters
    assert letter == Letter(0, 1, T0 + 5, bad.source, letter.reject, bad.payload)
    assert letter.reject.reason.value == reason


@pytest.mark.parametrize("value", [None, b"rubbish", encode_bundle([record(1)])[:-1]])
def test_a_poison_bundle_is_a_letter_and_the_next_goes_on(value: bytes | None) -> None:
    log = PartitionLog()
    taken = log.take([Bundle(0, T0, value), bundle(1, record(2))])
    assert [(one.offset, one.nth, one.payload) for one in taken.letters] == [(0, -1, value or b"")]
    assert [pack.peek(one.payload)[1] for one in taken.records] == [2]


def test_what_cannot_be_put_in_force_is_a_letter() -> None:
    def prove(installed: Installed) -> None:
        if installed.hash == "bad":
            raise Refused(Reason.BAD_STRUCTURE, field="rules", detail="no rule")

    log = PartitionLog(prove=prove)
    good, bad = (
        msgspec.json.encode(Installed(what="rules", hash=name, active_ms=T0))
        for name in ("good", "bad")
    )
    taken = log.take(
        [bundle(0, control(RecordKind.INSTALLED, bad), control(RecordKind.INSTALLED, good))]
    )
    assert [one.payload for one in taken.records] == [good]
    assert [one.payload for one in taken.letters] == [bad]


def test_offsets_that_are_gone_are_not_passed_over() -> None:
    log = PartitionLog()
    log.take([bundle(0, record(1))])
    with pytest.raises(OffsetsMissing, match="offset 1 should follow, but 3 came"):
        log.take([bundle(3, record(2))])
    assert said(log.take([bundle(0, record(9)), bundle(1, record(2))])) == [("PACK", 0)]
    later = PartitionLog(first_offset=500)
    assert said(later.take([bundle(500, record(1))])) == [("PACK", 0)]


@dataclass(frozen=True)
class Input:
    """What a partition may hold, and where readers of it were cut and began anew."""

    bundles: list[Bundle]
    cuts: list[int]


def _record(draw: st.DrawFn, at_ms: int) -> LogRecord:
    kind = draw(st.sampled_from("pppppamtfscix"))
    gateway = draw(st.sampled_from(["g1", "g2"]))
    seq = draw(st.integers(1, 12))
    if kind in "pa":
        return record(seq, at_ms, gateway=gateway, alarm=kind == "a", wall_ms=T0)
    if kind == "m":
        return mark(at_ms)
    if kind == "t":
        gone = pack.Evicted(BOOT, 1, draw(st.integers(1, 6)), T0, T0, 9)
        return record(seq, at_ms, gateway=gateway, evicted=(gone,))
    if kind == "f":
        return LogRecord(RecordKind.FOREIGN, at_ms, FOREIGN, JSON)
    if kind == "s":
        oldest = draw(st.integers(1, 6))
        beat = status(gateway=gateway, held=((BOOT, oldest, oldest + draw(st.integers(0, 6))),))
        return LogRecord(RecordKind.STATUS, at_ms, gateway, msgspec.json.encode(beat))
    if kind == "c":
        return LogRecord(RecordKind.COMMAND, at_ms, "", msgspec.json.encode(COMMAND))
    payload = b"{" if kind == "x" else b'{"what":"rules","hash":"h","active_ms":1}'
    return LogRecord(RecordKind.INSTALLED, at_ms, "", payload)


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    now = T0 + draw(st.integers(0, 2000))
    bundles: list[Bundle] = []
    for offset in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from([0, 7, 400, 1000, 2600, 70_000, 9_000_000]))
        if draw(st.integers(0, 9)) == 0:
            bundles.append(Bundle(offset, now, draw(st.sampled_from([None, b"", b"poison"]))))
            continue
        records = [
            _record(draw, now + draw(st.integers(-3000, 3000)))
            for _ in range(draw(st.integers(0, 4)))
        ]
        bundles.append(bundle(offset, *records, append_ms=now))
    cuts = draw(st.lists(st.integers(0, len(bundles)), max_size=6))
    return Input(bundles, sorted(cuts))


def run(bundles: list[Bundle], cuts: list[int]) -> tuple[Taken, bytes]:
    """Cut at `cuts`; at each the log is thrown away and built again from its snapshot."""
    whole, log = Taken(), PartitionLog()
    for start, end in zip([0, *cuts], [*cuts, len(bundles)], strict=True):
        part = log.take(bundles[start:end])
        whole.records += part.records
        whole.offsets += part.offsets
        whole.letters += part.letters
        whole.counts += part.counts
        blob = log.snapshot()
        log = PartitionLog()
        log.restore(blob)
        assert log.snapshot() == blob
    return whole, blob


@settings(deadline=None, max_examples=60)
@given(inputs())
def test_any_cut_and_any_restart_gives_the_same_records(given: Input) -> None:
    whole, end = run(given.bundles, [])
    assert run(given.bundles, given.cuts) == (whole, end)
    assert run(given.bundles, list(range(len(given.bundles) + 1))) == (whole, end)


@settings(deadline=None, max_examples=60)
@given(inputs())
def test_the_records_are_a_log(given: Input) -> None:
    records = run(given.bundles, [])[0].records
    assert [one.position for one in records] == list(range(1, len(records) + 1))
    times = [one.accepted_ms for one in records]
    assert times == sorted(times)
    for before, after in pairwise(records):
        second = before.accepted_ms // 1000
        if before.kind is RecordKind.MARK:
            assert before.accepted_ms % 1000 == 0
            assert after.accepted_ms > before.accepted_ms
        elif after.kind is not RecordKind.MARK and before.accepted_ms % 1000:
            # No second passes without its mark.
            assert (after.accepted_ms - 1) // 1000 == second
    packs = [pack.peek_header(one.payload)[0] for one in records if one.kind is RecordKind.PACK]
    names = [(one.gateway, one.boot, one.seq) for one in packs]
    assert len(names) == len(set(names))


@settings(deadline=None, max_examples=60)
@given(inputs(), inputs())
def test_a_second_reading_of_the_same_offsets_changes_nothing(first: Input, again: Input) -> None:
    log = PartitionLog()
    log.take(first.bundles)
    before = log.snapshot()
    repeated = log.take(again.bundles[: len(first.bundles)])
    assert (repeated.records, repeated.letters) == ([], [])
    assert log.snapshot() == before
