"""False-alarm budgets: what uses one up, what gives it back, and what is said beyond it."""

from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import AlertEvent, encode_event, is_for_receivers
from contracts.batch import Flag
from contracts.notices import BudgetNotice, is_notice
from contracts.rulebook import Inhibition, Level
from contracts.schema import schemas
from contracts.transitions import Change, Episode
from dispatch.alert import unpack
from dispatch.lifecycle.budgets import DAYS_KEPT
from dispatch.receivers import Filter
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.quiet_scene import (
    BUSY,
    CARDS,
    GATEWAY,
    GW_1,
    SD_1,
    SD_2,
    SD_3,
    SD_LOST,
    Play,
    lifecycle,
)
from tests.dispatch.scene import MINUTE, T0, S

DAY = 24 * 60 * 60
NOON = T0  # 08:00 in Shanghai; its day ends 16 h later.


def ring(play: Play, at_s: float, device: int = SD_1, **more: object) -> AlertEvent:
    """One alert that rings and ends: its raised event."""
    name = play.on(BUSY, device, at_s, **more)
    play.off(BUSY, device, at_s + 1, **more)
    return next(event for event in play.events if event.subject == name)


def severities(play: Play, *times: float, device: int = SD_1) -> list[int]:
    return [ring(play, at_s, device).data["severity"] for at_s in times]


def test_beyond_the_budget_it_is_level_four_and_says_so() -> None:
    play = Play()
    assert severities(play, 0, 60, 120) == [2, 2, 4]

    over = [event for event in play.events if event.data.get("over_budget")]
    assert [event.type.rsplit(".", 1)[1] for event in over] == ["raised", "cleared"]
    for event in over:
        assert (event.data["level"], event.severitytext) == ("Ⅳ", "INFO")
        assert event.data["rule_severity"] == 2
        assert "over_budget" in event.data["annotations"]
        assert is_for_receivers(event)
    assert over[0].data["notify"]


def test_one_notice_a_rule_grid_and_day() -> None:
    play = Play()
    severities(play, 0, 60, 120, 180, DAY, DAY + 60, DAY + 120)
    severities(play, 0, 60, 120, device=SD_3)

    notices = [event for event in play.events if is_notice(event)]
    told = [(n.gridcode, n.data["day"]) for n in notices]
    assert told == [
        (scene.GRID_A, "2026-03-01"),
        (scene.GRID_A, "2026-03-02"),
        (scene.GRID_B, "2026-03-01"),
    ]
    assert len({n.id for n in notices}) == len({n.subject for n in notices}) == 3
    first = notices[0]
    assert play.events[play.events.index(first) - 1].id == first.causationid
    assert first.type == "io.gridwarden.smoke.busy.over_budget"
    assert (first.data["severity"], first.data["notify"], first.data["owner"]) == (
        2,
        True,
        "desk-3",
    )
    assert first.data["reason"] == {
        "zh": "题 smoke.busy：2026-03-01 在一网格响了超过 2 次。当日其余的只按Ⅳ级发送。"
        "请 desk-3 检查规则的限值。",
        "en": "Title smoke.busy: rang more than 2 times on 2026-03-01 in 一网格. Further ones of "
        "that day are sent as level Ⅳ only. desk-3 should look at the rule's limits.",
    }
    msgspec.convert(first.data, BudgetNotice, strict=True)
    jsonschema.Draft202012Validator(schemas()["budget-notice"]).validate(
        json.loads(encode_event(first))
    )


@pytest.mark.parametrize(
    ("at_s", "want"),
    [
        pytest.param(16 * 3600 - 0.001, 4, id="last-millisecond-of-the-local-day"),
        pytest.param(16 * 3600, 2, id="local-midnight"),
        pytest.param(-8 * 3600 - 0.001, 2, id="the-day-before"),
    ],
)
def test_days_are_those_of_shanghai(at_s: float, want: int) -> None:
    play = Play()
    assert severities(play, 0, 60) == [2, 2]
    assert severities(play, at_s) == [want]


