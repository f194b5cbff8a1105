"""The outbox against a model: what is held, given up, answered, and in which order it goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.messages import BootConfirm, Resend
from contracts.pack import Evicted, boot_text, decode
from edge.graveyard import Stamp
from edge.intake import Bookmark
from edge.outbox import Outbox, OutboxLimits, Work
from edge.outbox_file import OutboxError, OutboxStuck
from edge.pack_table import Kind
from edge.shelf import FIRST, Shelf
from tests.parts.readings import closed

ROOMY = OutboxLimits(bytes=1 << 30, free_bytes=0, ballast_bytes=0)


def opened(path: Path, limits: OutboxLimits = ROOMY, gateways: tuple[str, ...] = ("gw",)) -> Outbox:
    return Outbox(path / "outbox.db", gateways, limits)


def held(outbox: Outbox, gateway: int = 0) -> list[tuple[Kind, int, int, bytes]]:
    """(kind, boot, seq, data) of everything, in the order of sending."""
    shelf = Shelf(outbox.path, [outbox.id_of(g) for g in range(len(outbox.gateways))])
    rows = [
        (kind, boot, seq, data)
        for kind in (Kind.ALARM, Kind.TOMBSTONE, Kind.DATA)
        for boot, seq, data in shelf.after(gateway, kind, FIRST, 10**6)
    ]
    shelf.close()
    return rows


def tombstones(outbox: Outbox, gateway: int = 0) -> list[Evicted]:
    return [
        row
        for kind, _, _, data in held(outbox, gateway)
        if kind == Kind.TOMBSTONE
        for row in decode(data).evicted
    ]


def data_bytes(outbox: Outbox) -> int:
    """What the bound is for; a tombstone comes on top."""
    return sum(len(data) for kind, _, _, data in held(outbox) if kind != Kind.TOMBSTONE)


def confirm(outbox: Outbox, upto: int, *ranges: tuple[int, int], boot: int | None = None) -> int:
    told = BootConfirm(boot=boot_text(boot or outbox.boot), upto=upto, ranges=ranges)
    return outbox.write(Work(confirms=[(0, told)])).confirmed


def ask(outbox: Outbox, boot: int, *ranges: tuple[int, int]) -> None:
    resend = Resend(boot=boot_text(boot), ranges=ranges)
    outbox.write(Work(resends=[(0, resend)]))


def test_packs_go_in_and_come_out_as_they_are(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    written = outbox.write(Work(closed=[closed(10, first=1), closed(20, first=11, alarm=True)]))
    assert written.seqs == [1, 2]
    assert written.added == {(0, Kind.DATA), (0, Kind.ALARM)}
    (alarm, data) = [decode(data) for *_, data in held(outbox)]
    assert (alarm.header.gateway, alarm.header.seq, alarm.header.alarm) == ("gw", 2, True)
    assert alarm.batch.value.tolist() == list(range(11, 31))
    assert data.batch.rows() == closed(10, first=1).batch.rows()
    assert outbox.held_bytes == sum(len(row[3]) for row in held(outbox))
    outbox.close()


def test_drains_alarms_first_then_the_oldest_over_all_boots(tmp_path: Path) -> None:
    boots = []
    for _ in range(2):
        outbox = opened(tmp_path)
        boots.append(outbox.boot)
        outbox.write(Work(closed=[closed(), closed(alarm=True), closed()]))
        outbox.close()
    outbox = opened(tmp_path)
    a, b = boots
    assert a < b < outbox.boot
    order = [(boot, seq) for _, boot, seq, _ in held(outbox)]
    assert order == [(a, 2), (b, 2), (a, 1), (a, 3), (b, 1), (b, 3)]
    outbox.close()


@pytest.mark.parametrize(
    ("upto", "ranges", "left"),
    [
        pytest.param(0, (), [1, 2, 3, 4, 5, 6], id="nothing"),
        pytest.param(3, (), [4, 5, 6], id="cumulative"),
        pytest.param(0, ((5, 5),), [1, 2, 3, 4, 6], id="alarm-overtook"),
        pytest.param(1, ((3, 4), (6, 99)), [2, 5], id="both"),
        pytest.param(6, (), [], id="all"),
    ],
)
def test_forgets_only_what_is_confirmed(
    tmp_path: Path, upto: int, ranges: tuple[tuple[int, int], ...], left: list[int]
) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed(alarm=n == 5) for n in range(1, 7)]))
    assert confirm(outbox, upto, *ranges) == 6 - len(left)
    assert sorted(seq for _, _, seq, _ in held(outbox)) == left
    assert confirm(outbox, 6, boot=outbox.boot + 1) == 0
    outbox.close()


def test_confirms_of_another_gateway_touch_nothing(tmp_path: Path) -> None:
    outbox = opened(tmp_path, gateways=("gw-a", "gw-b"))
    outbox.write(Work(closed=[closed(gateway=0), closed(gateway=1), closed(gateway=1)]))
    told = BootConfirm(boot=boot_text(outbox.boot), upto=9)
    assert outbox.write(Work(confirms=[(0, told)])).confirmed == 1
    assert [seq for _, _, seq, _ in held(outbox, 1)] == [1, 2]
    outbox.close()


def test_status_names_oldest_and_next_of_each_boot(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    first = outbox.boot
    outbox.write(Work(closed=[closed(), closed(alarm=True), closed()]))
    confirm(outbox, 1)
    outbox.close()
    outbox = opened(tmp_path)
    shelf = Shelf(outbox.path, [outbox.id_of(0)])
    boots = [(boot.boot, boot.oldest, boot.next) for boot in shelf.boots(0, outbox.boot)]
    assert boots == [(boot_text(first), 2, 4), (boot_text(outbox.boot), 1, 1)]
    shelf.close()
    outbox.close()


# Full.


def small(packs: int) -> OutboxLimits:
    return OutboxLimits(bytes=packs * 600, free_bytes=0, ballast_bytes=0)


def test_full_gives_up_the_oldest_and_says_so(tmp_path: Path) -> None:
    outbox = opened(tmp_path, small(20))
    for n in range(100):
        outbox.write(Work(closed=[closed(10, first=n * 10)], wall_ms=77))
    assert data_bytes(outbox) <= outbox.limits.bytes
    seqs = {seq for kind, _, seq, _ in held(outbox) if kind == Kind.DATA}
    gone, *folded = tombstones(outbox)
    assert gone.first == 1
    assert gone.last == min(seqs) - 1
    assert gone.readings == outbox.evicted_packs * 10
    assert not any(row.readings for row in folded)  # Tombstones that this one replaces.
    assert gone.from_ms == closed(10).batch.ts_ms[0]
    assert outbox.evicted_packs + len(seqs) == 100
    # Sequences that are gone are those of evicted packs and of all tombstones but the last.
    lost = sum(row.last - row.first + 1 for row in [gone, *folded])
    assert lost == outbox.evicted_packs + outbox.tombstones - 1
    assert gone.last > outbox.evicted_packs, "no tombstone's sequence lies in the range"
    # A month without a link: one tombstone, not a heap of them.
    assert sum(kind == Kind.TOMBSTONE for kind, *_ in held(outbox)) == 1
    outbox.close()


def test_alarms_outlive_all_other_packs(tmp_path: Path) -> None:
    outbox = opened(tmp_path, small(20))
    for n in range(60):
        outbox.write(Work(closed=[closed(10, first=n * 10, alarm=n % 6 == 0)]))
    alarms = [seq for kind, _, seq, _ in held(outbox) if kind == Kind.ALARM]
    assert len(alarms) == 10
    assert not any(g.first <= seq <= g.last for g in tombstones(outbox) for seq in alarms)
    outbox.close()


def test_new_data_goes_before_old_alarms(tmp_path: Path) -> None:
    outbox = opened(tmp_path, small(10))
    outbox.write(Work(closed=[closed(10, alarm=True) for _ in range(9)]))
    before = [seq for kind, _, seq, _ in held(outbox) if kind == Kind.ALARM]
    outbox.write(Work(closed=[closed(10) for _ in range(30)]))
    assert [seq for kind, _, seq, _ in held(outbox) if kind == Kind.ALARM] == before
    outbox.close()


def test_alarms_alone_give_up_the_oldest_alarm_with_a_tombstone(tmp_path: Path) -> None:
    outbox = opened(tmp_path, small(10))
    for _ in range(40):
        outbox.write(Work(closed=[closed(10, alarm=True)]))
    assert data_bytes(outbox) <= outbox.limits.bytes
    alarms = [seq for kind, _, seq, _ in held(outbox) if kind == Kind.ALARM]
    lost = {seq for g in tombstones(outbox) for seq in range(g.first, g.last + 1)}
    assert alarms
    assert lost >= set(range(1, min(alarms))) - set(alarms)
    outbox.close()


def test_a_low_disk_stops_growth_and_says_so(tmp_path: Path) -> None:
    outbox = opened(tmp_path, OutboxLimits(bytes=1 << 30, free_bytes=1 << 62, ballast_bytes=0))
    outbox.write(Work(closed=[closed(500, first=n * 500) for n in range(150)]))
    outbox.look_at_disk()
    assert outbox.disk_full
    bound = max(outbox.held_bytes, 1 << 20)
    outbox.write(Work(closed=[closed(500, first=n * 500) for n in range(100)]))
    assert data_bytes(outbox) <= bound
    assert tombstones(outbox)
    outbox.close()


# Questions.


def test_a_question_about_gone_sequences_is_answered_once(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed() for _ in range(6)]))
    confirm(outbox, 0, (2, 3), (5, 5))
    ask(outbox, outbox.boot, (1, 99))
    assert [(g.first, g.last, g.readings) for g in tombstones(outbox)] == [(2, 3, 0), (5, 5, 0)]
    ask(outbox, outbox.boot, (1, 99))
    assert len(tombstones(outbox)) == 2
    # Once its tombstone is confirmed, asking again is a new question.
    confirm(outbox, 0, (7, 7))
    ask(outbox, outbox.boot, (2, 3))
    assert [(g.first, g.last) for g in tombstones(outbox)] == [(2, 3)]
    outbox.close()


def test_a_question_about_held_sequences_needs_no_tombstone(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed() for _ in range(3)]))
    ask(outbox, outbox.boot, (1, 3), (4, 2**62))
    assert tombstones(outbox) == []
    outbox.close()


def test_an_answer_tells_what_is_known_also_after_a_restart(tmp_path: Path) -> None:
    outbox = opened(tmp_path, small(20))
    old = outbox.boot
    for n in range(60):
        outbox.write(Work(closed=[closed(10, first=n * 10)]))
    gone = tombstones(outbox)[0]
    confirm(outbox, 10**6)
    outbox.close()
    outbox = opened(tmp_path, small(20))
    ask(outbox, old, (1, gone.last + 5))
    (told,) = tombstones(outbox)
    assert (told.boot, told.first, told.last) == (old, 1, gone.last + 5)
    assert (told.from_ms, told.to_ms, told.readings) == (gone.from_ms, gone.to_ms, gone.readings)
    outbox.close()


def test_a_boot_nobody_knows_is_answered_too(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    ask(outbox, 0xABC, (4, 6))
    assert tombstones(outbox) == [Evicted(0xABC, 4, 6, 0, 0, 0)]
    outbox.close()


# Opening.


def test_cursor_and_packs_are_stored_together(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    mark = Bookmark(b"after 3", (2,))
    outbox.write(Work(closed=[closed()], bookmark=mark, source="replay"))
    outbox.close()
    outbox = opened(tmp_path)
    assert outbox.bookmark("replay") == mark
    assert outbox.bookmark("simulate") == Bookmark()
    outbox.close()


def test_a_damaged_file_is_moved_aside_and_boots_still_sort(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed(500) for _ in range(50)]))
    first = outbox.boot
    outbox.close()
    raw = bytearray((tmp_path / "outbox.db").read_bytes())
    raw[8192 : len(raw) // 2] = b"\xff" * (len(raw) // 2 - 8192)
    (tmp_path / "outbox.db").write_bytes(raw)
    outbox = opened(tmp_path)
    assert outbox.moved == tmp_path / "outbox.db.damaged"
    assert outbox.moved.exists()
    assert outbox.boot > first
    assert outbox.write(Work(closed=[closed()])).seqs == [1]
    outbox.close()
    outbox = opened(tmp_path)
    assert outbox.moved is None
    assert outbox.damaged == 1
    outbox.close()


def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database at all" * 1000)
    outbox = opened(tmp_path)
    assert outbox.moved is not None
    outbox.close()


def test_two_agents_cannot_share_a_file(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    with pytest.raises(OutboxError, match="in use by another agent"):
        opened(tmp_path)
    outbox.close()


def test_packs_of_another_gateway_are_not_taken_over(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed()]))
    outbox.close()
    with pytest.raises(OutboxError, match="holds packs of gateway gw;"):
        opened(tmp_path, gateways=("gw-other",))


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox._db.execute("PRAGMA user_version = 99")
    outbox.close()
    with pytest.raises(OutboxError, match="newer version"):
        opened(tmp_path)


# A disk that takes no more.


def test_a_transaction_that_failed_changes_nothing(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed(500)]))
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    before = (held(outbox), outbox.held_bytes, outbox.next_seq(0))
    mark = Bookmark(b"x", (0,))
    with pytest.raises(OutboxStuck):
        outbox.write(Work(closed=[closed(500) for _ in range(20)], bookmark=mark, source="s"))
    assert (held(outbox), outbox.held_bytes, outbox.next_seq(0)) == before
    assert outbox.bookmark("s") == Bookmark()
    assert outbox.disk_full
    outbox.close()


def test_relief_makes_room_from_the_oldest_and_clears_the_flag(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.write(Work(closed=[closed(500) for _ in range(50)] + [closed(10, alarm=True)]))
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    fresh = Work(closed=[closed(500, first=7, alarm=True) for _ in range(10)])
    with pytest.raises(OutboxStuck):
        outbox.write(fresh)
    outbox.give_up_ballast()
    outbox.relieve(200_000, Stamp(1, 1), for_alarms=True)
    seqs = outbox.write(fresh).seqs
    outbox.look_at_disk()
    assert not outbox.disk_full
    alarms = [seq for kind, _, seq, _ in held(outbox) if kind == Kind.ALARM]
    assert alarms == [51, *seqs]
    assert tombstones(outbox)[0].first == 1
    outbox.close()


# Everything at once, against a model.


@dataclass
class Model:
    """What was accepted and what became of it."""

    data: dict[tuple[int, int], bool] = field(default_factory=dict)  # key -> alarm
    confirmed: set[tuple[int, int]] = field(default_factory=set)
    told: set[tuple[int, int]] = field(default_factory=set)  # by tombstones that were confirmed


STEP = st.one_of(
    st.tuples(st.just("write"), st.lists(st.booleans(), min_size=1, max_size=6)),
    st.tuples(st.just("confirm"), st.integers(0, 40)),
    st.tuples(st.just("confirm-range"), st.tuples(st.integers(1, 40), st.integers(0, 9))),
    st.tuples(st.just("ask"), st.tuples(st.integers(1, 40), st.integers(0, 9))),
    st.tuples(st.just("open"), st.none()),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEP, max_size=40), packs=st.integers(4, 40))
def test_nothing_accepted_vanishes_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]], packs: int
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox = opened(folder, small(packs))
    model = Model()
    numbers = itertools.count()
    for step, what in steps:
        if step == "open":
            outbox.close()
            outbox = opened(folder, small(packs))
        else:
            apply(outbox, model, step, what, numbers)
        check(outbox, model)
    outbox.close()


def apply(outbox: Outbox, model: Model, step: str, what: object, numbers: Iterator[int]) -> None:
    if step == "write":
        assert isinstance(what, list)
        packs = [closed(10, first=next(numbers) * 10, alarm=alarm) for alarm in what]
        written = outbox.write(Work(closed=packs))
        keys = [(outbox.boot, seq) for seq in written.seqs]
        model.data.update(zip(keys, what, strict=True))
        return
    if step == "confirm":
        assert isinstance(what, int)
        span = (0, what)
    else:
        assert isinstance(what, tuple)
        span = (what[0], what[0] + what[1])
    if step == "ask":
        ask(outbox, outbox.boot, span)
        return
    for kind, boot, seq, data in held(outbox):
        if boot == outbox.boot and span[0] <= seq <= span[1]:
            model.confirmed.add((boot, seq))
            if kind == Kind.TOMBSTONE:
                model.told |= named(decode(data).evicted)
    confirm(outbox, 0, span)


def named(rows: tuple[Evicted, ...] | list[Evicted]) -> set[tuple[int, int]]:
    return {(row.boot, seq) for row in rows for seq in range(row.first, row.last + 1)}


def check(outbox: Outbox, model: Model) -> None:
    rows = held(outbox)
    keys = {(boot, seq): kind for kind, boot, seq, _ in rows}
    assert len(keys) == len(rows)
    for key, alarm in model.data.items():
        if key in keys:
            assert keys[key] == (Kind.ALARM if alarm else Kind.DATA)
    missing = set(model.data) - set(keys) - model.confirmed
    assert missing <= named(tombstones(outbox)) | model.told
    if any(model.data[key] for key in missing):
        # An alarm was given up: then no data was left at that moment, and none older is now.
        lost = max(key for key in missing if model.data[key])
        assert all(key > lost for key, kind in keys.items() if kind == Kind.DATA)
    assert outbox.held_bytes == sum(len(data) for *_, data in rows)
    assert data_bytes(outbox) <= outbox.limits.bytes
