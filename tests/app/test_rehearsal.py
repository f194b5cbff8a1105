"""Recorded time: it passes by minutes, stands where nothing comes, and follows no mad clock."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from app.cli.outcome import WRONG_USE
from app.content import shipped_rules
from app.runners.rehearsal import AHEAD_MS, LAG_MS, Rehearsal, RehearsedInlet
from contracts import pack, topics
from contracts.batch import ReadingBatch
from contracts.messages import GatewayStatus, HeldBoot
from contracts.pack import Pack, PackHeader
from ingest.message import Message
from tests.app.running import gridwarden
from tests.recorded.recordings import REGISTRY

T0 = 1_640_995_200_000
MINUTE = 60_000


class Waiting:
    """Messages that lie ready; what is acknowledged."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages, self.acked = messages, list[Message]()

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = 0) -> list[Message]:
        del max_wait_ms, gather_ms
        taken, self.messages = self.messages[:max_messages], self.messages[max_messages:]
        return taken

    def ack(self, messages: Iterable[Message]) -> None:
        self.acked.extend(messages)

    def publish(self, topic: str, payload: bytes) -> None: ...


def reading(seq: int, ts_ms: int) -> Message:
    batch = ReadingBatch.of([("d", "elderly", "motion", ts_ms, 1.0, 0)])
    header = PackHeader("gw-1", 5, seq, 1_900_000_000_000, 77)
    return Message(topics.pack("gw-1"), pack.encode(Pack(header, batch)), mid=seq)


def passed(messages: list[Message]) -> list[tuple[int, list[Message]]]:
    """(time, what came) of each turn until nothing is left."""
    rehearsal, inner = Rehearsal(T0), Waiting(messages)
    inlet = RehearsedInlet(rehearsal, inner, lambda: True)
    found = []
    for _ in range(100):
        before = rehearsal.clock()
        came = inlet.take(400, 0)
        found.append((rehearsal.clock(), came))
        inlet.ack(came)
        if not came and rehearsal.clock() == before:
            break
    assert [message.mid for message in inner.acked] == [message.mid for message in messages]
    return found


def test_minutes_pass_one_by_one_and_packs_come_at_their_time() -> None:
    turns = passed([reading(1, T0 + 10_000), reading(2, T0 + 3 * MINUTE + 30_000)])
    times = [at - T0 for at, _ in turns]
    assert times == [2_000, 10_000, *(n * MINUTE + LAG_MS for n in (1, 2, 3)), 210_000, 210_000]
    headers = [pack.peek_header(m.payload)[0] for _, came in turns for m in came]
    assert [(h.seq, h.wall_ms - T0, h.mono_ms) for h in headers] == [
        (1, 10_000, 10_000), (2, 210_000, 210_000),
    ]  # fmt: skip


def test_time_does_not_pass_before_all_is_decided() -> None:
    rehearsal = Rehearsal(T0)
    inlet = RehearsedInlet(rehearsal, Waiting([reading(1, T0 + MINUTE)]), lambda: False)
    assert inlet.take(400, 0) == []
    assert rehearsal.clock() == T0


def test_a_reading_of_another_age_is_left_to_ingest_and_moves_no_time() -> None:
    turns = passed([reading(1, T0 + AHEAD_MS + 1), reading(2, T0 - 400 * 24 * 60 * MINUTE)])
    assert {at for at, _ in turns} == {T0}


def test_a_status_has_the_clocks_of_that_time_and_asks_for_nothing() -> None:
    status = GatewayStatus(
        type="birth", gateway="gw-1", boot="0000000000000005", wall_ms=1_900_000_000_000,
        mono_ms=9, boots=(HeldBoot(boot="0000000000000005", oldest=1, next=900),),
    )  # fmt: skip
    sent = Message(topics.state("gw-1"), msgspec.json.encode(status))
    mad = Message(topics.state("gw-1"), b"{")
    (_, came), *_ = passed([sent, mad])
    told = msgspec.json.decode(came[0].payload, type=GatewayStatus)
    assert (told.wall_ms, told.mono_ms, told.boots) == (T0, 0, ())
    assert came[1].payload == b"{"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["yesterday"], "--rehearse-from: 'yesterday' is no RFC 3339 time"),
        (["2024-01-01T00:00:00"], "--rehearse-from: .* has no offset from UTC"),
        (["2024-01-01T00:00:00Z", "--demo"], "--rehearse-from: --demo runs in the time of the day"),
    ],
)
def test_a_beginning_that_is_none_is_refused(given: list[str], said: str) -> None:
    ended = gridwarden("up", "--rehearse-from", *given)
    assert ended.returncode == WRONG_USE
    assert ended.stderr.count("\n") == 1
    assert re.search(said, ended.stderr)


def test_a_replay_of_plain_readings_says_that_no_detector_judges_them(tmp_path: Path) -> None:
    """Else a home whose alerts are missing looks like a quiet one."""
    readings = tmp_path / "readings.jsonl"
    registry = shutil.copytree(REGISTRY, tmp_path / "registry")
    readings.write_text(
        '{"deviceId": "home-1-hub", "family": "elderly", "ts": 1704067200000,'
        ' "metrics": {"motion": 1}}\n',
        encoding="utf-8",
    )
    given = ["--input", readings, "--rules", shipped_rules(), "--registry", registry]
    told = []
    for devices in ("home-1,elderly,gw-9", "home-1,elderly,detector-inactivity"):
        (registry / "devices.csv").write_text(
            f"device,family,gateway,grid\n{devices},340199009001001\n", encoding="utf-8"
        )
        ended = gridwarden("replay", *map(str, given), "--out", str(tmp_path / "out.jsonl"))
        assert ended.returncode == 0, ended.stderr
        told.append("replay runs no detector (detector-inactivity)" in ended.stderr)
    assert told == [False, True]
