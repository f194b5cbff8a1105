"""However inhibitors and what they hold come and go, no alert is lost and none comes by halves.

Beside the lifecycle stands a naive bookkeeper: a list of open alerts, looked through from the
start after every step, with the places written out by hand.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import AlertEvent, is_for_receivers
from contracts.notices import is_notice
from contracts.transitions import Change
from tests.dispatch import scene
from tests.dispatch.quiet_scene import CARDS, Play, lifecycle
from tests.dispatch.scene import T0, S

RULES, DEVICES = range(len(CARDS)), range(7)

PLACES: dict[str, list[set[int]]] = {
    "gateway": [{0, 2, 3, 5}, {1, 4}],
    "building": [{0, 2, 3}, {1, 4}],
    "unit": [{2}, {3}, {4}],
    "grid": [{0, 2, 3, 6}, {1, 4}],
}
"""Kind of place -> the devices that are together there; what isn't named is with nobody."""

HOLDS = {
    1: [("building", {0})],
    2: [("gateway", {0}), ("grid", {1})],
    3: [("unit", {2, 4, 5, 6})],
}
"""Rule -> (place, the rules that hold it back there)."""
TRIAL, SAFE = 4, 6


@dataclass
class Book:
    """One open alert, as the bookkeeper has it."""

    rule: int
    device: int
    told: bool = False


class Bookkeeper:
    def __init__(self) -> None:
        self.open: list[Book] = []
        self.told: list[tuple[int, int]] = []

    def turn(self, rule: int, device: int, on: bool) -> None:
        known = [b for b in self.open if (b.rule, b.device) == (rule, device)]
        if on and not known:
            self.open.append(Book(rule, device))
        elif not on and CARDS[rule].latched is False:
            self.open = [b for b in self.open if b not in known]
        self._tell()

    def reset(self, rule: int, device: int) -> None:
        self.open = [b for b in self.open if (b.rule, b.device) != (rule, device)]
        self._tell()

    def _tell(self) -> None:
        for book in self.open:
            if not book.told and book.rule != TRIAL and not self._is_held(book):
                book.told = True
                self.told.append((book.rule, book.device))

    def _is_held(self, book: Book) -> bool:
        return any(
            other.rule in by and any({book.device, other.device} <= spot for spot in PLACES[kind])
            for kind, by in HOLDS.get(book.rule, [])
            for other in self.open
            if other.rule != TRIAL
        )


steps = st.tuples(
    st.sampled_from(["on", "on", "off", "reset"]),
    st.sampled_from(RULES),
    st.sampled_from(DEVICES),
    st.booleans(),
)


def play_of(moves: list[tuple[str, int, int, bool]], book: Bookkeeper) -> Play:
    """Each step a second later; the last of its four says whether a restart follows."""
    play = Play()
    for second, (what, rule, device, restart) in enumerate(moves):
        if what == "on":
            play.on(rule, device, second)
            book.turn(rule, device, on=True)
        elif what == "off":
            play.off(rule, device, second)
            book.turn(rule, device, on=False)
        else:
            alert = CARDS[rule].id, play.life._directory.ids[device], 0
            known = next((one for one in play.life.open_alerts() if one.key == alert), None)
            if known is not None:
                play.order("reset", known.id, second)
            book.reset(rule, device)
        if restart:
            assert play.restart() == []
    return play


@given(st.lists(steps, max_size=60))
def test_nothing_is_lost(moves: list[tuple[str, int, int, bool]]) -> None:
    book = Bookkeeper()
    play = play_of(moves, book)

    ids = play.life._directory.row_of
    rows = {card.id: row for row, card in enumerate(CARDS)}
    alerts = [event for event in play.events if not is_notice(event)]
    received = [event for event in alerts if is_for_receivers(event)]
    begun = [
        (rows[event.data["rule"]["id"]], ids[event.data["device"]])
        for event in received
        if event.type.endswith(".raised")
    ]
    # One step can let several go; within it the order is by onset, the bookkeeper's by opening.
    assert sorted(begun) == sorted(book.told)
    for alert in play.life.open_alerts():
        told = [
            b.told
            for b in book.open
            if (b.rule, b.device) == (rows[alert.card.id], ids[alert.device])
        ]
        assert told == [alert.held == ""]
    check_what_receivers_see(received, alerts)


def check_what_receivers_see(received: list[AlertEvent], recorded: list[AlertEvent]) -> None:
    """From its raise on, an alert is complete: the same events that were recorded, to its end."""
    seen, kept = defaultdict(list), defaultdict(list)
    for event in received:
        seen[event.subject].append(event.id)
    for event in recorded:
        kept[event.subject].append(event)
    for alert, ids in seen.items():
        first = next(i for i, event in enumerate(kept[alert]) if event.id == ids[0])
        assert kept[alert][first].type.endswith(".raised")
        assert [event.id for event in kept[alert][first:]] == ids
        assert kept[alert][first].data["onset"] == kept[alert][0].data["onset"]


@given(st.lists(steps, max_size=40), st.lists(st.booleans(), min_size=1, max_size=5))
def test_cuts_and_restarts_give_the_same_bytes(
    moves: list[tuple[str, int, int, bool]], cut: list[bool]
) -> None:
    rows = [
        scene.change(
            Change.RAISED if what == "on" else Change.CLEARED,
            T0 + second // 3 * S,
            rule=rule,
            device=device,
        )
        for second, (what, rule, device, _) in enumerate(moves)
    ]
    whole = lifecycle()
    events = whole.apply(scene.batch(*rows)) if rows else []
    pieces, told = lifecycle(), []
    for at, row in enumerate(rows):
        told += pieces.apply(scene.batch(row))
        if cut[at % len(cut)]:
            blob, pieces = pieces.snapshot(), lifecycle()
            pieces.restore(blob)

    assert scene.as_bytes(told) == scene.as_bytes(events)
    assert pieces.snapshot() == whole.snapshot()


@pytest.mark.parametrize("rule", [SAFE])
@given(moves=st.lists(steps, max_size=40))
def test_safety_is_always_delivered(rule: int, moves: list[tuple[str, int, int, bool]]) -> None:
    play = play_of(moves, Bookkeeper())
    for event in play.events:
        if event.data["rule"]["id"] == CARDS[rule].id:
            assert is_for_receivers(event)
            assert not event.data["over_budget"]
            assert event.data["severity"] == 1
