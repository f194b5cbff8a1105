"""Acceptance: in the log first, answered then; duplicates and refusals."""

from __future__ import annotations

import random
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from contracts import pack, topics
from contracts.log import RecordKind
from contracts.messages import Confirm, Installed, OperatorCommand, Resend
from contracts.pack import Evicted
from contracts.rejects import Reason, Reject
from ingest import ledger as ledger_module
from ingest.acceptor import Acceptor
from ingest.ledger import PATIENCE_MS, Ledger
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.message import Message
from ingest.quarantine import Quarantine
from ingest.refusal import RowReject
from ingest.storage import StoreBusy, StoreFull
from tests.ingest.packs import BOOT, T0, pack_bytes, status

FOREIGN = topics.foreign("340111002003004", "smoke", "s1")
JSON = b'{"deviceId":"s1","family":"smoke","ts":1,"metrics":{"battery":3}}'


class Intake:
    """An acceptor on real stores with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = T0
        self.log = SqliteLog(folder / "log")
        self.quarantine = Quarantine(folder / "q.db")
        self.store = LedgerStore(folder / "ledger.db")
        ledger = self.store.load(self.log)
        self.acceptor = Acceptor(
            self.log,
            ledger,
            self.quarantine,
            clock=lambda: self.now_ms,
            ledger_store=self.store,
        )

    def close(self) -> None:
        self.log.close()
        self.quarantine.close()
        self.store.close()


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(tmp_path)
    yield intake
    intake.close()


def packed(seq: int, **more: object) -> Message:
    gateway = str(more.get("gateway", "g1"))
    return Message(topics.pack(gateway), pack_bytes(seq, **more))  # type: ignore[arg-type]


def confirm(payload: bytes) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
    confirms = msgspec.json.decode(payload, type=Confirm).confirms
    return [(one.upto, one.ranges) for one in confirms]


def test_a_group_is_one_run_of_positions_and_one_confirm_a_gateway(intake: Intake) -> None:
    beat = Message(topics.state("g2"), msgspec.json.encode(status(gateway="g2")))
    group = [packed(1), packed(2), packed(4), Message(FOREIGN, JSON), beat, packed(1, gateway="g2")]
    accepted = intake.acceptor.accept(group, mark=True)
    kinds = [(r.position, r.kind.name, r.source) for r in accepted.records]
    assert kinds == [
        (1, "PACK", "g1"),
        (2, "PACK", "g1"),
        (3, "PACK", "g1"),
        (4, "FOREIGN", FOREIGN),
        (5, "STATUS", "g2"),
        (6, "PACK", "g2"),
        (7, "MARK", ""),
    ]
    assert [one for part in intake.log.read(1) for one in part] == accepted.records
    answers = dict(accepted.answers)
    assert confirm(answers[topics.ack("g1")]) == [(2, ((4, 4),))]
    assert confirm(answers[topics.ack("g2")]) == [(1, ())]
    assert intake.acceptor.counts.records == {"pack": 4, "foreign": 1, "status": 1, "mark": 1}


def test_duplicates_are_confirmed_again_and_not_logged(intake: Intake) -> None:
    intake.acceptor.accept([packed(1), packed(2)])
    again = intake.acceptor.accept([packed(2), packed(3), packed(3), packed(1)])
    assert [pack.peek(r.payload)[1] for r in again.records] == [3]
    assert again.duplicates == 3
    assert confirm(again.answers[0][1]) == [(3, ())]
    only = intake.acceptor.accept([packed(1)])
    assert (only.records, only.duplicates) == ([], 1)
    assert confirm(only.answers[0][1]) == [(3, ())]
    assert intake.log.last_position == 3


def test_a_heartbeat_brings_the_confirms_that_were_lost(intake: Intake) -> None:
    intake.acceptor.accept([packed(1), packed(2)])
    beat = status(held=((BOOT, 1, 3),))
    accepted = intake.acceptor.accept([Message(topics.state("g1"), msgspec.json.encode(beat))])
    assert confirm(accepted.answers[0][1]) == [(2, ())]


REFUSED = [
    pytest.param("gw/v1/g1/pack", b"rubbish", "truncated", id="pack"),
    pytest.param("gw/v1/g1/pack", pack_bytes(1)[:-1], "truncated", id="cut"),
    pytest.param("gw/v1/g1/pack", pack_bytes(1, gateway="g2"), "wrong_gateway", id="other-name"),
    pytest.param("gw/v1/g1/pack/x", pack_bytes(1), "bad_topic", id="deep-topic"),
    pytest.param("gw/v1/g1/cmd", b"{}", "bad_topic", id="command"),
    pytest.param("gw/v1/a b/pack", pack_bytes(1), "bad_topic", id="bad-name"),
    pytest.param("gw/v1/g1/state", b"{", "bad_json", id="status"),
    pytest.param("gw/v1/g1/state", b'{"type":"birth"}', "bad_field", id="status-fields"),
    pytest.param(
        "gw/v1/g1/state", msgspec.json.encode(status(gateway="g2")), "wrong_gateway", id="status-of"
    ),
    pytest.param("gw/v1/g1/state", b" " * 70_000, "too_large", id="status-size"),
    pytest.param(FOREIGN, b"{]", "bad_json", id="json"),
    pytest.param(FOREIGN, b"\xff", "bad_json", id="utf8"),
    pytest.param(FOREIGN, b"", "bad_json", id="empty"),
    pytest.param(FOREIGN, b"[" * 100_000, "bad_json", id="deep"),
    pytest.param(FOREIGN, b" " * (2 << 20), "too_large", id="size"),
    pytest.param("other/topic", b"{}", "bad_topic", id="topic"),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), REFUSED)
def test_what_is_refused_is_kept_and_spoils_nothing(
    intake: Intake, topic: str, payload: bytes, reason: str
) -> None:
    accepted = intake.acceptor.accept([packed(1), Message(topic, payload), packed(2)])
    assert [pack.peek(r.payload)[1] for r in accepted.records] == [1, 2]
    assert accepted.refused == 1
    [letter] = intake.quarantine.letters()
    assert (letter.reason, letter.source, letter.payload) == (reason, topic, payload)
    assert letter.at_ms == T0
    assert intake.acceptor.counts.refused == {reason: 1}


@pytest.mark.parametrize("more", [{"quantity": "fire"}, {"alarm": True}], ids=["safety", "alarm"])
def test_a_safety_signal_under_a_foreign_name_is_logged_but_settles_nothing(
    intake: Intake, more: dict[str, object]
) -> None:
    payload = pack_bytes(3, gateway="g2", **more)  # type: ignore[arg-type]
    accepted = intake.acceptor.accept([Message(topics.pack("g1"), payload)])
    assert [(r.kind, r.source) for r in accepted.records] == [(RecordKind.PACK, "g1")]
    assert accepted.answers == []
    assert intake.acceptor.ledger.gateways() == []
    assert intake.acceptor.counts.unclaimed == 1
    # The real g2 can still send its own pack of that number, also after a restart.
    intake.acceptor.checkpoint(T0)
    assert len(intake.acceptor.accept([packed(3, gateway="g2")]).records) == 1


def test_mutated_input_never_stops_acceptance(intake: Intake) -> None:
    chance = random.Random(3)
    seeds = [pack_bytes(1), msgspec.json.encode(status()), JSON]
    names = [topics.pack("g1"), topics.state("g1"), FOREIGN]
    total = 0
    for _ in range(40):
        group = []
        for _ in range(100):
            data = bytearray(chance.choice(seeds))
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            group.append(Message(chance.choice(names), bytes(data[: chance.randrange(1, 400)])))
        accepted = intake.acceptor.accept(group)
        good = sum(1 for r in accepted.records)
        assert good + accepted.duplicates + accepted.refused == 100
        total += accepted.refused
    assert total > 2000
    assert intake.quarantine.state().rows == total == sum(intake.quarantine.refused.values())
    assert len(intake.acceptor.accept([packed(77)]).records) == 1


def test_with_a_full_disk_nothing_is_noted_and_the_group_may_come_again(intake: Intake) -> None:
    group = [packed(seq, rows=500) for seq in range(1, 60)] + [Message(FOREIGN, b"{]")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreFull):
            intake.acceptor.accept(group)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert intake.log.last_position == 0
    assert intake.acceptor.ledger.gateways() == []
    assert intake.quarantine.letters() == []
    accepted = intake.acceptor.accept(group)
    assert (len(accepted.records), accepted.duplicates, accepted.refused) == (59, 0, 1)
    assert confirm(accepted.answers[0][1]) == [(59, ())]


def test_sparing_takes_alarms_and_leaves_the_rest_with_the_gateways(intake: Intake) -> None:
    intake.acceptor.sparing = True
    gone = Evicted(BOOT, 7, 7, T0, T0, 1)
    group = [packed(1), packed(2, alarm=True), packed(3, evicted=(gone,))]
    accepted = intake.acceptor.accept(group)
    assert [pack.peek(r.payload)[1] for r in accepted.records] == [2, 3]
    assert confirm(accepted.answers[0][1]) == [(0, ((2, 3),))]
    assert intake.acceptor.counts.turned_back == 1
    intake.acceptor.sparing = False
    assert confirm(intake.acceptor.accept([packed(1)]).answers[0][1]) == [(3, ())]


def test_beyond_the_bound_on_gateways_only_safety_signals_get_in(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MAX_GATEWAYS", 1)
    intake.acceptor.accept([packed(1)])
    beat = Message(topics.state("g3"), msgspec.json.encode(status(gateway="g3")))
    fire = packed(1, gateway="g2", quantity="fire")
    accepted = intake.acceptor.accept([packed(1, gateway="g2"), fire, beat, packed(2)])
    assert [r.source for r in accepted.records] == ["g2", "g1"]
    assert accepted.refused == 2
    assert intake.acceptor.ledger.gateways() == ["g1"]


def test_after_a_restart_the_ledger_knows_what_the_log_has(tmp_path: Path) -> None:
    first = Intake(tmp_path)
    first.acceptor.accept([packed(1), packed(2)])
    first.acceptor.checkpoint(T0)
    assert first.acceptor.needed_from == 3
    first.acceptor.accept([packed(5), packed(4, alarm=True)])
    first.close()
    second = Intake(tmp_path)
    accepted = second.acceptor.accept([packed(n) for n in (1, 2, 3, 4, 5)])
    assert [pack.peek(r.payload)[1] for r in accepted.records] == [3]
    assert confirm(accepted.answers[0][1]) == [(5, ())]
    second.close()


def test_gaps_are_asked_for_on_the_command_topic(intake: Intake) -> None:
    intake.acceptor.accept([packed(1), packed(3)])
    assert intake.acceptor.resends(T0) == []
    [(topic, payload)] = intake.acceptor.resends(T0 + PATIENCE_MS)
    assert topic == topics.cmd("g1")
    assert msgspec.json.decode(payload, type=Resend).ranges == ((2, 2),)


def test_marks_commands_and_rules_are_records_in_order(intake: Intake) -> None:
    [mark] = intake.acceptor.accept([], mark=True).records
    assert (mark.position, mark.kind) == (1, RecordKind.MARK)
    command = OperatorCommand(id="c", action="acknowledge", alert="a", at_ms=T0)
    found = intake.acceptor.append_command(command)
    assert (found.position, found.kind) == (2, RecordKind.COMMAND)
    assert found.accepted_ms == mark.accepted_ms
    assert msgspec.json.decode(found.payload, type=OperatorCommand) == command
    installed = Installed(what="rules", hash="h", active_ms=T0)
    assert intake.acceptor.append_installed(installed, b"content").position == 3
    assert intake.log.get_content("h") == b"content"
    assert [r.position for r in intake.log.installed_before(99)] == [3]


def test_dead_letters_can_be_taken_again(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_GATEWAYS", 0)
    intake.acceptor.accept([packed(1), Message(FOREIGN, b"{]")])
    row = Reject(reason=Reason.UNKNOWN_QUANTITY, row=3)
    whole = RowReject(9, "g1", Reject(reason=Reason.BAD_FIELD), pack_bytes(8))
    intake.quarantine.put_rows([RowReject(9, "g1", row, JSON), whole], T0)
    assert intake.acceptor.accept_replays().records == []
    intake.quarantine.want_replay([1, 2, 3, 4])
    monkeypatch.setattr(ledger_module, "MAX_GATEWAYS", 9)
    accepted = intake.acceptor.accept_replays()
    assert [(r.kind.name, r.source) for r in accepted.records] == [
        ("PACK", "g1"),
        ("FOREIGN", ""),
        ("PACK", "g1"),
    ]
    assert accepted.records[1].payload == JSON
    assert confirm(accepted.answers[0][1]) == [(1, ())]
    assert accepted.refused == 1
    # What is still refused is a new letter; none is taken twice.
    assert [letter.replay for letter in intake.quarantine.letters()] == [2, 2, 2, 2, 0]
    assert intake.acceptor.accept_replays().records == []


def test_a_failing_copy_of_the_ledger_stops_nothing(intake: Intake) -> None:
    intake.now_ms = T0 + 60_000
    intake.store.close()
    intake.acceptor._ledger_store = LedgerStore(intake.store.path, read_only=True)
    assert len(intake.acceptor.accept([packed(1)]).records) == 1
    assert intake.acceptor.counts.failed_checkpoints == 1
    intake.acceptor._ledger_store.close()
    assert isinstance(intake.acceptor.ledger, Ledger)


def test_records_of_replayed_letters_are_handed_on_when_their_marks_cant_be_written(
    intake: Intake,
) -> None:
    foreign = Reject(reason=Reason.UNKNOWN_QUANTITY, row=0)
    intake.quarantine.put_rows([RowReject(7, FOREIGN, foreign, JSON)], T0)
    intake.quarantine.want_replay([1])
    other = sqlite3.connect(intake.quarantine.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    accepted = intake.acceptor.accept_replays()
    assert [record.payload for record in accepted.records] == [JSON]
    # It isn't taken a second time while the mark is missing.
    with pytest.raises(StoreBusy):
        intake.acceptor.accept_replays()
    other.execute("ROLLBACK")
    other.close()
    assert intake.acceptor.accept_replays().records == []
    assert intake.log.last_position == 1
    assert [letter.replay for letter in intake.quarantine.letters()] == [2]
