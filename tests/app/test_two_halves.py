"""The accepting and the deciding half when one of them, or the disk, doesn't keep up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

import ingest.reorder as reorder
from app.engine import Engine
from app.metrics import Metrics
from app.runners.acceptance import Acceptance, Timing
from app.runners.execution import Execution, Outlets, OutOfStep, portions
from contracts.log import LogRecord, RecordKind
from contracts.messages import OperatorCommand
from dispatch.store import Store
from ingest.acceptor import Acceptor
from ingest.ledger import Ledger
from ingest.log import SqliteLog
from ingest.message import Message
from ingest.quarantine import Quarantine
from ingest.storage import StoreFull
from ingest.telemetry import SqliteTelemetry
from tests.app import scene
from tests.app.test_engine import fresh

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("tests")


@dataclass
class Stores:
    log: SqliteLog
    store: Store
    quarantine: Quarantine
    telemetry: SqliteTelemetry
    metrics: Metrics = field(default_factory=Metrics)

    def execution(
        self, engine: Engine, on_full: Callable[[], None] = lambda: None, *, ended: bool = False
    ) -> Execution:
        return Execution(
            engine,
            self.log,
            Outlets(self.store, self.quarantine, self.telemetry),
            clock=lambda: scene.T0,
            snapshot_every_ms=3_600_000,
            metrics=self.metrics,
            logger=LOG,
            on_full=on_full,
            ended=lambda: ended,
        )


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    stores = Stores(
        SqliteLog(tmp_path / "log"),
        Store(tmp_path / "d.db"),
        Quarantine(tmp_path / "q.db"),
        SqliteTelemetry(tmp_path / "telemetry", clock=lambda: scene.T0),
    )
    yield stores
    stores.telemetry.close()
    stores.quarantine.close()
    stores.store.close()
    stores.log.close()


class Quiet:
    """A broker that sends nothing."""

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = 20) -> list[Message]:
        del max_messages, max_wait_ms, gather_ms
        return []

    def ack(self, messages: Iterable[Message]) -> None:
        del messages

    def publish(self, topic: str, payload: bytes) -> None:
        del topic, payload


def test_an_engine_that_died_with_a_full_queue_doesnt_keep_the_server_from_ending(
    stores: Stores,
) -> None:
    stopping = threading.Event()
    outlet: queue.Queue[list[LogRecord]] = queue.Queue(1)
    acceptance = Acceptance(
        Quiet(),
        Acceptor(stores.log, Ledger(), stores.quarantine, clock=lambda: scene.T0),
        outlet,
        timing=Timing(0, 1),
        clock=lambda: scene.T0 + 2000 * (1 + stores.log.last_position),
        engine_due_ms=lambda _: None,
        on_full=lambda: None,
        metrics=stores.metrics,
        log=LOG,
        ended=stopping.is_set,
    )
    thread = threading.Thread(target=acceptance.run, args=(stopping.is_set,), daemon=True)
    thread.start()
    while stores.log.last_position < 2:
        assert thread.is_alive()
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()
    # A command is in the log all the same, and nothing is handed over behind the cut.
    handed = outlet.get_nowait()
    acceptance.submit(OperatorCommand(id="1", action="reset", alert="a", at_ms=0))
    assert handed[-1].position == 1
    assert outlet.empty()
    assert [r.kind for rs in stores.log.read(1) for r in rs][-1] is RecordKind.COMMAND


def test_what_a_snapshot_covers_is_stored_before_it(stores: Stores) -> None:
    execution = stores.execution(fresh())
    for records in (scene.log()[:200], scene.log()[200:]):
        execution.step(stores.log.commit(records))
    before = stores.telemetry.state()
    execution.snapshot()
    after = stores.telemetry.state()
    assert before.stored_rows < before.handed_rows
    assert after.stored_rows + after.thinned_rows == after.handed_rows


def test_records_that_dont_follow_are_read_from_the_log_instead(stores: Stores) -> None:
    execution = stores.execution(fresh())
    records = scene.numbered(scene.marks())
    execution.step(records[:3])
    with pytest.raises(OutOfStep, match="5 doesn't follow 3"):
        execution.step(records[4:6])
    assert execution.position == 3


def test_marks_dont_pile_up_before_a_backlog(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a mark left over asks for the next one, but not before it is decided."""
    execution = stores.execution(fresh())
    minute = [one for one in scene.log() if one.accepted_ms <= scene.T0 + 60_000]
    execution.step(minute)
    monkeypatch.setattr(reorder, "PORTION_ROWS", 1)
    # All gateways have fallen silent: everything that waits is due at once.
    first, second = (
        LogRecord(RecordKind.MARK, scene.T0 + 90_000, "", b"", minute[-1].position + n)
        for n in (1, 2)
    )
    assert execution.due_after(first.position) is not None
    execution.step([first])
    assert execution.due_after(first.position) is not None
    assert execution.due_after(second.position) is None
    execution.step([second])
    assert execution.due_after(second.position) is not None


def test_steps_are_cut_by_what_they_hold() -> None:
    sizes = [10, 30, 10, 200, 0, 0, 60, 40, 1]
    records = [
        LogRecord(RecordKind.PACK, scene.T0, "gw", bytes(size), n) for n, size in enumerate(sizes)
    ]
    parts = list(portions(records, 100))
    assert [one for part in parts for one in part] == records
    assert [[len(one.payload) for one in part] for part in parts] == [
        [10, 30, 10], [200], [0, 0, 60, 40], [1],
    ]  # fmt: skip


def test_alerts_wait_for_a_disk_that_is_full_and_are_recorded_once_it_has_room(
    stores: Stores,
) -> None:
    db = stores.store._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    asked = []

    def on_full() -> None:
        asked.append(1)
        if len(asked) == 2:
            db.execute("PRAGMA max_page_count = 1000000")

    execution = stores.execution(fresh(), on_full)
    execution.step(scene.log())
    assert len(asked) == 2
    expected = {event.id for event in fresh().step(scene.log()).events}
    assert {row["id"] for row in stores.store.queries.events_after(0, 10_000)} == expected


def test_a_server_that_is_stopping_doesnt_wait_for_room(stores: Stores) -> None:
    db = stores.store._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        stores.execution(fresh(), ended=True).step(scene.log())
