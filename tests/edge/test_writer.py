"""The writer when the disk takes no more: alarms first, nothing forgotten, and it says so."""

from __future__ import annotations

from pathlib import Path

from contracts.pack import decode
from edge.intake import Bookmark, Intake
from edge.outbox import Outbox, OutboxLimits
from edge.pack_table import Kind
from edge.packer import PackLimits
from edge.shelf import FIRST, Shelf
from edge.sources import Drawn
from edge.writer import LOOK_MS, Writer
from tests.edge.test_intake import Still
from tests.parts.readings import batch

LIMITS = OutboxLimits(bytes=1 << 30, free_bytes=0, ballast_bytes=0)


class Moving(Still):
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.ms = 1000

    def mono_ms(self) -> int:
        return self.ms


class Station:
    """A writer with its outbox, driven by hand."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.db", ["gw"], LIMITS)
        self.told: list[str] = []
        self.clock = clock = Moving()
        limits = PackLimits(rows=500, bytes=1 << 20, age_ms=10**9)
        self.intake = Intake(
            gateways=1, limits=limits, resume=Bookmark(), clock=clock, wake=lambda: None
        )
        self.writer = Writer(
            self.outbox,
            self.intake,
            clock,
            source="test",
            commit_ms=1,
            added=lambda added: self.told.append(f"added {len(list(added))}"),
            changed=lambda: self.told.append("changed"),
        )

    def draw(self, rows: int, first: int, *, alarm: bool = False) -> None:
        cursor = str(first + rows).encode()
        assert self.intake.offer(Drawn(batch(rows, first=first, alarm=alarm), cursor))

    def cap(self, more_pages: int) -> None:
        db = self.outbox._db
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + more_pages}")

    def step_at_next_look(self) -> None:
        """Whether the disk is full is looked at again after `LOOK_MS`."""
        self.clock.ms += LOOK_MS
        self.writer.step()

    def held(self, kind: Kind) -> list[float]:
        """First value of each pack of a kind."""
        shelf = Shelf(self.outbox.path, [self.outbox.id_of(0)])
        rows = shelf.after(0, kind, FIRST, 10**6)
        shelf.close()
        return [float(decode(data).batch.value[0]) for *_, data in rows]


def test_a_full_disk_makes_room_from_the_oldest_and_says_so(tmp_path: Path) -> None:
    station = Station(tmp_path)
    for n in range(200):
        station.draw(500, n * 500)
    station.writer.step()
    station.cap(0)
    station.draw(500, 100_000)
    station.draw(1, 100_500, alarm=True)
    station.writer.step()
    assert station.outbox.disk_full
    assert "changed" in station.told
    for _ in range(4):
        station.writer.step()
    station.step_at_next_look()
    assert not station.outbox.disk_full
    assert station.held(Kind.ALARM) == [100_500]
    data = station.held(Kind.DATA)
    assert data[-1] == 100_000
    assert data[0] > 0
    assert station.writer.figures.evicted > 0
    assert station.outbox.bookmark("test").cursor == b"100501"
    assert station.intake.is_empty()
    station.outbox.close()


def test_where_there_is_no_room_at_all_it_waits_and_forgets_nothing(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.draw(1, 0, alarm=True)
    station.writer.step()
    station.cap(0)
    for n in range(20):
        station.draw(500, 1 + n * 500)
    for _ in range(5):
        station.writer.step()
        assert station.outbox.disk_full
        assert not station.intake.is_empty()
        assert station.held(Kind.ALARM) == [0]  # Never given up for the sake of data.
    station.outbox._db.execute("PRAGMA max_page_count = 100000")
    station.step_at_next_look()
    assert station.intake.is_empty()
    assert not station.outbox.disk_full
    assert station.held(Kind.DATA) == [1 + n * 500 for n in range(20)]
    station.outbox.close()


def test_stopping_flushes_the_open_pack(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.draw(7, 0)
    station.writer.step()
    assert station.held(Kind.DATA) == []
    station.writer.stop()
    station.writer.run()
    assert station.held(Kind.DATA) == [0]
    station.outbox.close()
