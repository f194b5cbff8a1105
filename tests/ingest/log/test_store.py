"""The log: positions, segments, snapshots, faults."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from contracts import pack
from contracts.log import LogRecord, RecordKind
from ingest.log import LogReader, PositionShed, SqliteLog
from ingest.log.segment import first_positions, path_of
from ingest.storage import StoreBusy, StoreDamaged, StoreFull, StoreTooNew
from tests.ingest.packs import T0, record


def read_all(log: SqliteLog | LogReader, start: int = 1, limit: int = 1 << 20) -> list[LogRecord]:
    return [one for part in log.read(start, limit) for one in part]


def mark(at_ms: int = T0) -> LogRecord:
    return LogRecord(RecordKind.MARK, at_ms, "", b"")


def test_positions_count_up_over_commits_and_restarts(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    assert log.append([record(1), record(2)]) == 1
    assert log.append([record(3)]) == 3
    log.close()

    again = SqliteLog(tmp_path)
    assert again.append([mark()]) == 4
    found = read_all(again)
    assert [one.position for one in found] == [1, 2, 3, 4]
    assert [pack.peek(one.payload)[1] for one in found[:3]] == [1, 2, 3]
    assert again.first_position == 1
    again.close()


def test_accepted_time_never_falls_even_over_a_restart(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    log.append([mark(T0), mark(T0 - 5), mark(T0 + 1)])
    log.close()
    again = SqliteLog(tmp_path)
    again.append([mark(T0 - 100)])
    assert [one.accepted_ms for one in read_all(again)] == [T0, T0, T0 + 1, T0 + 1]
    again.close()


def test_reading_starts_inside_a_bundle_and_in_small_steps(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    for n in range(4):
        log.append([record(10 * n + i) for i in range(1, 4)])
    parts = list(log.read(5, limit_bytes=1))
    assert [one.position for part in parts for one in part] == list(range(5, 13))
    assert len(parts) == 3
    assert list(log.read(13)) == []
    log.close()


def test_segments_roll_and_shed_gives_the_space_back(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_bytes=100_000)
    installed = LogRecord(RecordKind.INSTALLED, T0, "", b'{"what":"rules","hash":"h"}')
    log.append([installed])
    for n in range(12):
        log.append([record(n + 1, rows=2000)])
    sealed = log.sealed()
    assert len(sealed) >= 3
    assert [s.last_position + 1 for s in sealed[:-1]] == [s.first_position for s in sealed[1:]]
    before = log.bytes()

    kept_from = sealed[2].first_position
    shed = log.shed(before_position=kept_from)

    assert shed.segments == 2
    assert log.bytes() <= before - shed.bytes + 40_000  # log.db takes the control record in.
    assert log.first_position == kept_from
    assert [one.position for one in read_all(log, kept_from)] == list(range(kept_from, 14))
    assert [one.payload for one in log.installed_before(kept_from)] == [installed.payload]
    with pytest.raises(PositionShed) as caught:
        read_all(log, 1)
    assert caught.value.first == kept_from
    log.close()
    again = SqliteLog(tmp_path, segment_bytes=100_000)
    assert again.first_position == kept_from
    assert again.append([mark()]) == 14
    again.close()


def test_shed_stops_at_the_bytes_asked_for_and_at_the_active_segment(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_bytes=1)
    for n in range(4):
        log.append([record(n + 1)])
    assert log.shed(before_position=100, limit_bytes=1).segments == 1
    assert log.shed(before_position=100).segments == 2
    assert log.first_position == log.last_position == 4
    log.close()


def test_a_day_ends_a_segment(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_ms=1000)
    log.append([mark(T0)])
    log.append([mark(T0 + 999)])
    log.append([mark(T0 + 1000)])
    assert first_positions(tmp_path) == [1, 3]
    log.close()


def test_another_process_reads_while_we_write(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_bytes=20_000)
    for n in range(20):
        log.append([record(n + 1, rows=100)])
    log.put_content("h", b"rules")
    code = (
        "import sys; from pathlib import Path; from ingest.log import LogReader\n"
        "log = LogReader(Path(sys.argv[1]))\n"
        "print(log.first_position, log.last_position, sum(len(p) for p in log.read(1)),"
        " log.get_content('h').decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "20", "20", "rules"]
    log.append([record(21)])
    log.close()


def test_two_writers_are_refused(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    with pytest.raises(StoreBusy):
        SqliteLog(tmp_path)
    log.close()
    SqliteLog(tmp_path).close()


def test_snapshots_keep_the_last_two_and_fall_back(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    log.append([mark(), mark(), mark()])
    assert log.load_snapshot() is None
    assert log.needed_from == 1
    for position in (1, 2, 3):
        log.save_snapshot(position, {"rules": bytes([position]) * 1000, "empty": b""})
    found = log.load_snapshot()
    assert found is not None
    assert (found.position, found.chunks) == (3, {"rules": b"\3" * 1000, "empty": b""})
    assert log.needed_from == 3
    with pytest.raises(ValueError, match="the log ends at 3"):
        log.save_snapshot(4, {})
    log.close()

    with sqlite3.connect(tmp_path / "log.db") as db:
        db.execute("UPDATE chunks SET bytes = x'00' WHERE position = 3 AND name = 'rules'")
    db.close()
    again = SqliteLog(tmp_path)
    found = again.load_snapshot()
    assert found is not None
    assert found.position == 2
    again.close()


def test_contents_are_kept_by_hash(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    log.put_content("h", b"one")
    log.put_content("h", b"one")
    assert log.get_content("h") == b"one"
    with pytest.raises(StoreDamaged, match="missing"):
        log.get_content("other")
    log.close()


@pytest.mark.parametrize("name", ["log.db", "segment"])
def test_a_newer_store_is_refused(tmp_path: Path, name: str) -> None:
    SqliteLog(tmp_path).close()
    path = path_of(tmp_path, 1) if name == "segment" else tmp_path / name
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(StoreTooNew) as caught:
        SqliteLog(tmp_path)
    assert (caught.value.found, caught.value.supported) == (9, 1)
    # The lock is free again: the mend is to start another version.
    with pytest.raises(StoreTooNew):
        SqliteLog(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_bytes=1)
    for n in range(3):
        log.append([record(n + 1)])
    log.close()
    path_of(tmp_path, 2).unlink()
    with pytest.raises(StoreDamaged, match="does not lead up"):
        SqliteLog(tmp_path)
    path_of(tmp_path, 3).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreDamaged):
        SqliteLog(tmp_path)
    with pytest.raises(StoreDamaged, match="no log here"):
        LogReader(tmp_path / "nowhere")


def test_segments_that_a_snapshot_needs_must_be_there(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    log.append([mark(), mark()])
    log.save_snapshot(2, {"a": b"1"})
    log.close()
    path_of(tmp_path, 1).unlink()
    with pytest.raises(StoreDamaged, match="segments are missing"):
        SqliteLog(tmp_path)


FILL = """
import resource, signal, sys
from pathlib import Path
from ingest.log import SqliteLog
from ingest.storage import StoreFull
from tests.ingest.packs import record
log = SqliteLog(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
acknowledged = 0
try:
    for n in range(1000):
        acknowledged = log.commit([record(n + 1, rows=1000)])[-1].position
except StoreFull:
    print("full", acknowledged, log.last_position)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(log.append([record(5000)]), sum(len(p) for p in log.read(1)))
log.close()
"""


def test_a_full_disk_acknowledges_nothing_and_ends_when_there_is_room(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    word, acknowledged, last = first.split()
    assert word == "full"
    assert int(acknowledged) == int(last) > 0
    assert [int(n) for n in second.split()] == [int(last) + 1, int(last) + 1]
    log = SqliteLog(tmp_path)
    assert [one.position for one in read_all(log)] == list(range(1, int(last) + 2))
    log.close()


def test_a_full_disk_while_a_segment_begins(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, segment_bytes=1)
    log.append([record(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(StoreFull):
            log.append([record(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.last_position == 1
    assert log.append([record(2)]) == 2
    log.close()
    again = SqliteLog(tmp_path)
    assert [one.position for one in read_all(again)] == [1, 2]
    again.close()


def test_large_groups_are_cut_into_bundles_of_one_commit(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    payload = bytes(3 << 20)
    log.append([LogRecord(RecordKind.FOREIGN, T0, "t", payload) for _ in range(5)])
    db = sqlite3.connect(path_of(tmp_path, 1))
    rows = db.execute("SELECT first_position, count FROM bundles").fetchall()
    db.close()
    assert rows == [(1, 2), (3, 2), (5, 1)]
    assert len(read_all(log)) == 5
    log.close()
