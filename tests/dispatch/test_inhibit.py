"""What keeps an alert back, and that it comes out again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.alerts import AlertEvent, is_for_receivers
from contracts.rulebook import Level
from contracts.transitions import Change, Episode
from dispatch.alert import SNAPSHOT_VERSION
from dispatch.receivers import Filter
from tests.dispatch import scene
from tests.dispatch.quiet_scene import (
    BY_GATEWAY,
    CARDS,
    FAULT,
    FOREIGN,
    GATEWAY,
    GW_1,
    GW_2,
    POWER,
    SAFE,
    SD_1,
    SD_2,
    SD_3,
    SD_LOST,
    SILENT,
    TRIAL,
    Play,
    card,
    lifecycle,
    said,
)
from tests.dispatch.scene import T0, S

RAISED = ("raised", "raised", "deliver")
CLEARED = ("cleared", "cleared", "deliver")
HELD = ("raised", "raised", "inhibited")


def test_held_while_the_inhibitor_is_open_and_delivered_when_it_ends() -> None:
    play = Play()
    gateway = play.on(GATEWAY, GW_1, 0)
    silent = play.on(SILENT, SD_1, 10)
    (cleared, released) = play.off(GATEWAY, GW_1, 60)
    play.off(SILENT, SD_1, 90)

    assert play.told(gateway) == [RAISED, CLEARED]
    assert play.told(silent) == [HELD, ("raised", "released", "deliver"), CLEARED]
    first = play.events[1]
    assert first.data["delivery"] == {
        "state": "inhibited",
        "alert": gateway,
        "rule": "gateway.offline",
    }
    assert not first.data["notify"]
    assert not Filter().wants(first)
    assert released.data["notify"]
    assert Filter().wants(released)
    assert released.time == cleared.time
    assert released.data["onset"] == released.data["timing"]["happened"] == first.data["onset"]
    assert released.data["revision"] == 2


def test_never_delivered_when_it_ended_meanwhile() -> None:
    play = Play()
    play.on(GATEWAY, GW_1)
    silent = play.on(SILENT, SD_1, 10)
    play.off(SILENT, SD_1, 20)
    play.off(GATEWAY, GW_1, 60)
    play.order("disposition", silent, 70, disposition="false")

    assert play.told(silent) == [
        HELD,
        ("cleared", "cleared", "inhibited"),
        ("updated", "disposition", "inhibited"),
    ]
    assert [e.data["delivery"]["rule"] for e in play.events if e.subject == silent] == [
        "gateway.offline"
    ] * 3


def test_nothing_is_taken_back() -> None:
    play = Play()
    silent = play.on(SILENT, SD_1)
    play.on(GATEWAY, GW_1, 10)
    play.off(SILENT, SD_1, 20)

    assert play.told(silent) == [RAISED, CLEARED]


@pytest.mark.parametrize(
    ("rule", "device", "by", "at", "held"),
    [
        pytest.param(SILENT, SD_2, GATEWAY, GW_1, True, id="its-gateway"),
        pytest.param(SILENT, SD_3, GATEWAY, GW_1, False, id="another-gateway"),
        pytest.param(SILENT, SD_3, GATEWAY, GW_2, True, id="gateway-that-nobody-speaks-for"),
        pytest.param(SILENT, FOREIGN, GATEWAY, GW_1, False, id="no-gateway"),
        pytest.param(SILENT, SD_LOST, GATEWAY, GW_1, True, id="its-gateway-without-a-grid"),
        pytest.param(SILENT, SD_3, POWER, GW_2, True, id="its-grid"),
        pytest.param(SILENT, SD_1, POWER, GW_2, False, id="another-grid"),
        pytest.param(SILENT, SD_LOST, POWER, GW_1, False, id="unknown-grid"),
        pytest.param(FAULT, SD_1, SILENT, SD_1, True, id="its-unit"),
        pytest.param(FAULT, SD_1, SILENT, SD_2, False, id="another-unit"),
        pytest.param(FAULT, SD_1, SILENT, SD_3, False, id="the-unit-of-that-name-elsewhere"),
        pytest.param(FAULT, SD_LOST, SILENT, SD_LOST, False, id="unknown-is-nobodys-place"),
        pytest.param(POWER, GW_1, GATEWAY, GW_1, True, id="its-building"),
        pytest.param(POWER, GW_2, GATEWAY, GW_1, False, id="the-building-of-that-name-elsewhere"),
        pytest.param(FAULT, SD_1, TRIAL, SD_1, False, id="a-trial-holds-nothing"),
        pytest.param(FAULT, SD_1, SAFE, SD_1, True, id="safety-may-hold-others"),
        pytest.param(SAFE, SD_1, GATEWAY, GW_1, False, id="safety-is-never-held"),
    ],
)
def test_the_same_place(rule: int, device: int, by: int, at: int, held: bool) -> None:
    play = Play()
    play.on(by, at)
    alert = play.on(rule, device, 10)

    assert play.told(alert)[0][2] == ("inhibited" if held else "deliver")


@pytest.mark.parametrize("quiet", [{"inhibit": (BY_GATEWAY,)}, {"shadow": True}, {"budget": 1}])
def test_a_safety_card_that_says_otherwise_is_not_heard(quiet: dict[str, Any]) -> None:
    play = Play((CARDS[GATEWAY], card("smoke.fire", safety=True, **quiet)))
    play.on(0, GW_1)
    assert play.told(play.on(1, SD_2, 5)) == [RAISED]
    assert play.told(play.on(1, SD_1, 10)) == [RAISED]
    assert not any(event.data["over_budget"] for event in play.events)


def test_the_last_of_several_lets_go() -> None:
    play = Play()
    play.on(GATEWAY, GW_2)
    power = play.on(POWER, GW_2, 5)
    silent = play.on(SILENT, SD_3, 10)
    play.off(GATEWAY, GW_2, 20)
    play.off(POWER, GW_2, 30)

    # A rule that is itself held back goes on holding others: it is open.
    assert play.told(power) == [HELD, ("raised", "released", "deliver"), CLEARED]
    assert play.told(silent) == [
        HELD,
        ("updated", "inhibited", "inhibited"),
        ("raised", "released", "deliver"),
    ]
    moved = next(e for e in play.events if e.data["change"] == "inhibited")
    assert moved.data["delivery"]["alert"] == power


def test_who_holds_it_goes_on_holding_it() -> None:
    play = Play()
    power = play.on(POWER, GW_1)
    silent = play.on(SILENT, SD_1, 5)
    play.on(GATEWAY, GW_1, 10)  # The rule names it first, but it came later.
    assert play.restart() == []
    play.off(GATEWAY, GW_1, 20)
    assert play.told(silent) == [HELD]
    play.off(POWER, GW_1, 30)
    assert play.told(silent) == [HELD, ("raised", "released", "deliver")]
    assert {e.data["delivery"]["alert"] for e in play.events if e.subject == silent} == {power, ""}


def test_what_comes_out_together_comes_in_the_order_of_its_onsets() -> None:
    play = Play()
    play.on(GATEWAY, GW_1)
    for device, second in ((SD_1, 9), (SD_2, 5), (SD_LOST, 7), (GW_1, 8), (FOREIGN, 6)):
        play.on(SILENT, device, 20, onset_ms=T0 + second * S)
    told = play.off(GATEWAY, GW_1, 60)[1:]
    assert [event.data["device"] for event in told] == ["sd-2", "sd-lost", "gw-1", "sd-1"]


def test_a_reset_of_the_inhibitor_lets_go() -> None:
    play = Play()
    fire = play.on(SAFE, SD_1)
    fault = play.on(FAULT, SD_1, 5)
    play.off(SAFE, SD_1, 10)
    assert play.told(fault) == [HELD]  # Latched is open.

    play.order("reset", fire, 20)
    assert play.told(fault) == [HELD, ("raised", "released", "deliver")]


def test_one_that_somebody_has_taken_comes_out_quietly_with_its_state() -> None:
    play = Play()
    play.on(SAFE, SD_1)
    fault = play.on(FAULT, SD_1, 5)
    play.order("acknowledge", fault, 6)
    play.off(FAULT, SD_1, 7)
    play.order("reset", play.events[0].subject, 20)

    assert play.told(fault)[1:3] == [
        ("updated", "acknowledged", "inhibited"),
        ("updated", "latched", "inhibited"),
    ]
    released = play.events[-1]
    assert said(released) == ("raised", "released", "deliver")
    assert (released.data["state"], released.data["acknowledged"]) == ("latched", True)
    assert not released.data["notify"]


def test_the_same_onset_anew_is_judged_anew() -> None:
    play = Play()
    silent = play.on(SILENT, SD_1, 0)
    play.off(SILENT, SD_1, 0)
    play.on(GATEWAY, GW_1, 0)
    play.on(SILENT, SD_1, 0)
    play.off(GATEWAY, GW_1, 30)

    assert play.told(silent)[2:] == [
        ("raised", "again", "inhibited"),
        ("raised", "released", "deliver"),
    ]


def test_late_alerts_hold_nothing_back() -> None:
    play = Play()
    play.on(GATEWAY, GW_1, lane=Episode.LATE)
    assert play.told(play.on(SILENT, SD_1, 10)) == [RAISED]


def test_at_one_time_in_one_batch_the_order_of_rows_decides() -> None:
    """Rules put the inhibitor first; see tests/rules."""
    rows = [
        scene.change(Change.RAISED, rule=GATEWAY, device=GW_1),
        scene.change(Change.RAISED, rule=SILENT, device=SD_1),
    ]
    first = lifecycle().apply(scene.batch(*rows))
    last = lifecycle().apply(scene.batch(*rows[::-1]))

    assert [said(event)[2] for event in first] == ["deliver", "inhibited"]
    assert [said(event)[2] for event in last] == ["deliver", "deliver"]


def test_a_trial_is_recorded_and_never_delivered() -> None:
    play = Play()
    trial = play.on(TRIAL, SD_1)
    play.order("acknowledge", trial, 5)
    play.off(TRIAL, SD_1, 10)

    events = [event for event in play.events if event.subject == trial]
    assert [event.data["delivery"]["state"] for event in events] == ["shadow"] * 3
    assert all(event.data["shadow"] and not event.data["notify"] for event in events)
    assert not any(map(is_for_receivers, events))


# Restarts and other rules


def without(rule: int, **more: object) -> list[object]:
    cards = list(CARDS)
    cards[rule] = msgspec.structs.replace(cards[rule], hash="other", **more)  # type: ignore[arg-type]
    return cards  # type: ignore[return-value]


def test_a_restart_in_the_middle_changes_nothing() -> None:
    whole, killed = Play(), Play()
    for play in (whole, killed):
        play.on(GATEWAY, GW_1)
        play.on(SILENT, SD_1, 10)
        play.on(SILENT, SD_2, 5)
    assert killed.restart() == []
    for play in (whole, killed):
        play.off(GATEWAY, GW_1, 60)
        play.off(SILENT, SD_1, 90)

    assert scene.as_bytes(killed.events) == scene.as_bytes(whole.events)
    released = [e for e in whole.events if e.data["change"] == "released"]
    assert [e.data["device"] for e in released] == ["sd-2", "sd-1"]  # By onset.


def test_an_inhibitor_that_the_new_rules_dont_have_lets_go() -> None:
    play = Play()
    fire = play.on(SAFE, SD_1)
    fault = play.on(FAULT, SD_1, 5)
    play.restart([c for c in CARDS if c.id != "smoke.fire"])

    assert play.told(fire)[-1] == ("updated", "rule_removed", "deliver")
    assert play.told(fault)[-1] == ("raised", "released", "deliver")


def test_an_inhibitor_that_goes_on_trial_lets_go() -> None:
    play = Play()
    cards = [msgspec.structs.replace(c, latched=True) for c in CARDS]
    play = Play(cards)
    play.on(GATEWAY, GW_1)
    silent = play.on(SILENT, SD_1, 5)
    cards[GATEWAY] = msgspec.structs.replace(cards[GATEWAY], shadow=True, hash="trial")
    play.restart(cards)

    assert play.told(silent) == [HELD, ("raised", "released", "deliver")]


def test_a_rule_that_loses_its_inhibitors_lets_go() -> None:
    play = Play()
    play.on(SAFE, SD_1)
    fault = play.on(FAULT, SD_1, 5)
    play.restart(without(FAULT, inhibit=()))  # type: ignore[arg-type]

    assert play.told(fault) == [
        HELD,
        ("updated", "rule_changed", "inhibited"),
        ("raised", "released", "deliver"),
    ]


def test_a_trial_that_is_over_is_delivered_when_it_stays_open() -> None:
    cards = [msgspec.structs.replace(c, latched=True) for c in CARDS]
    play = Play(cards)
    trial = play.on(TRIAL, SD_1)
    cards[TRIAL] = msgspec.structs.replace(cards[TRIAL], shadow=False, hash="live")
    play.restart(cards)
    assert play.told(trial)[1:] == [
        ("updated", "rule_changed", "shadow"),
        ("raised", "released", "deliver"),
    ]


def test_a_rule_that_goes_on_trial_takes_nothing_back() -> None:
    cards = [msgspec.structs.replace(c, latched=True) for c in CARDS]
    play = Play(cards)
    silent = play.on(SILENT, SD_1)
    cards[SILENT] = msgspec.structs.replace(cards[SILENT], shadow=True, hash="trial")
    play.restart(cards)
    play.order("reset", silent, 9)

    assert {delivery for _, _, delivery in play.told(silent)} == {"deliver"}


def test_a_snapshot_of_the_first_version_is_read_on() -> None:
    """Its alerts know neither gateway nor delivery: all were delivered, and may hold others."""
    life = lifecycle()
    life.apply(scene.batch(scene.change(Change.RAISED, rule=GATEWAY, device=GW_1)))
    version, cards, alerts, closed, verdicts, counts, *_ = msgspec.msgpack.decode(life.snapshot())
    assert version == SNAPSHOT_VERSION
    new = ("gateway", "riser", "held", "held_by", "held_by_rule", "raised_ms", "counted")
    for _, alert in alerts:
        for name in (*new, "over_budget"):
            alert.pop(name, None)
    old = msgspec.msgpack.encode([1, cards, alerts, closed, verdicts, counts])

    again = lifecycle()
    again.restore(old)
    row = scene.change(Change.RAISED, T0 + S, rule=SILENT, device=SD_1)
    events: list[AlertEvent] = again.apply(scene.batch(row))
    assert said(events[0]) == HELD


def test_a_rule_that_only_tells_otherwise_goes_on() -> None:
    """An ordinary alert isn't cleared and raised anew when its inhibitors change."""
    cards = [msgspec.structs.replace(c, decides=c.id) for c in CARDS]
    play = Play(cards)
    silent = play.on(SILENT, SD_1)
    trial = play.on(TRIAL, SD_1)
    cards[SILENT] = msgspec.structs.replace(cards[SILENT], inhibit=(), hash="plain")
    cards[TRIAL] = msgspec.structs.replace(cards[TRIAL], shadow=False, hash="live")
    play.restart(cards)

    assert play.told(silent) == [RAISED, ("updated", "rule_changed", "deliver")]
    assert play.told(trial)[1:] == [
        ("updated", "rule_changed", "shadow"),
        ("raised", "released", "deliver"),
    ]
    cards[SILENT] = msgspec.structs.replace(cards[SILENT], decides="other", hash="other")
    play.restart(cards)
    assert play.told(silent)[-1] == ("cleared", "rule_changed", "deliver")


