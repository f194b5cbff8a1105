"""What may be on its way, and when it goes again."""

from __future__ import annotations

import pytest

from contracts.messages import BootConfirm
from contracts.pack import boot_text
from edge.pack_table import Kind
from edge.window import Pace, Window, WindowLimits

B = 7 << 32
LIMITS = WindowLimits(packs=4, bytes=1000, alarm_packs=2, resend_ms=100, resend_most_ms=300)
MIDDLE = 0.5  # of the jitter: the patience is as written


def window(limits: WindowLimits = LIMITS) -> Window:
    return Window(limits, lambda: MIDDLE)


def due(at: Window, now_ms: float) -> list[int]:
    return [seq for alarms in (True, False) for _, seq in at.due(now_ms, alarms=alarms)]


def test_bounded_by_packs_with_room_for_alarms() -> None:
    at = window()
    for seq in range(1, 5):
        assert at.room(Kind.DATA)
        at.sent((B, seq), 10, alarm=False)
    assert at.room(Kind.DATA) == at.room(Kind.TOMBSTONE) == 0
    assert at.room(Kind.ALARM) == 2


def test_bounded_by_bytes() -> None:
    at = window()
    at.sent((B, 1), 1000, alarm=False)
    assert at.room(Kind.DATA) == 0
    assert at.room(Kind.ALARM) > 0
    at.drop((B, 1))
    assert at.bytes == 0
    assert at.room(Kind.DATA) == 4


def test_the_brokers_word_only_starts_the_wait_for_ingests() -> None:
    at = window()
    at.sent((B, 1), 10, alarm=False)
    assert due(at, 10**6) == []  # The client still has it.
    at.acknowledged((B, 1), 1000)
    assert due(at, 1099) == []
    assert due(at, 1100) == [1]
    assert len(at) == 1


def test_patience_doubles_up_to_its_bound() -> None:
    at = window()
    now, waits = 0.0, []
    for _ in range(5):
        at.sent((B, 1), 10, alarm=False)
        at.acknowledged((B, 1), now)
        wait = next(ms for ms in range(1, 1000) if due(at, now + ms))
        waits.append(wait)
        now += wait
    assert waits == [100, 200, 300, 300, 300]
    assert at.resent == 4


def test_a_new_connection_sends_everything_again() -> None:
    at = window()
    for seq in (3, 1, 2):
        at.sent((B, seq), 10, alarm=seq == 3)
    at.acknowledged((B, 1), 0)
    at.lost(5)
    assert due(at, 5) == [3, 1, 2]


@pytest.mark.parametrize(
    ("boot", "ranges", "asked"),
    [
        pytest.param(B, [(2, 3)], [2, 3], id="range"),
        pytest.param(B + 1, [(1, 9)], [], id="other-boot"),
        pytest.param(B, [(9, 2**62)], [], id="beyond"),
    ],
)
def test_asked_for_packs_go_at_once(
    boot: int, ranges: list[tuple[int, int]], asked: list[int]
) -> None:
    at = window()
    for seq in (1, 2, 3):
        at.sent((B, seq), 10, alarm=False)
        at.acknowledged((B, seq), 0)
    at.ask(boot, ranges, 50)
    assert due(at, 50) == asked


def test_confirms_by_upto_and_ranges_and_boot() -> None:
    at = window(WindowLimits(packs=10))
    for boot in (B, B + 1):
        for seq in range(1, 6):
            at.sent((boot, seq), 10, alarm=False)
    assert at.confirm(BootConfirm(boot=boot_text(B), upto=2, ranges=((4, 4),))) == 3
    at.lost(0)
    assert at.due(0, alarms=False) == [(B, 3), (B, 5), *((B + 1, seq) for seq in range(1, 6))]
    assert at.bytes == 70


def test_pace_follows_the_link() -> None:
    pace = Pace(100)
    start = pace.room(0)
    for n in range(200):
        pace.acknowledged(n, n + 5)
    assert pace.room(0) == 100
    for n in range(12):
        sent = 10_000 * (n + 1)
        pace.acknowledged(sent, sent + 5000)
    assert pace.room(0) == 1
    assert pace.room(1) == 0
    assert pace.room(1, alarm=True) > 0
    assert start < 100


def test_one_slow_moment_halves_the_pace_once() -> None:
    pace = Pace(100)
    for n in range(200):
        pace.acknowledged(n, n + 5)
    for sent in range(300, 400):
        pace.acknowledged(sent, 9000)  # All were on their way at the same time.
    assert pace.room(0) == 50


def test_pace_keeps_the_brokers_receive_maximum() -> None:
    pace = Pace(1000)
    pace.limit(20)
    for n in range(200):
        pace.acknowledged(n, n + 5)
    assert pace.room(0) == 20
    assert pace.room(20, alarm=True) == 0
