"""When a row is late, and when a mark releases it."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.batch import Flag
from contracts.log import LogRecord
from contracts.quantities import QUANTITIES
from ingest.watermark import NEVER
from tests.ingest.scene import GRID, T0, Log, S, admission, told


def flow(log: Log, *offsets: int, gateway: str = "gw-a") -> LogRecord:
    device = "fw-1" if gateway == "gw-a" else "fw-2"
    return log.pack([(device, "flow", T0 + o, float(o)) for o in offsets], gateway=gateway)


LATE_CASES = [
    pytest.param([(0,), (-2000,)], [0, 1], id="at-the-watermark-is-late"),
    pytest.param([(0,), (-1999,)], [0, 0], id="one-ms-after-it-is-not"),
    pytest.param([(0, -5000)], [0, 0], id="nothing-is-late-within-its-own-record"),
    pytest.param([(-9000,), (0,), (-8000,)], [0, 0, 1], id="moves-with-each-record"),
    pytest.param([(60_000,), (-1000,)], [0, 0], id="a-device-ahead-makes-nobody-late"),
]


@pytest.mark.parametrize(("packs", "want"), LATE_CASES)
def test_late(packs, want) -> None:
    log = Log()
    admitted = admission().admit([flow(log, *offsets) for offsets in packs])
    late = (admitted.batch.flags & Flag.LATE) != 0
    assert late.tolist() == [bool(flag) for flag in want]
    assert admitted.counts.get("late", 0) == sum(want)


@pytest.mark.parametrize(("offset", "is_late"), [(-2000, True), (-1999, False)])
def test_late_beside_a_row_of_somebody_else(offset: int, is_late: bool) -> None:
    log = Log()
    records = [flow(log, 0), flow(log, 0, gateway="gw-b")]
    rows = [("fw-1", "flow", T0 + offset, 1.0), ("sm-2", "fire", T0 + offset, 1.0)]
    admitted = admission().admit([*records, log.pack(rows)])
    late = (admitted.batch.flags[-3:-1] & Flag.LATE) != 0
    assert late.tolist() == [is_late, is_late]


def test_another_gateway_makes_nobody_late() -> None:
    log = Log()
    records = [flow(log, 0), flow(log, -60_000, gateway="gw-b")]
    assert "late" not in admission().admit(records).counts


def test_a_message_of_several_gateways_moves_each_by_its_own_rows() -> None:
    """Two devices in a line of a recording, each bound to another gateway."""
    admit, log = admission(), Log()
    told_of = (("fw-1", T0 - 9 * S), ("fw-2", T0))
    line = [
        {"deviceId": device, "family": "firewater", "ts": ts, "metrics": {"flow": 1}}
        for device, ts in told_of
    ]
    records = [
        log.foreign(line),
        flow(log, -8000),
        flow(log, -8000, gateway="gw-b"),
    ]

    admitted = admit.admit(records)

    late = (admitted.batch.flags & Flag.LATE) != 0
    assert late.tolist() == [False, False, False, True]


def test_a_mark_releases_what_the_data_has_passed() -> None:
    admit, log = admission(), Log()
    admit.admit([flow(log, 0, -1), flow(log, 1999), flow(log, 2000)])
    log.now += 100
    admit.admit([flow(log, 2001)])

    released, progress = admit.mark(log.mark())

    # `accepted_ms` bounds the watermark: the clock of the device is ahead.
    assert [row[2] for row in told(released, admit._directory)] == []
    assert progress.watermark_ms.tolist()[0] == T0 + 100 - 2000
    log.now = T0 + 4000
    admit.admit([flow(log, 4000)])
    released, _ = admit.mark(log.mark())
    assert [row[2] - T0 for row in told(released, admit._directory)] == [-1, 0, 1999, 2000]


def test_a_quiet_gateway_moves_on_with_marks() -> None:
    admit, log = admission(), Log()
    admit.admit([flow(log, 0)])
    assert admit.next_ms() == T0 + 5000
    log.now = T0 + 4999
    assert len(admit.mark(log.mark())[0]) == 0
    log.now = T0 + 5000
    released, progress = admit.mark(log.mark())
    assert len(released) == 1
    assert progress.watermark_ms.tolist() == [T0, T0]
    assert (progress.position, progress.heard_ms) == (log.position, T0 + 5000)
    assert admit.next_ms() is None


def test_marks_at_next_ms_release_everything() -> None:
    admit, log = admission(), Log()
    admit.admit([flow(log, 0, 100_000), flow(log, -5, 7, gateway="gw-b")])
    seen = 0
    for _ in range(4):
        due = admit.next_ms()
        if due is None:
            break
        log.now = due
        released, _ = admit.mark(log.mark())
        assert len(released) > 0
        seen += len(released)
    assert seen == 4


def test_a_late_row_waits_for_the_next_mark_only() -> None:
    admit, log = admission(), Log()
    admit.admit([flow(log, 0), flow(log, -10_000)])
    assert admit.next_ms() == T0
    released, _ = admit.mark(log.mark())
    assert [row[2] - T0 for row in told(released, admit._directory)] == [-10_000]


def test_a_device_whose_clock_stands_still_holds_no_deadline() -> None:
    admit, log = admission(), Log()
    for n in range(10):
        log.now = T0 + n * S
        admit.admit([flow(log, n % 3)])
        _, progress = admit.mark(log.mark())
    assert progress.watermark_ms[0] == log.now - 5 * S


def test_a_watermark_never_moves_back() -> None:
    admit, log = admission(), Log()
    seen = []
    for offset in (0, -60_000, 5000, 1000):
        log.now += S
        admit.admit([flow(log, offset)])
        seen.append(int(admit.mark(log.mark())[1].watermark_ms[0]))
    assert seen == sorted(seen)


def test_a_new_gateway_starts_where_quiet_ones_are() -> None:
    admit, log = admission(), Log()
    admit.mark(log.mark())
    old = log.pack([("new-1", "flow", T0 - 60 * S, 1.0)], gateway="gw-new")
    assert admit.admit([old]).counts["late"] == 1


def test_before_the_first_mark_nothing_is_known() -> None:
    admit, log = admission(), Log()
    assert "late" not in admit.admit([flow(log, -60_000)]).counts
    assert admit._watermarks.at_ms.tolist() == [T0 - 62_000, NEVER]


def test_within_a_mark_rows_come_by_time_then_sequence_then_row() -> None:
    admit, log = admission(), Log()
    first, second = flow(log, 5, 5, 3), flow(log, 5, 1)
    overtaken = [
        LogRecord(second.kind, T0, "gw-a", second.payload, 1),
        LogRecord(first.kind, T0, "gw-a", first.payload, 2),
    ]
    admit.admit(overtaken)
    log.now += 10 * S
    log.position = 2
    released, _ = admit.mark(log.mark())
    got = zip(released.ts_ms - T0, released.order & 0xFF, released.row, strict=True)
    # The second 5 of the first pack is a duplicate, as is the one of the second pack.
    assert [tuple(map(int, row)) for row in got] == [(1, 2, 1), (3, 1, 2), (5, 2, 0)]


def test_only_wanted_quantities_wait() -> None:
    admit, log = admission(), Log()
    admit.want(np.array([quantity.name == "battery" for quantity in QUANTITIES]))
    admit.admit([log.pack([("fw-1", "flow", T0, 1.0), ("fw-1", "battery", T0, 3.0)])])
    log.now += 10 * S
    released, _ = admit.mark(log.mark())
    assert [row[1] for row in told(released, admit._directory)] == ["battery"]


def test_a_foreign_device_has_a_watermark_of_its_own() -> None:
    admit, log = admission(), Log()
    topic = f"grid/v1/{GRID[:6]}/{GRID[6:9]}/{GRID[9:12]}/{GRID[12:]}/smoke/lone-1/tele"
    message = {"deviceId": "lone-1", "family": "smoke", "ts": T0, "metrics": {"battery": 3.0}}
    admit.admit([log.foreign(message, topic), flow(log, -60_000)])
    assert admit._watermarks.at_ms.tolist() == [T0 - 62_000, NEVER, T0 - 2000]
    assert admit._directory.gateways == ["gw-a", "gw-b", "lone-1"]
