"""A gateway's backlog with many alarms in it drains through both ends' windows and ledgers."""

from __future__ import annotations

from contracts.pack import PackHeader, boot_text
from edge.pack_table import Kind
from edge.window import Window, WindowLimits
from ingest.ledger import Ledger
from ingest.sequences import MAX_RUNS

BOOT = 1 << 32
T0 = 1_780_000_000_000


def drained(alarms: list[int], data: list[int]) -> set[int]:
    """What ingest has once the agent holds nothing more; alarms first, oldest first."""
    window, ledger = Window(WindowLimits(), lambda: 0.5), Ledger()
    waiting = {Kind.ALARM: alarms[::-1], Kind.DATA: data[::-1]}
    held, came = {*alarms, *data}, set[int]()
    while held:
        sent = []
        for kind, packs in waiting.items():
            while packs and window.room(kind):
                sent.append(packs.pop())
                window.sent((BOOT, sent[-1]), 100, alarm=kind is Kind.ALARM)
        assert sent, f"stands still with {len(held)} packs held and {len(window)} unconfirmed"
        for seq in sent:
            assert not ledger.has("g1", BOOT, seq)
            ledger.note_pack(PackHeader("g1", BOOT, seq, T0, 0), 1, T0)
            came.add(seq)
        confirm = ledger.confirm("g1", [BOOT], [(BOOT, seq) for seq in sent])
        assert confirm is not None
        [told] = confirm.confirms
        assert told.boot == boot_text(BOOT)
        window.confirm(told)
        named = ((1, told.upto), *told.ranges)
        gone = {seq for first, last in named for seq in range(first, last + 1)} & held
        assert gone <= came, "the agent forgets what nobody has"
        held -= gone
    return came


def test_a_day_of_backlog_with_many_alarms() -> None:
    every = list(range(1, 3001))
    assert drained(every[4::5], [seq for seq in every if seq % 5]) == set(every)


def test_more_alarms_than_the_ledger_remembers() -> None:
    every = list(range(1, 3 * MAX_RUNS))
    assert drained(every[1::2], every[::2]) == set(every)
