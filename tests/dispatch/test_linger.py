"""An inhibitor that has ended goes on holding back for a while: its devices report again first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.alerts import AlertEvent
from contracts.rulebook import RuleCard
from contracts.transitions import TransitionBatch
from dispatch.lifecycle import Lifecycle
from tests.dispatch.quiet_scene import (
    CARDS,
    GATEWAY,
    GW_1,
    POWER,
    SD_1,
    SD_2,
    SILENT,
    Play,
    lifecycle,
    said,
)
from tests.dispatch.scene import T0, S

HELD = ("raised", "raised", "inhibited")
RELEASED = ("raised", "released", "deliver")


def lingering(linger_s: int, rule: int = SILENT) -> tuple[RuleCard, ...]:
    """The first inhibitor of a rule lingers."""
    cards = list(CARDS)
    first, *rest = cards[rule].inhibit
    cards[rule] = replace(
        cards[rule], inhibit=(replace(first, linger_ms=linger_s * S), *rest), hash="lingering"
    )
    return tuple(cards)


class Clocked(Play):
    """With time marks in the log; every step is heard when it happens."""

    def on(self, rule: int, device: int, at_s: float = 0, **more: Any) -> str:
        return super().on(rule, device, at_s, heard_ms=T0 + round(at_s * S), **more)

    def off(self, rule: int, device: int, at_s: float = 0, **more: Any) -> list[AlertEvent]:
        return super().off(rule, device, at_s, heard_ms=T0 + round(at_s * S), **more)

    def mark(self, at_s: float) -> list[tuple[float, str, str]]:
        """(seconds, alert's device, change) of what the mark lets go."""
        told = self.life.apply(TransitionBatch.empty(), T0 + round(at_s * S))
        self.events += told
        return [
            (at_of(event), str(event.data["device"]), str(event.data["change"])) for event in told
        ]


def at_of(event: AlertEvent) -> float:
    """Seconds from T0."""
    return datetime.fromisoformat(event.time).timestamp() - T0 / S


def test_what_ends_meanwhile_never_rings_and_what_stays_rings_when_it_is_over() -> None:
    play = Clocked(lingering(120))
    play.on(GATEWAY, GW_1, 0)
    back, gone = play.on(SILENT, SD_1, 10), play.on(SILENT, SD_2, 11)
    play.off(GATEWAY, GW_1, 60)
    assert play.mark(61) == []
    play.off(SILENT, SD_1, 90)
    assert play.mark(179) == []
    assert play.mark(180) == [(180, "sd-2", "released")]
    assert play.told(back) == [HELD, ("cleared", "cleared", "inhibited")]
    assert play.told(gone) == [HELD, RELEASED]
    assert play.life.next_ms() is None


def test_what_opens_meanwhile_is_held_too_and_later_rings_at_once() -> None:
    play = Clocked(lingering(120))
    play.on(GATEWAY, GW_1, 0)
    play.off(GATEWAY, GW_1, 60)
    early = play.on(SILENT, SD_1, 179)
    late = play.on(SILENT, SD_2, 180)
    assert play.told(early) == [HELD]
    assert play.told(late) == [("raised", "raised", "deliver")]
    assert play.mark(181) == [(180, "sd-1", "released")]


def test_each_rule_has_its_own_time() -> None:
    """`gateway.power` asks for no lingering: it rings at once."""
    play = Clocked(lingering(120))
    play.on(GATEWAY, GW_1, 0)
    power, silent = play.on(POWER, GW_1, 5), play.on(SILENT, SD_1, 10)
    play.off(GATEWAY, GW_1, 60)
    assert play.told(power) == [HELD, RELEASED]
    assert play.told(silent) == [HELD]
    # Then another inhibitor, which doesn't linger, has it.
    assert play.mark(180) == [(180, "sd-1", "inhibited")]
    play.off(POWER, GW_1, 200)
    assert play.told(silent)[-1] == RELEASED


def test_the_same_inhibitor_anew_takes_over() -> None:
    play = Clocked(lingering(120))
    first = play.on(GATEWAY, GW_1, 0)
    silent = play.on(SILENT, SD_1, 10)
    play.off(GATEWAY, GW_1, 60)
    again = play.on(GATEWAY, GW_1, 100)
    assert play.mark(180) == [(180, "sd-1", "inhibited")]
    assert play.events[-1].data["delivery"]["alert"] == again != first
    play.off(GATEWAY, GW_1, 300)
    assert play.mark(419) == []
    assert play.mark(420) == [(420, "sd-1", "released")]
    assert play.told(silent)[-1] == RELEASED


def test_a_restart_and_other_rules_meanwhile() -> None:
    play = Clocked(lingering(120))
    play.on(GATEWAY, GW_1, 0)
    silent = play.on(SILENT, SD_1, 10)
    play.off(GATEWAY, GW_1, 60)
    assert [said(event) for event in play.restart(lingering(120))] == []
    assert play.mark(179) == []
    told = play.restart(tuple(replace(card, decides="same") for card in CARDS))
    assert [said(event)[1] for event in told if event.subject == silent][-1] in (
        "released",
        "rule_changed",
    )


def test_an_order_that_ends_it_lets_it_linger_too() -> None:
    play = Clocked(lingering(120))
    gateway = play.on(GATEWAY, GW_1, 0)
    play.on(SILENT, SD_1, 10)
    play.order("reset", gateway, 60)
    assert play.mark(179) == []
    assert play.mark(181) == [(180, "sd-1", "released")]


NAMES = {GW_1: "gw-1", SD_1: "sd-1", SD_2: "sd-2"}

moves = st.lists(
    st.tuples(
        st.sampled_from(["on", "off"]),
        st.sampled_from([GATEWAY, POWER, SILENT]),
        st.sampled_from([GW_1, SD_1, SD_2]),
        st.sampled_from([0, 1, 3, 10]),
        st.booleans(),
    ),
    max_size=40,
)


@given(moves, st.sampled_from([2, 5]))
def test_at_every_mark_it_is_held_exactly_while_it_should_be(
    steps: list[tuple[str, int, int, int, bool]], linger_s: int
) -> None:
    """A plain bookkeeper: when each gateway alert was last known to be open."""
    cards = lingering(linger_s)
    play = Clocked(cards)
    now, open_, ended = 0.0, set[tuple[int, int]](), dict[int, float]()
    told: set[str] = set()
    for what, rule, device, wait_s, restart in steps:
        now += wait_s
        if what == "on":
            play.on(rule, device, now)
            if (rule, device) not in open_ and rule == SILENT:
                told.discard(NAMES[device])
            open_.add((rule, device))
            if rule == GATEWAY:
                ended.pop(device, None)
        else:
            play.off(rule, device, now)
            if rule == GATEWAY and (rule, device) in open_:
                ended[device] = now
            open_.discard((rule, device))
        play.mark(now)
        if restart:
            _rebuild(play, cards)
        gateway = any(one == GATEWAY for one, _ in open_)
        gateway |= any(now < at + linger_s for at in ended.values())
        power = any(one == POWER for one, _ in open_)
        for alert in play.life.open_alerts():
            if alert.card.id == "smoke.silent":
                if not (gateway or power):
                    told.add(alert.device)
                assert (alert.held == "") == (alert.device in told)
        told &= {a.device for a in play.life.open_alerts() if a.card.id == "smoke.silent"}


def _rebuild(play: Clocked, cards: tuple[RuleCard, ...]) -> None:
    blob, play.life = play.life.snapshot(), lifecycle(cards)
    play.life.restore(blob)
    assert play.life.snapshot() == blob


def test_without_a_linger_nothing_waits() -> None:
    life: Lifecycle = Clocked().life
    assert life.next_ms() is None