LEVELS = (Level(name="warn", severity=3), Level(name="alarm", severity=1))


def test_a_level_reached_while_nobody_was_told_is_nobodys_worst() -> None:
    """A receiver of level Ⅰ alone isn't told of an alert that came out of holding at level Ⅲ."""
    cards = list(CARDS)
    cards[SILENT] = msgspec.structs.replace(cards[SILENT], severity=1, levels=LEVELS)
    play = Play(cards)
    play.on(GATEWAY, GW_1)
    warn, alarm = {"level": 0, "severity": 3}, {"level": 1, "severity": 1}
    silent = play.on(SILENT, SD_1, 5, **alarm)
    play._apply(Change.LEVEL, SILENT, SD_1, 6, **warn)
    play.off(GATEWAY, GW_1, 7)
    play._apply(Change.LEVEL, SILENT, SD_1, 8, **alarm)
    play._apply(Change.LEVEL, SILENT, SD_1, 9, **warn)

    mine = [event for event in play.events if event.subject == silent]
    urgent = Filter(severity_most=1)
    assert [(e.data["change"], e.data["severity"], urgent.wants(e)) for e in mine] == [
        ("raised", 1, False),
        ("level", 3, False),
        ("released", 3, False),
        ("level", 1, True),
        ("level", 3, True),
    ]
