"""The gap ledger against a naive model, and its manners."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.messages import Confirm
from contracts.pack import Evicted, boot_text
from ingest import ledger as ledger_module
from ingest.ledger import MAX_ASK_SEQUENCES, MAX_BOOTS, PATIENCE_MS, Ledger
from ingest.sequences import MAX_RUNS
from tests.ingest.packs import BOOT, T0, header, status

BOOTS = st.sampled_from([BOOT, BOOT + (1 << 32)])
SEQ = st.integers(1, 30)


def deliver(ledger: Ledger, seq: int, *, at: int = T0, boot: int = BOOT) -> bool:
    if ledger.has("g1", boot, seq):
        return False
    ledger.note_pack(header(seq, boot=boot, wall_ms=at), 1, at)
    return True


def upto(confirm: Confirm | None) -> tuple[int, tuple[tuple[int, int], ...]]:
    assert confirm is not None
    return confirm.confirms[0].upto, confirm.confirms[0].ranges


@dataclass
class Naive:
    """Sets of numbers per boot."""

    received: dict[int, set[int]] = field(default_factory=dict)
    lost: dict[int, set[int]] = field(default_factory=dict)
    announced: dict[int, int] = field(default_factory=dict)

    def lose(self, boot: int, first: int, last: int) -> None:
        got = self.received.setdefault(boot, set())
        self.lost.setdefault(boot, set()).update(set(range(first, last + 1)) - got)
        self.announced.setdefault(boot, 0)

    def pack(self, boot: int, seq: int) -> None:
        self.received.setdefault(boot, set()).add(seq)
        self.lost.setdefault(boot, set()).discard(seq)
        self.announced[boot] = max(self.announced.get(boot, 0), seq)

    def settled(self, boot: int) -> set[int]:
        return self.received.get(boot, set()) | self.lost.get(boot, set())

    def top(self, boot: int) -> int:
        return max(self.announced.get(boot, 0), max(self.settled(boot), default=0))

    def missing(self, boot: int) -> set[int]:
        return set(range(1, self.top(boot) + 1)) - self.settled(boot)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pack"), BOOTS, SEQ, SEQ),
        st.tuples(st.just("bury"), BOOTS, SEQ, SEQ),
        st.tuples(st.just("hold"), BOOTS, SEQ, SEQ),
    ),
    max_size=50,
)


@settings(max_examples=150)
@given(STEPS)
def test_the_ledger_is_the_naive_one(steps: list[tuple[str, int, int, int]]) -> None:
    ledger, naive = Ledger(), Naive()
    tombstones = 100
    for what, boot, a, b in steps:
        if what == "pack":
            new = a not in naive.received.get(boot, set())
            assert deliver(ledger, a, boot=boot) == new
            naive.pack(boot, a)
        elif what == "bury":
            tombstones += 1
            gone = Evicted(boot, a, b, T0, T0 + 1, 7)
            ledger.note_pack(header(tombstones, boot=7), 0, T0, [gone])
            naive.pack(7, tombstones)
            naive.lose(boot, a, b)
        else:
            oldest, following = min(a, b), max(a, b)
            ledger.note_status(status(held=((boot, oldest, following),), boot=boot), T0)
            naive.lose(boot, 1, oldest - 1)
            naive.announced[boot] = max(naive.announced.get(boot, 0), following - 1)
            for other in list(naive.received):
                if other < boot:
                    naive.lose(other, 1, naive.top(other))
        for other in naive.announced:
            gaps = [gap for number, gap in ledger.gaps("g1") if number == other]
            found = {n for gap in gaps for n in range(gap.first, gap.last + 1)}
            assert found == naive.missing(other)
    # The stored form holds everything.
    again = Ledger()
    for gateway, state in ledger.pending().states.items():
        again.restore(gateway, state, T0)
    assert again.gaps("g1") == ledger.gaps("g1")
    for boot, received in naive.received.items():
        assert all(again.has("g1", boot, n) for n in received)
        assert not any(again.has("g1", boot, n) for n in naive.lost.get(boot, ()))


def test_confirms_are_cumulative_with_ranges() -> None:
    ledger = Ledger()
    assert ledger.confirm("g1", [BOOT]) is None
    for seq in (1, 2, 3, 6, 7, 9):
        deliver(ledger, seq)
    assert upto(ledger.confirm("g1", [BOOT, 99])) == (3, ((6, 7), (9, 9)))
    deliver(ledger, 4)
    deliver(ledger, 5)
    assert upto(ledger.confirm("g1", [BOOT])) == (7, ((9, 9),))


def test_alarms_that_overtake_are_each_confirmed_however_many_gaps_they_open() -> None:
    ledger = Ledger()
    for seq in range(2, 402, 2):
        deliver(ledger, seq)
        confirm = ledger.confirm("g1", [BOOT], [(BOOT, seq)])
        above, ranges = upto(confirm)
        assert above == 0
        assert (seq, seq) in ranges
        assert list(ranges) == sorted(ranges)


def test_no_number_of_gaps_makes_an_agent_forget_what_nobody_has() -> None:
    ledger = Ledger()
    last = 2 * MAX_RUNS + 100
    for seq in range(2, last + 2, 2):
        deliver(ledger, seq)
    above, ranges = upto(ledger.confirm("g1", [BOOT], [(BOOT, last)]))
    assert above == 0
    assert ranges[-1] == (last, last)
    assert all(first == until for first, until in ranges)
    assert ledger.pending().losses == ()
    assert ledger.counts.forgotten_packs == 51


def test_a_status_of_an_older_boot_that_comes_again_settles_nothing_of_a_newer_one() -> None:
    old, new = BOOT, BOOT + (1 << 32)
    ledger = Ledger()
    deliver(ledger, 5, boot=new)  # an alarm overtakes
    ledger.note_status(status(held=((old, 1, 1),), boot=old), T0)
    assert upto(ledger.confirm("g1", [new])) == (0, ((5, 5),))


def test_a_gap_is_asked_for_after_patience_then_less_and_less_often() -> None:
    ledger = Ledger()
    deliver(ledger, 1)
    deliver(ledger, 4, at=T0 + 5)
    assert ledger.missing(T0 + PATIENCE_MS) == []
    now = T0 + 5 + PATIENCE_MS
    [(gateway, resend)] = ledger.missing(now)
    assert (gateway, resend.boot, resend.ranges) == ("g1", boot_text(BOOT), ((2, 3),))
    # Live packs above the gap are no reason to wait on, but having asked is.
    deliver(ledger, 5, at=now)
    waits = []
    for _ in range(8):
        start = now
        while not ledger.missing(now):
            now += 1000
        waits.append(now - start)
    assert waits == sorted(waits)
    assert waits[0] >= PATIENCE_MS
    assert waits[-1] == 600_000
    deliver(ledger, 2, at=now)
    assert ledger.missing(now + PATIENCE_MS - 1) == []
    assert ledger.missing(now + PATIENCE_MS)[0][1].ranges == ((3, 3),)
    deliver(ledger, 3, at=now)
    assert ledger.missing(now + 10**7) == []
    assert ledger.open_gaps == 0


def test_a_backlog_that_drains_is_left_alone() -> None:
    ledger = Ledger()
    ledger.note_status(status(held=((BOOT, 1, 1001),)), T0)
    deliver(ledger, 1000)  # an alarm overtakes
    for seq in range(1, 100):
        at = T0 + seq * 5000
        deliver(ledger, seq, at=at)
        assert ledger.missing(at + 4999) == []
    [(_, resend)] = ledger.missing(T0 + 99 * 5000 + PATIENCE_MS)
    assert resend.ranges == ((100, 999),)


def test_an_announced_tail_is_asked_for() -> None:
    ledger = Ledger()
    deliver(ledger, 1)
    for beat in range(20):
        ledger.note_status(status(held=((BOOT, 1, 4),)), T0 + beat * 1000)
    assert ledger.missing(T0 + PATIENCE_MS)[0][1].ranges == ((2, 3),)


def test_tombstones_and_held_ranges_settle_gaps_and_are_remembered() -> None:
    ledger = Ledger()
    deliver(ledger, 5, at=T0 + 50)
    ledger.note_status(status(held=((BOOT, 4, 6),), wall_ms=T0 + 60), T0 + 60)
    gone = Evicted(BOOT, 4, 90, T0 + 1, T0 + 2, 500)
    ledger.note_pack(header(6), 0, T0 + 70, [gone])
    losses = ledger.pending().losses
    assert [(x.first, x.last, x.reason, x.readings) for x in losses] == [
        (1, 3, "not_held", -1),
        (4, 4, "evicted", 500),
    ]
    assert losses[0].to_ms == T0 + 50
    assert (losses[1].from_ms, losses[1].to_ms) == (T0 + 1, T0 + 2)
    # The tombstone can't speak of packs after itself.
    assert upto(ledger.confirm("g1", [BOOT])) == (6, ())
    assert not ledger.has("g1", BOOT, 2)
    assert deliver(ledger, 2)
    assert ledger.pending().found == (("g1", BOOT, 2),)
    assert not deliver(ledger, 2)


def test_a_boot_that_the_agent_no_longer_holds_misses_nothing_more() -> None:
    old, new = BOOT, BOOT + (1 << 32)
    ledger = Ledger()
    deliver(ledger, 3, boot=old)
    deliver(ledger, 1, boot=new)
    ledger.note_status(status(held=((new, 1, 2),), boot=new), T0)
    assert ledger.gaps("g1") == []
    assert [x.reason for x in ledger.pending().losses] == ["not_held"]


def test_a_will_settles_nothing() -> None:
    ledger = Ledger()
    deliver(ledger, 3)
    ledger.note_status(status(kind="offline", held=((BOOT, 9, 9),)), T0)
    assert [gap for _, gap in ledger.gaps("g1")] == [(1, 2, T0, T0)]


def test_hostile_sequences_and_boots_are_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    ledger = Ledger()
    deliver(ledger, 1)
    deliver(ledger, 2**40 - 1)
    [(_, resend)] = ledger.missing(T0 + 10**6)
    assert resend.ranges == ((2, 1 + MAX_ASK_SEQUENCES),)
    for seq in range(10, 3000, 2):
        deliver(ledger, seq)
    confirm = ledger.confirm("g1", [BOOT])
    assert confirm is not None
    assert len(confirm.confirms[0].ranges) <= 64
    state = ledger.pending().states["g1"]
    assert len(state) < MAX_RUNS * 60
    for boot in range(100):
        deliver(ledger, 2, boot=BOOT + boot)
    assert ledger.counts.forgotten_boots == 100 - MAX_BOOTS
    assert len({boot for boot, _ in ledger.gaps("g1")}) == MAX_BOOTS
    assert ledger.open_gaps == MAX_BOOTS
    many = [Evicted(BOOT, 1, 2, -(2**63), 2**63 - 1, 2**64 - 1)] * 5000
    ledger.note_pack(header(3, boot=BOOT + 99), 0, T0, many)
    assert ledger.counts.ignored_tombstones == 5000 - 4096
    monkeypatch.setattr(ledger_module, "MAX_GATEWAYS", 1)
    assert ledger.has_room("g1")
    assert not ledger.has_room("g2")
