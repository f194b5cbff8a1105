"""However a log is cut into calls, and whatever is forgotten between them: the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest.reorder as reorder
from contracts.batch import TAGGED, Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.pack import Evicted
from contracts.quantities import QUANTITIES
from ingest.admission import Admission
from ingest.packed_rows import unpack_column, unpack_rows
from tests.ingest.scene import BOOT, DAY, REGISTRY, T0, Log, S

COLUMNS = (
    "device", "quantity", "ts_ms", "value", "flags", "heard_ms", "position", "row", "order",
)  # fmt: skip


class Whole:
    """Everything between two marks in one call."""

    def __init__(self) -> None:
        self.admission = self.build()
        self.rows: list[tuple[Any, ...]] = []
        self.rejects: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.marks: list[Any] = []

    def build(self) -> Admission:
        admission = Admission(DeviceDirectory(REGISTRY))
        wanted = np.array([quantity.name != "battery" for quantity in QUANTITIES])
        admission.want(wanted)
        return admission

    def run(self, records: list[LogRecord]) -> tuple[Any, ...]:
        part: list[LogRecord] = []
        for record in records:
            if record.kind is not RecordKind.MARK:
                part.append(record)
                continue
            self.admit(part)
            self.mark(record)
            part = []
        self.admit(part)
        directory = self.admission._directory
        names = (directory.ids, directory.gateways, directory.strangers())
        return self.rows, self.rejects, self.counts, self.marks, names

    def admit(self, records: list[LogRecord]) -> None:
        admitted = self.admission.admit(records)
        self.rows += rows_of(admitted.batch)
        self.rejects += admitted.rejects
        self.counts.update(admitted.counts)
        self.after_step()

    def mark(self, record: LogRecord) -> None:
        before = self.admission.next_ms()
        released, progress = self.admission.mark(record)
        watermarks = progress.watermark_ms.tolist()
        self.marks.append((before, rows_of(released), watermarks, self.admission.next_ms()))
        self.after_step()

    def after_step(self) -> None:
        pass


class Portions(Whole):
    """Also: nothing on time comes behind the progress that was told."""

    def mark(self, record: LogRecord) -> None:
        told = self.admission._buffer.progress_ms.copy()
        directory = self.admission._directory
        super().mark(record)
        progress = self.admission._buffer.progress_ms
        assert (progress[: len(told)] >= told).all()
        assert (progress <= self.admission._watermarks.at_ms[: len(progress)]).all()
        for row in self.marks[-1][1]:
            gateway = int(directory.gateway[int(row[0])])
            if not int(row[4]) & int(Flag.LATE) and gateway < len(told):
                assert told[gateway] < int(row[2]) <= progress[gateway]


class OneByOne(Whole):
    def admit(self, records: list[LogRecord]) -> None:
        for record in records:
            super().admit([record])


class Forgetful(OneByOne):
    """Keeps nothing but the snapshot from one record to the next."""

    def after_step(self) -> None:
        blob = self.admission.snapshot()
        self.admission = self.build()
        self.admission.restore(blob)


def rows_of(batch: TaggedBatch) -> list[tuple[Any, ...]]:
    columns = [getattr(batch, name).tolist() for name in COLUMNS]
    return [tuple(map(repr, row)) for row in zip(*columns, strict=True)]


@pytest.fixture(params=[1, 50_000], ids=["tiny-portions", "portions"])
def portion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(reorder, "PORTION_ROWS", request.param)
    return request.param


@pytest.fixture(params=[OneByOne, Forgetful])
def hostile(request: pytest.FixtureRequest) -> Callable[[], Whole]:
    return request.param


GATEWAYS = ("gw-a", "gw-b", "gw-new")
DEVICES = ("sm-1", "fw-1", "fw-2", "sm-2", "lone-1", "new-1", "new-2", "fw-! bad")
OFFSETS = (0, 1, 700, -1500, -2500, -4000, -9000, -DAY, 100_000, 10**7, 2**44, -T0)
rows = st.lists(
    st.tuples(
        st.sampled_from(DEVICES),
        st.sampled_from(("flow", "fire", "battery", "flux")),
        st.sampled_from(OFFSETS),
        st.sampled_from((0.0, -0.0, 1.0, 1.5, float("nan"), float("inf"))),
    ),
    max_size=6,
)
skews = st.sampled_from((0, 0, 0, 300, -2100, 30_000, 2**42 - 1, -T0 + 5000))
gateways = st.sampled_from(GATEWAYS)
boots = st.sampled_from((BOOT, 2 << 32))
steps = st.one_of(
    st.tuples(st.just("pack"), gateways, boots, rows, skews, st.sampled_from((0, 0, 4000, DAY))),
    st.tuples(st.just("pack"), gateways, boots, rows, skews, st.just(0)),
    st.tuples(st.just("status"), gateways, boots, st.integers(0, 2), skews, st.booleans()),
    st.tuples(st.just("foreign"), st.sampled_from(DEVICES), rows),
    st.tuples(st.just("garbage"), st.sampled_from((1, 2, 3)), st.binary(max_size=40)),
    st.tuples(st.just("tombstone"), gateways, boots),
    st.tuples(st.just("mark")),
)
scripts = st.lists(st.tuples(st.sampled_from((0, 1, 50, 900, 4000)), steps), max_size=14)


def written(script: list[Any]) -> list[LogRecord]:
    log = Log()
    return [record(log, wait_ms, step) for wait_ms, step in script]


def record(log: Log, wait_ms: int, step: tuple[Any, ...]) -> LogRecord:
    log.now += wait_ms
    match step:
        case "pack", gateway, boot, told, skew, held_ms:
            wall = log.now - held_ms + skew
            mono = log.now - T0 + DAY - held_ms
            timed = [(d, q, wall + offset, v) for d, q, offset, v in told]
            return log.pack(timed, gateway=gateway, boot=boot, wall=wall, mono=mono)
        case "status", gateway, boot, connection, skew, lives:
            kind = "heartbeat" if lives else "offline"
            wall = log.now + skew
            return log.status(kind, gateway=gateway, boot=boot, wall=wall, connection=connection)
        case "foreign", device, told:
            topic = f"grid/v1/340111/002/003/001/smoke/{device}/tele"
            message = [
                {"deviceId": d, "family": "smoke", "ts": log.now + offset, "metrics": {q: v == 1}}
                for d, q, offset, v in told
            ]
            return log.foreign(message, topic if device < "m" else "")
        case "garbage", kind, payload:
            return log.record(RecordKind(kind), "gw-a", payload)
        case "tombstone", gateway, boot:
            evicted = (Evicted(boot, 1, 2, T0, T0, 5),)
            return log.pack([], gateway=gateway, boot=boot, evicted=evicted)
    return log.mark()


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts)
def test_no_cut_changes_an_answer(
    hostile: Callable[[], Whole], portion: int, script: list[Any]
) -> None:
    records = written(script)

    got, want = hostile().run(records), Portions().run(records)

    for mine, whole in zip(got, want, strict=True):
        assert mine == whole


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts)
def test_portions_change_when_a_row_is_released_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, script: list[Any]
) -> None:
    """The same rows, the same late ones, the same refusals; marks go on until nothing is due."""
    records = written(script)
    log = Log(records[-1].accepted_ms + 60 * S if records else T0)
    log.position = len(records)
    records += [log.mark() for _ in range(len(script) * 6 + 1)]
    answers = []
    for rows_at_once in (1, 50_000):
        monkeypatch.setattr(reorder, "PORTION_ROWS", rows_at_once)
        rows, rejects, counts, marks, names = Portions().run(records)
        released = sorted(row for _, mark, *_ in marks for row in mark)
        answers.append((rows, rejects, counts, released, marks[-1][2:], names))
    assert answers[0] == answers[1]


@settings(max_examples=60, deadline=None)
@given(script=scripts)
def test_a_safety_signal_is_never_lost(script: list[Any]) -> None:
    """Each fire of a device that can be named gets in, or is a duplicate of one that did."""
    heard = set()
    for _, step in script:
        if step[0] in ("pack", "foreign"):
            told = step[3] if step[0] == "pack" else step[2]
            burning = {1.0, 1.5, float("inf")} if step[0] == "pack" else {1.0}
            heard |= {d for d, q, _, v in told if q == "fire" and v in burning and "!" not in d}
    # A foreign topic of a bad device, and a family that isn't known, can't be heard.
    runner = Whole()
    accepted = runner.run(written(script))[0]
    ids = runner.admission._directory.ids
    fire = next(i for i, quantity in enumerate(QUANTITIES) if quantity.name == "fire")
    rang = {ids[int(r[0])] for r in accepted if int(r[1]) == fire and r[3] not in ("0.0", "nan")}
    refused_whole = {
        device
        for _, step in script
        if step[0] == "foreign" and step[1] < "m" and "!" in step[1]
        for device, *_ in step[2]
    }
    assert heard - rang <= refused_whole


def test_the_time_of_a_row_decides_its_flag_not_the_cut() -> None:
    log = Log()
    records = [log.pack([("fw-1", "flow", T0, 1.0)]), log.pack([("fw-1", "flow", T0 - 2000, 2.0)])]

    runner = Whole()
    runner.run(records)

    assert [int(row[4]) for row in runner.rows] == [0, int(Flag.LATE)]


def test_a_mark_hands_over_a_portion_and_asks_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Load stops: everything that waits becomes due at one mark, and comes bit by bit."""
    monkeypatch.setattr(reorder, "PORTION_ROWS", 10)
    log, runner = Log(), Portions()
    runner.run([log.mark()])
    flow = [("fw-1", "flow", T0 + 1 + n, float(n)) for n in range(95)]
    runner.run([log.pack(flow), log.mark()])
    log.now += 60 * S
    runner.run([log.mark() for _ in range(10)])
    marks = runner.marks[2:]
    assert [len(rows) for _, rows, *_ in marks] == [10] * 9 + [5]
    assert [due for *_, due in marks] == [log.now] * 9 + [None]
    assert marks[3][2] == [T0 + 40] * 2, "no gateway is ahead of what has been handed over"
    assert marks[-1][2] == [log.now - 5 * S] * 2