def test_the_unknown_grid_has_a_budget_of_its_own() -> None:
    play = Play()
    assert severities(play, 0, 1, 2, device=SD_LOST) == [2, 2, 4]
    assert severities(play, 3) == [2]


@pytest.mark.parametrize(
    ("dispositions", "want"),
    [
        pytest.param([], 4, id="nobody-said-anything"),
        pytest.param(["false"], 4, id="false"),
        pytest.param(["real"], 2, id="real-gives-it-back"),
        pytest.param(["drill"], 2, id="drill-gives-it-back"),
        pytest.param(["real", "drill", "real"], 2, id="once"),
        pytest.param(["real", "false"], 4, id="taken-back"),
    ],
)
def test_what_was_real_uses_nothing_up(dispositions: list[str], want: int) -> None:
    play = Play()
    first = ring(play, 0)
    ring(play, 60)
    for said in dispositions:
        play.order("disposition", first.subject, 90, disposition=said)
    assert ring(play, 120).data["severity"] == want


def test_judging_one_beyond_the_budget_gives_nothing_back() -> None:
    play = Play()
    severities(play, 0, 60)
    over = ring(play, 120)
    play.order("disposition", over.subject, 130, disposition="real")
    assert severities(play, 180) == [4]


def test_late_alerts_use_nothing_up() -> None:
    play = Play()
    late = {"lane": Episode.LATE, "flags": int(Flag.LATE)}
    for n in range(4):
        assert ring(play, n, **late).data["severity"] == 2
    assert severities(play, 60, 120, 180) == [2, 2, 4]


def test_what_is_held_back_uses_nothing_up_until_it_is_told() -> None:
    cards = list(CARDS)
    asked = (Inhibition(by="gateway.offline", on="gateway"),)
    cards[BUSY] = msgspec.structs.replace(cards[BUSY], inhibit=asked)
    play = Play(cards)
    play.on(GATEWAY, GW_1)
    assert severities(play, 1, 2, 3) == [2, 2, 2]  # Ended before anybody was told.
    for device in (SD_1, SD_2, SD_LOST):
        play.on(BUSY, device, 10)
    assert ring(play, 20, SD_3).data["severity"] == 2
    released = play.off(GATEWAY, GW_1, DAY + 5)[1:]

    # Counted on the day on which they were raised; the lost one has a grid of its own.
    assert [event.data.get("severity") for event in released] == [2, 2, 2]
    play.off(BUSY, SD_1, DAY + 6)
    assert severities(play, 30) == [4]
    assert severities(play, DAY + 30) == [2]


def test_the_same_episode_opened_again_counts_once() -> None:
    play = Play()
    for _ in range(4):
        play.on(BUSY, SD_1, 0)
        play.off(BUSY, SD_1, 0)
    assert severities(play, 60, 120) == [2, 4]


def test_budgets_outlive_restarts_and_changed_rules() -> None:
    play = Play()
    severities(play, 0)
    play.restart()
    severities(play, 60)
    cards = list(CARDS)
    cards[BUSY] = msgspec.structs.replace(cards[BUSY], budget=3, hash="b3")
    play.restart(cards)
    assert severities(play, 120, 180) == [2, 4]
    play.restart(cards)
    severities(play, 240)
    assert sum(map(is_notice, play.events)) == 1


def test_an_open_alert_of_a_rule_that_becomes_safety_is_told_at_its_level() -> None:
    cards = list(CARDS)
    cards[BUSY] = msgspec.structs.replace(cards[BUSY], budget=1, latched=True)
    tight = Play(cards)
    tight.on(BUSY, SD_1)
    late = tight.on(BUSY, SD_2, 1)
    cards[BUSY] = msgspec.structs.replace(cards[BUSY], safety=True, budget=0, hash="s")
    told = [event for event in tight.restart(cards) if event.subject == late]
    assert [(e.data["change"], e.data["severity"], e.data["notify"]) for e in told] == [
        ("level", 2, True)
    ]


