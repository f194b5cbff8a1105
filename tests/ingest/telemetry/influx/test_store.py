"""The store writes to real servers, and nothing handed over is lost while one is away."""

from __future__ import annotations

import math
import resource
import sqlite3
from pathlib import Path

import httpx
import pytest

from contracts.batch import Flag, TaggedBatch
from contracts.quantities import QUANTITY_INDEX
from ingest.storage import StoreError
from ingest.telemetry import Sample, Unreadable
from ingest.telemetry.influx import TokenUnreadable, lines
from ingest.telemetry.influx import store as store_module
from tests.ingest.packs import T0
from tests.ingest.telemetry.influx.rows import Letters, batch, opened, town, until
from tests.parts.http_gate import Gate
from tests.parts.mosquitto import free_port
from tests.parts.telemetry_servers import Influx1, VictoriaMetrics

MANY = 12_000
BOUND = 200_000


def numbers(server: VictoriaMetrics) -> list[float]:
    """The numbers of the rows that the server has."""
    return [value for _, _, value in server.points('{__name__="reading_static_pressure"}')]


def test_rows_arrive_by_the_v2_api_with_their_tags(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    with opened(tmp_path, victoria.url) as store:
        store.write(batch(0, 2), town())
        store.write(TaggedBatch.of([(1, "flow", T0 + 5, math.nan)], flags=int(Flag.BAD)), town())
        store.flush()
        state = store.state()

    assert (state.handed_rows, state.stored_rows, state.lag_ms, state.problem) == (3, 3, 0, "")
    assert victoria.points() == [
        (
            {
                "__name__": "reading_static_pressure",
                "community": "340111002015",
                "device": "d0",
                "family": "firewater",
                "gateway": "g1",
                "grid": "340111002015001",
                "street": "340111002",
            },
            T0,
            0.0,
        ),
        (
            {
                "__name__": "reading_static_pressure",
                "device": "d1",
                "family": "firewater",
                "gateway": "g1",
            },
            T0 + 1,
            1.0,
        ),
        (
            {
                "__name__": "reading_flow.none",
                "device": "d1",
                "family": "firewater",
                "flags": "bad",
                "gateway": "g1",
            },
            T0 + 5,
            1.0,
        ),
    ]


def test_a_server_killed_while_writing_loses_nothing(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    """It acknowledges before it syncs, so what it took in the last seconds is sent again."""
    directory, written = town(), 0
    with opened(tmp_path, victoria.url, settle_s=30) as store:
        for turn in range(3):
            for _ in range(20):
                store.write(batch(written, 500), directory)
                written += 500
            if turn == 0:
                until(lambda: store.state().stored_rows > 0, store.state)
            else:
                store.flush()
            victoria.kill()
            store.write(batch(written, 500), directory)
            written += 500
            store.flush()
            assert store.state().spilled_rows > 0
            assert "away" in store.state().problem
            victoria.start()
            until(lambda: store.state().spilled_rows == 0, store.state)
        store.flush()
        state = store.state()

    assert (state.lost_rows, state.refused_rows, state.problem) == (0, 0, "")
    assert state.retries >= 3
    assert sorted(set(numbers(victoria))) == [float(i) for i in range(written)]


def test_a_restart_between_two_writes_is_noticed(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    directory = town()
    with opened(tmp_path, victoria.url, settle_s=30) as store:
        store.write(batch(0, 100), directory)
        store.flush()
        victoria.kill()
        victoria.start()
        store.write(batch(100, 100), directory)
        store.flush()
        until(lambda: store.state().spilled_rows == 0, store.state)
        assert store.state().stored_rows == 200

    assert sorted(set(numbers(victoria))) == [float(i) for i in range(200)]


def test_influxdb_killed_while_writing_has_each_row_once(influx1: Influx1, tmp_path: Path) -> None:
    """InfluxDB syncs its write-ahead log before it answers, and a point replaces itself."""
    directory, written = town(), 0
    with opened(tmp_path, influx1.url, version=1) as store:
        for _ in range(2):
            for _ in range(20):
                store.write(batch(written, 500), directory)
                written += 500
            store.flush()
            influx1.kill()
            store.write(batch(written, 500), directory)
            written += 500
            store.flush()
            assert store.state().spilled_rows > 0
            influx1.start()
            until(lambda: store.state().spilled_rows == 0, store.state)
        # As after a crash of ours: from the last snapshot on everything is written again.
        store.write(batch(0, 5_000), directory)
        store.flush()
        assert store.state().lost_rows == 0

    assert [value for *_, value in sorted(influx1.points(), key=lambda p: p[-1])] == [
        float(i) for i in range(written)
    ]


def test_a_server_that_hangs_is_left_alone_until_it_answers(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    with opened(tmp_path, victoria.url, timeout_s=0.3) as store:
        victoria.pause()
        store.write(batch(0, 10), town())
        store.flush()
        assert store.state().spilled_rows == 10
        victoria.go_on()
        until(lambda: store.state().spilled_rows == 0, store.state)

    assert sorted(set(numbers(victoria))) == [float(i) for i in range(10)]


def test_what_waits_on_disk_is_sent_after_the_next_start(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    victoria.kill()
    with opened(tmp_path, victoria.url) as store:
        store.write(batch(0, 10), town())
    victoria.start()
    with opened(tmp_path, victoria.url) as store:
        assert store.state().spilled_from_ms in (T0, None)
        until(lambda: store.state().spilled_rows == 0, store.state)

    assert numbers(victoria) == [float(i) for i in range(10)]


def test_a_full_spill_sheds_the_oldest_and_says_what_is_lost(tmp_path: Path) -> None:
    with opened(tmp_path, f"http://127.0.0.1:{free_port()}", spill_bytes=BOUND) as store:
        for turn in range(12):
            store.write(batch(turn * 5000, 5_000, heard_ms=T0 + turn), town())
            store.flush()
        state = store.state()
        assert state.lost_rows > 0
        assert state.lost_rows + state.spilled_rows == 60_000
        assert 0 < state.spilled_bytes <= BOUND
        assert state.lost_from_ms == T0
        assert state.spilled_from_ms is not None
        assert state.lost_to_ms == state.spilled_from_ms - 1
        assert "rows wait on disk" in state.problem
        before = state.lost_rows
        assert store.shed(store.sheddable()) > 0
        assert (store.sheddable(), store.state().spilled_rows) == (0, 0)
        assert store.state().lost_rows == 60_000 > before


def test_a_full_disk_is_counted_and_stops_nobody(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path, f"http://127.0.0.1:{free_port()}") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        try:
            store.write(batch(0, 5_000, heard_ms=T0 + 7), town())
            store.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        state = store.state()
        assert (state.lost_rows, state.lost_from_ms, state.spilled_rows) == (5_000, T0 + 7, 0)
        assert "no room" in state.problem
        store.write(batch(0, 10), town())
        store.flush()
        assert store.state().spilled_rows == 10


def test_a_line_that_is_refused_stands_alone(influx1: Influx1, tmp_path: Path) -> None:
    """The server knows `battery` as a text in that week: no number will be taken there."""
    letters = Letters()
    _seed_text(influx1)
    with opened(tmp_path, influx1.url, letters, version=1) as store:
        store.write(
            TaggedBatch.join(
                [batch(0, 3000), TaggedBatch.of([(3, "battery", T0 + 9, 1.0)]), batch(3000, 1500)]
            ),
            town(),
        )
        store.flush()
        state = store.state()

    assert (state.refused_rows, state.lost_rows, state.problem) == (1, 0, "")
    (letter,) = letters.refused
    assert (
        letter.content
        == f"reading,device=d3,family=firewater,gateway=g1 battery=1.0 {T0 + 9}".encode()
    )
    assert "field type conflict" in letter.detail
    assert letters.heard_ms == T0
    assert len([p for p in influx1.points() if p[3] == "static_pressure"]) == 4_500


def _seed_text(server: Influx1) -> None:
    httpx.post(
        f"{server.url}/write?db=gridwarden&precision=ms",
        content=f'reading,device=x battery="text" {T0}'.encode(),
    ).raise_for_status()


def test_cutting_has_a_bound_and_nothing_is_left_out(
    influx1: Influx1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_CUTS", 4)
    _seed_text(influx1)
    letters = Letters()
    rows = [(3, "battery", T0 + i, 1.0) for i in range(64)]
    with opened(tmp_path, influx1.url, letters, version=1) as store:
        store.write(TaggedBatch.of(rows, heard_ms=T0), town())
        store.flush()
        assert store.state().refused_rows == 64

    assert sum(len(one.content.splitlines()) for one in letters.refused) == 64
    assert sum(one.rows for one in letters.refused) == 64
    assert len(letters.refused) == 5


def test_what_is_too_large_goes_in_pieces(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    with Gate(victoria.url) as gate, opened(tmp_path, gate.url) as store:
        gate.answers += [(413, {})]
        store.write(batch(0, 101), town())
        store.flush()
        assert len(gate.seen) == 3

    assert numbers(victoria) == [float(i) for i in range(101)]


def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    with Gate(victoria.url) as gate, opened(tmp_path, gate.url) as store:
        gate.answers += [(429, {"Retry-After": "600"})]
        store.write(batch(0, 10), town())
        store.flush()
        store.write(batch(10, 10), town())
        store.flush()
        assert len(gate.seen) == 1
        assert "busy: 429" in store.state().problem
        assert store.state().spilled_rows == 20
        gate.answers.clear()
        store._retry_at = 0.0
        until(lambda: store.state().spilled_rows == 0, store.state)

    assert numbers(victoria) == [float(i) for i in range(20)]


def test_the_token_comes_from_its_file_and_is_read_again_when_it_is_refused(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    with Gate(victoria.url) as gate, opened(tmp_path, gate.url, token_file=token) as store:
        gate.answers += [(401, {})] * 20
        token.write_text("second-secret\n")
        store.write(batch(0, 10), town())
        store.flush()
        problem = store.state().problem
        gate.answers.clear()
        until(lambda: store.state().spilled_rows == 0, store.state)
        told = [headers["authorization"] for _, headers in gate.seen]
        assert "secret" not in problem + repr(store.state()) + repr(store._wire.address)

    assert told[0] == "Token first-secret"
    assert set(told[1:]) == {"Token second-secret"}
    assert "denied: 401" in problem
    assert gate.seen[0][0] == "/api/v2/write?bucket=gridwarden&org=&precision=ms"


def test_a_token_that_is_gone_is_told_and_the_old_one_stays(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    with Gate(victoria.url) as gate, opened(tmp_path, gate.url, token_file=token) as store:
        gate.answers += [(403, {})] * 20
        token.unlink()
        store.write(batch(0, 10), town())
        store.flush()
        assert f"{token}: can't be read" in store.state().problem
        gate.answers.clear()
        until(lambda: store.state().spilled_rows == 0, store.state)

    with (
        pytest.raises(TokenUnreadable, match="name a file with the token"),
        opened(tmp_path, victoria.url, token_file=token),
    ):
        pass


def test_packed_bodies_arrive(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    with Gate(victoria.url) as gate, opened(tmp_path, gate.url, gzip=True) as store:
        store.write(batch(0, 10), town())
        store.flush()
        assert gate.seen[0][1]["content-encoding"] == "gzip"

    assert numbers(victoria) == [float(i) for i in range(10)]


def test_a_slow_server_does_not_cost_rows(
    victoria: VictoriaMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CROWDED_ROWS", 1_000)
    directory = town()
    with opened(tmp_path, victoria.url) as store:
        for turn in range(MANY // 400):
            store.write(batch(turn * 400, 400), directory)
        store.flush()
        until(lambda: store.state().stored_rows == MANY, store.state)
        assert (store.state().thinned_rows, store.state().lost_rows) == (0, 0)

    assert numbers(victoria) == [float(i) for i in range(MANY)]


def test_another_registry_means_other_devices(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    other = town()
    other.intern_device("e0", "water", -1)
    with opened(tmp_path, victoria.url) as store:
        store.write(batch(0, 1), town())
        store.write(TaggedBatch.of([(4, "flow", T0, 2.0)]), other)
        store.flush()

    assert {labels["device"] for labels, _, _ in victoria.points()} == {"d0", "e0"}


def test_partitions_write_in_turns(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    towns = [town() for _ in range(3)]
    with opened(tmp_path, victoria.url) as store:
        for turn in range(30):
            store.write(batch(turn * 10, 10), towns[turn % 3])
        store.flush()
        assert store.state().stored_rows == 300

    assert numbers(victoria) == [float(i) for i in range(300)]


def test_a_directory_that_nobody_writes_from_is_let_go(
    victoria: VictoriaMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FORGET_TURNS", 2)
    with opened(tmp_path, victoria.url) as store:
        store.write(batch(0, 1), town())
        for _ in range(4):
            store.flush()
        assert not store._sources
        assert store.state().stored_rows == 1


def test_samples_are_read_back_from_influxdb(influx1: Influx1, tmp_path: Path) -> None:
    with opened(tmp_path, influx1.url, version=1) as store:
        store.write(batch(0, 8), town())
        store.write(TaggedBatch.of([(0, "flow", T0 + 1, math.nan)], flags=int(Flag.BAD)), town())
        store.write(TaggedBatch.of([(0, "flow", T0 + 1, 0.1)], flags=int(Flag.LATE)), town())
        store.flush()

        pressure = store.range("d0", "static_pressure", T0, T0 + 8)
        flow = store.range("d0", "flow", T0, T0 + 8)
        assert pressure == [Sample(T0, 0.0, 0), Sample(T0 + 4, 4.0, 0)]
        assert sorted(flow, key=lambda s: s.flags) == [
            Sample(T0 + 1, None, int(Flag.BAD)),
            Sample(T0 + 1, 0.1, int(Flag.LATE)),
        ]
        assert store.range("d0", "static_pressure", T0 + 1, T0 + 4) == []
        latest = store.latest("d0")
        assert latest["static_pressure"] == Sample(T0 + 4, 4.0, 0)
        assert set(latest) == {"static_pressure", "flow"}
        assert store.latest("nobody") == {}
        assert store.range('it\'s \\ "me"', "flow", 0, T0) == []


def test_a_store_that_cannot_answer_says_so(victoria: VictoriaMetrics, tmp_path: Path) -> None:
    with opened(tmp_path, victoria.url) as store, pytest.raises(Unreadable):
        store.range("d0", "flow", 0, T0)
    with (
        opened(tmp_path, f"http://127.0.0.1:{free_port()}") as store,
        pytest.raises(Unreadable, match="refused"),
    ):
        store.latest("d0")


def test_a_damaged_spill_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "spill.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="damaged"), opened(tmp_path, "http://127.0.0.1:1"):
        pass


def test_a_body_that_is_damaged_on_disk_is_lost_alone(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    with opened(tmp_path, f"http://127.0.0.1:{free_port()}") as store:
        for turn in range(3):
            store.write(batch(10 * turn, 10, heard_ms=T0 + turn), town())
            store.flush()
    db = sqlite3.connect(tmp_path / "spill.db")
    with db:
        db.execute("UPDATE bodies SET data = x'00' WHERE id = 2")
    db.close()
    with opened(tmp_path, victoria.url) as store:
        until(lambda: store.state().spilled_rows == 0, store.state)
        state = store.state()

    assert (state.lost_rows, state.lost_from_ms, state.lost_to_ms) == (10, T0 + 1, T0 + 1)
    assert numbers(victoria) == [float(i) for i in (*range(10), *range(20, 30))]


def test_every_quantity_fits_the_field_number() -> None:
    assert 2 * len(QUANTITY_INDEX) <= 1 << lines._FIELD_BITS
