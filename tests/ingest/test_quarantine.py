"""Dead letters: kept, bounded, counted, and never in the way."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path

from contracts.rejects import Reason, Reject
from ingest import quarantine as module
from ingest.quarantine import REPLAYED, WANTED, Quarantine
from ingest.refusal import RowReject
from tests.ingest.packs import T0

BAD = Reject(reason=Reason.BAD_JSON, field="payload", detail="why")


def put(quarantine: Quarantine, *payloads: bytes, reject: Reject = BAD) -> None:
    quarantine.put([("topic", payload, reject) for payload in payloads], T0)


def test_letters_are_kept_with_reason_and_bytes(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.db")
    put(quarantine, b"\x00bytes")
    row = Reject(reason=Reason.UNKNOWN_QUANTITY, field="metrics", detail="warp", row=3)
    quarantine.put_rows([RowReject(17, "g1", row, b'{"deviceId":"d"}')], T0 + 1)
    quarantine.close()

    again = Quarantine(tmp_path / "q.db", read_only=True)
    first, second = again.letters()
    assert (first.source, first.reason, first.payload) == ("topic", "bad_json", b"\x00bytes")
    assert (first.at_ms, first.row, first.position) == (T0, -1, 0)
    assert (second.row, second.position, second.detail) == (3, 17, "warp")
    assert again.letters(reason="bad_json") == [first]
    assert again.letters(after=first.id, limit=5) == [second]
    assert again.letter(second.id) == second
    assert again.letter(99) is None
    assert again.by_reason() == {"bad_json": 1, "unknown_quantity": 1}
    again.close()


def test_the_oldest_go_first_beyond_either_bound(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.db", max_rows=1000, max_bytes=10_000)
    for n in range(60):
        put(quarantine, *(bytes([n]) * 900 for _ in range(3)))
    state = quarantine.state()
    assert state.bytes <= 10_000
    assert state.rows == 10
    assert state.rows + state.shed == 180 == quarantine.refused["bad_json"]
    assert [letter.payload[0] for letter in quarantine.letters()] == [
        56,
        *[57] * 3,
        *[58] * 3,
        *[59] * 3,
    ]
    small = Quarantine(tmp_path / "r.db", max_rows=5)
    put(small, *(bytes([n]) for n in range(50)))
    assert [letter.payload[0] for letter in small.letters()] == [45, 46, 47, 48, 49]
    small.close()
    quarantine.close()


def test_shedding_gives_disk_space_back(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.db")
    put(quarantine, *(bytes(100_000) for _ in range(20)))
    before = quarantine.bytes()
    freed = quarantine.shed(1_500_000)
    assert 1_500_000 <= freed < 1_700_000
    assert quarantine.bytes() < before - 1_400_000
    assert quarantine.state().rows == 20 - freed // 100_100
    quarantine.close()


def test_replay_is_asked_for_by_another_process(tmp_path: Path) -> None:
    server = Quarantine(tmp_path / "q.db")
    put(server, b"1", b"2", b"3")
    other = Reject(reason=Reason.BAD_TOPIC)
    put(server, b"4", reject=other)
    operator = Quarantine(tmp_path / "q.db")
    first = operator.letters()[0]
    assert operator.want_replay([first.id]) == 1
    assert operator.want_replay([first.id]) == 0
    assert operator.want_replay(reason="bad_topic") == 1
    assert operator.letters()[0].replay == WANTED
    assert [letter.payload for letter in server.wanted()] == [b"1", b"4"]
    server.mark_replayed(server.wanted())
    assert server.wanted() == []
    assert [letter.replay for letter in operator.letters()] == [REPLAYED, 0, 0, REPLAYED]
    operator.close()
    server.close()


def test_a_locked_store_delays_letters_and_loses_none(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q.db")
    other = sqlite3.connect(tmp_path / "q.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    put(quarantine, b"1")
    assert quarantine.letters() == []
    other.execute("ROLLBACK")
    other.close()
    put(quarantine, b"2")
    assert [letter.payload for letter in quarantine.letters()] == [b"1", b"2"]
    assert not quarantine.lost
    quarantine.close()


def test_a_full_disk_costs_letters_not_acceptance(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    quarantine = Quarantine(tmp_path / "q.db")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        for n in range(5):
            put(quarantine, bytes([n]) * 70_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert quarantine.lost == {"bad_json": 2}
    assert quarantine.refused == {"bad_json": 5}
    assert quarantine.flush()
    assert [letter.payload[0] for letter in quarantine.letters()] == [2, 3, 4]
    quarantine.close()