def test_days_are_forgotten_within_a_bound() -> None:
    play = Play()
    for day in range(3 * DAYS_KEPT):
        assert severities(play, day * DAY, day * DAY + 60, day * DAY + 120) == [2, 2, 4]
    assert len(unpack(play.life.snapshot()).budgets) == DAYS_KEPT
    # Of a day that is long over, nothing is counted any more.
    assert severities(play, 5, 65, 125) == [2, 2, 2]
    assert sum(map(is_notice, play.events)) == 3 * DAYS_KEPT


rings = st.tuples(
    st.integers(0, 3 * DAY), st.sampled_from([SD_1, SD_3]), st.sampled_from(["", "real", "false"])
)


@given(st.lists(rings, max_size=30), st.lists(st.booleans(), min_size=1, max_size=4))
def test_as_counted_by_hand(told: list[tuple[int, int, str]], restart: list[bool]) -> None:
    """Whenever it restarts: full severity while fewer than two of its day and grid stand."""
    play = Play()
    standing: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    for n, (at_s, device, said) in enumerate(told):
        if (at_s, device) in seen:
            continue  # The same episode again.
        seen.add((at_s, device))
        day = ((NOON // S + at_s + 8 * 3600) // DAY, device)
        event = ring(play, at_s, device)
        is_over = standing.count(day) >= 2
        assert event.data["over_budget"] is is_over
        if said:
            play.order("disposition", event.subject, at_s + 2, disposition=said)
        if not is_over and said != "real":
            standing.append(day)
        if restart[n % len(restart)]:
            play.restart()


def test_a_notice_is_kept_and_delivered_but_is_no_alert(store: Store) -> None:
    store.set_receivers({"all": Filter(), "urgent": Filter(severity_most=2)})
    play = Play()
    severities(play, 0, 60, 120)
    store.record(play.events, 1)
    store.record(play.events, 1)

    (notice,) = [event for event in play.events if is_notice(event)]
    assert store.queries.alert(notice.subject) is None
    rows = store.queries.all("SELECT id, kind FROM events WHERE kind = 'notice'")
    assert [tuple(row) for row in rows] == [(notice.id, "notice")]
    waiting = store.queries.all(
        "SELECT receiver, alert FROM deliveries WHERE alert = ?", [notice.subject]
    )
    # Who gets only the levels up to Ⅱ no longer gets the alerts, but learns why.
    assert sorted(row["receiver"] for row in waiting) == ["all", "urgent"]
    over = {e.subject for e in play.events if e.data.get("over_budget")}
    to_urgent = store.queries.all("SELECT alert FROM deliveries WHERE receiver = 'urgent'")
    assert not over & {row["alert"] for row in to_urgent}


def test_cuts_change_nothing() -> None:
    rows = [
        scene.change(what, T0 + n * MINUTE, rule=BUSY, device=SD_1)
        for n in range(5)
        for what in (Change.RAISED, Change.CLEARED)
    ]
    whole = lifecycle().apply(scene.batch(*rows))
    life, pieces = lifecycle(), []
    for row in rows:
        pieces += life.apply(scene.batch(row))
    assert scene.as_bytes(pieces) == scene.as_bytes(whole)


def test_levels_beyond_the_budget_are_told_as_level_four() -> None:
    """At the level of the rule it isn't marked, though that isn't the worst of the rule."""
    levels = (Level(name="warn", severity=3), Level(name="alarm", severity=1))
    cards = list(CARDS)
    cards[BUSY] = msgspec.structs.replace(cards[BUSY], severity=1, levels=levels, budget=1)
    play = Play(cards)
    warn, alarm = {"level": 0, "severity": 3}, {"level": 1, "severity": 1}
    first = ring(play, 0, **warn)
    assert (first.data["severity"], first.data["annotations"]) == (3, [])
    name = play.on(BUSY, SD_1, 60, **warn)
    play._apply(Change.LEVEL, BUSY, SD_1, 61, **alarm)

    over = [event for event in play.events if event.subject == name]
    assert [(e.data["severity"], e.data["rule_severity"]) for e in over] == [(4, 3), (4, 1)]
    # The notice goes to whoever could have got an alert of the rule.
    assert [e.data["severity"] for e in play.events if is_notice(e)] == [1]
