"""Hours: data, quiet or data missing; in memory, on disk and after a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.pack import Evicted
from ingest.completeness import HOUR_MS, KEPT_HOURS, TOLERANCE_MS
from ingest.ledger import Ledger
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.storage import StoreDamaged
from tests.ingest.packs import BOOT, T0, pack_bytes, status

M = 60_000


class Story:
    """A log that is written with what a gateway sent, and its ledger read back from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog(folder / "log")

    def pack(self, seq: int, at_ms: int, **more: object) -> None:
        data = pack_bytes(seq, wall_ms=at_ms, **more)  # type: ignore[arg-type]
        self.log.append([LogRecord(RecordKind.PACK, at_ms, "g1", data)])

    def beat(self, at_ms: int, **more: object) -> None:
        self._status(status(wall_ms=at_ms, **more), at_ms)  # type: ignore[arg-type]

    def _status(self, one: GatewayStatus, at_ms: int) -> None:
        payload = msgspec.json.encode(one)
        self.log.append([LogRecord(RecordKind.STATUS, at_ms, "g1", payload)])

    def states(self, now_ms: int) -> list[str]:
        store = LedgerStore(self.folder / "ledger.db")
        ledger = store.load(self.log)
        found = [hour.state for hour in store.hours(ledger, "g1", now_ms)]
        store.close()
        return found

    def save(self, now_ms: int) -> None:
        store = LedgerStore(self.folder / "ledger.db")
        ledger = store.load(self.log)
        store.save(ledger, self.log.last_position, now_ms)
        store.close()


@pytest.fixture
def story(tmp_path: Path):  # type: ignore[no-untyped-def]
    story = Story(tmp_path)
    yield story
    story.log.close()


@pytest.mark.parametrize("saved", [False, True], ids=["from-the-log", "from-the-copy"])
def test_quiet_needs_a_sign_of_life(story: Story, saved: bool) -> None:
    story.pack(1, T0 + 10 * M)
    story.beat(T0 + 3 * HOUR_MS + 5 * M, held=((BOOT, 2, 2),))
    if saved:
        story.save(T0)
        story.save(T0)
    # The agent lived through hours 1 and 2 and says that it made nothing; then silence.
    now = T0 + 5 * HOUR_MS + M
    assert story.states(now) == ["data", "quiet", "quiet", *["data missing"] * 3]
    assert story.states(T0 + 3 * HOUR_MS + 5 * M + TOLERANCE_MS)[-1] == "quiet"
    # The connection was cut; what was read meanwhile comes in the end.
    story.pack(2, T0 + 4 * HOUR_MS)
    story.pack(3, T0 + 5 * HOUR_MS)
    assert story.states(now) == ["data", "quiet", "quiet", "quiet", "data", "data"]


def test_a_gap_spoils_its_hours_until_it_is_filled(story: Story) -> None:
    story.pack(1, T0)
    story.pack(4, T0 + 2 * HOUR_MS)
    now = T0 + 2 * HOUR_MS + M
    assert story.states(now) == ["data missing"] * 3
    story.pack(2, T0 + M)
    story.pack(3, T0 + 2 * M)
    story.save(now)
    assert story.states(now) == ["data", "quiet", "data"]


def test_lost_data_stays_missing_and_found_data_does_not(story: Story) -> None:
    story.pack(1, T0)
    story.pack(5, T0 + HOUR_MS)
    gone = Evicted(BOOT, 2, 4, T0 + 5 * M, T0 + 6 * M, 30)
    story.pack(6, T0 + 2 * HOUR_MS, evicted=(gone,))
    now = T0 + 2 * HOUR_MS + M
    assert story.states(now) == ["data missing", "data", "data"]
    story.save(now)
    assert story.states(now) == ["data missing", "data", "data"]
    store = LedgerStore(story.folder / "ledger.db", read_only=True)
    assert [(x.first, x.last, x.readings) for x in store.losses("g1")] == [(2, 4, 30)]
    store.close()
    story.pack(3, T0 + 5 * M)
    story.save(now)
    store = LedgerStore(story.folder / "ledger.db", read_only=True)
    assert [(x.first, x.last) for x in store.losses()] == [(2, 2), (4, 4)]
    store.close()
    story.pack(2, T0 + 5 * M)
    story.pack(4, T0 + 5 * M)
    story.save(now)
    assert story.states(now) == ["data", "data", "data"]


def test_time_between_two_boots_is_missing(story: Story) -> None:
    story.pack(1, T0)
    story.beat(T0 + HOUR_MS)
    story.beat(T0 + 3 * HOUR_MS - 10 * M, boot=BOOT + (1 << 32))
    story.beat(T0 + 4 * HOUR_MS, boot=BOOT + (1 << 32))
    now = T0 + 4 * HOUR_MS
    assert story.states(now) == ["data", "data missing", "data missing", "quiet", "quiet"]


def test_absurd_clocks_are_not_believed(story: Story) -> None:
    story.pack(1, 5)
    story.log.append([LogRecord(RecordKind.MARK, T0, "", b"")])
    for seq, wall in ((2, 4_070_908_800_000), (3, 0), (4, -(2**62))):
        data = pack_bytes(seq, wall_ms=wall)
        story.log.append([LogRecord(RecordKind.PACK, T0, "g1", data)])
    gone = Evicted(BOOT, 1, 9, -(2**63), 2**63 - 1, 2**64 - 1)
    story.pack(5, T0, evicted=(gone,))
    story.save(T0)
    assert len(story.states(T0)) <= KEPT_HOURS + 1


def test_a_copy_ahead_of_the_log_is_damage(story: Story, tmp_path: Path) -> None:
    story.pack(1, T0)
    story.save(T0)
    other = SqliteLog(tmp_path / "other")
    store = LedgerStore(story.folder / "ledger.db")
    with pytest.raises(StoreDamaged, match="log ends at 0"):
        store.load(other)
    store.close()
    other.close()


def test_saving_often_changes_nothing(story: Story) -> None:
    """The copy plus the rest of the log is the ledger of the whole log, wherever it is cut."""
    for seq in (1, 2, 5, 3, 9, 8):
        story.pack(seq, T0 + seq * 20 * M)
        story.save(T0)
        store = LedgerStore(story.folder / "ledger.db", read_only=True)
        loaded = store.load(story.log)
        store.close()
        fresh = LedgerStore(story.folder / f"fresh{seq}.db")
        whole: Ledger = fresh.load(story.log)
        now = T0 + 4 * HOUR_MS
        store = LedgerStore(story.folder / "ledger.db", read_only=True)
        assert store.hours(loaded, "g1", now) == fresh.hours(whole, "g1", now)
        assert loaded.gaps("g1") == whole.gaps("g1")
        store.close()
        fresh.close()