def plainly(waiting: dict[str, Any]) -> dict[str, Any]:
    """Waiting rows as they were saved up to version 2."""

    def columns(blocks: list[dict[str, Any]]) -> dict[str, bytes]:
        rows = [unpack_rows(block) for block in blocks]
        return {name: b"".join(one[name].tobytes() for one in rows) for name in TAGGED}

    homes = [unpack_column(block["home"], np.int32) for block in waiting["waiting"]]
    return waiting | {
        "waiting": columns([block["rows"] for block in waiting["waiting"]]),
        "home": b"".join(home.tobytes() for home in homes),
        "late": columns([waiting["late"]]),
    }


@pytest.mark.parametrize("version", [1, 2])
def test_a_snapshot_of_an_older_version_is_taken_over(version: int) -> None:
    log, runner = Log(), Whole()
    rows = [("fw-1", "flow", T0 + n, float(n)) for n in range(9)]
    runner.run([log.pack(rows), log.mark(), log.pack([("fw-1", "flow", T0 - 60 * S, 1.0)])])
    state = msgspec.msgpack.decode(runner.admission.snapshot())
    assert state["waiting"]["late"]["ts_ms"]["data"][1]
    state["waiting"] = plainly(state["waiting"])
    if version == 1:
        del state["waiting"]["came"], state["waiting"]["progress"]
    again = runner.build()
    again.restore(msgspec.msgpack.encode(state | {"version": version}))
    log.now += 60 * S
    mark = log.mark()
    got, want = again.mark(mark), runner.admission.mark(mark)
    assert rows_of(got[0]) == rows_of(want[0])
    assert got[1].watermark_ms.tolist() == want[1].watermark_ms.tolist()


def test_a_snapshot_brings_back_what_waits(hostile: Callable[[], Whole]) -> None:
    log = Log()
    records = [log.pack([("new-9", "flow", T0, 1.0)], gateway="gw-new")]
    log.now += 5 * S
    records.append(log.mark())

    runner = hostile()
    runner.run(records)

    (_, released, *_) = runner.marks[0]
    assert len(released) == 1
    strangers = runner.admission._directory.strangers()
    assert strangers == [("gw-new", "gateway", "gw-new"), ("new-9", "smoke", "gw-new")]
