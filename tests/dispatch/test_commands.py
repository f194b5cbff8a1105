"""What people and the dispatch platform decide about alerts; and what a new rule set does."""

from __future__ import annotations

import msgspec
import pytest

from contracts.rulebook import Text
from contracts.transitions import Change
from dispatch.lifecycle.verdicts import Verdict
from tests.dispatch import scene
from tests.dispatch.scene import BATTERY, CARDS, FIRE, HYDRANT, PRESSURE, SMOKE, T0, S


def test_reset_ends_a_latched_alert_and_resets_its_rule() -> None:
    life = scene.lifecycle()
    raised, latched = life.apply(
        scene.batch(scene.change(Change.RAISED), scene.change(Change.CLEARED, T0 + S))
    )

    events, resets = life.command(
        scene.order("reset", raised.subject, command="r1", by="desk-3"), T0 + 9 * S
    )

    assert [scene.told(event) for event in events] == [("cleared", "reset", "cleared", 3)]
    assert resets == [(FIRE, SMOKE)]
    assert events[0].causationid == "r1"
    assert latched.causationid == raised.id
    assert events[0].data["by"] == "desk-3"
    assert events[0].time == "2026-03-01T00:00:09.000Z"
    assert life.open_alerts() == ()


def test_a_fire_that_still_burns_comes_back_after_its_reset() -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED)))
    life.command(scene.order("reset", raised.subject), T0 + S)

    same, new = (
        life.apply(scene.batch(scene.change(Change.RAISED, T0 + 2 * S, onset_ms=onset)))
        for onset in (T0, T0)
    )

    assert scene.told(same[0]) == ("raised", "again", "active", 3)
    assert same[0].data["notify"]
    assert new == []  # Already open.


def test_a_reset_of_a_plain_alert_leaves_a_new_onset_free() -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED, rule=PRESSURE, device=HYDRANT)))

    _, resets = life.command(scene.order("reset", raised.subject), T0 + S)
    (new,) = life.apply(
        scene.batch(scene.change(Change.RAISED, T0 + 2 * S, rule=PRESSURE, device=HYDRANT))
    )

    assert resets == [(PRESSURE, HYDRANT)]
    assert new.subject != raised.subject


@pytest.mark.parametrize(
    ("commands", "want"),
    [
        pytest.param(
            [("acknowledge", {})], [("updated", "acknowledged", "active", 2)], id="acknowledge"
        ),
        pytest.param(
            [("disposition", {"disposition": "drill"})],
            [("updated", "disposition", "active", 2)],
            id="disposition",
        ),
        pytest.param(
            [("acknowledge", {}), ("acknowledge", {})],
            [("updated", "acknowledged", "active", 2)],
            id="second-acknowledge-changes-nothing",
        ),
        pytest.param(
            [("reset", {}), ("disposition", {"disposition": "false"})],
            [("cleared", "reset", "cleared", 2), ("updated", "disposition", "cleared", 3)],
            id="disposition-after-the-end",
        ),
        pytest.param([("disposition", {})], [], id="disposition-of-nothing"),
    ],
)
def test_commands(commands: list[tuple[str, dict[str, str]]], want: list[object]) -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED)))

    events = []
    for n, (action, more) in enumerate(commands):
        events += life.command(
            scene.order(action, raised.subject, command=f"c{n}", **more), T0 + n * S
        )[0]

    assert [scene.told(event) for event in events] == want


def test_a_repeated_command_is_harmless() -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED)))
    life.command(scene.order("reset", raised.subject), T0)
    life.apply(scene.batch(scene.change(Change.RAISED, T0 + S)))

    assert life.command(scene.order("reset", raised.subject), T0 + 2 * S) == ([], [])
    assert life.counts["command_repeated"] == 1
    assert len(life.open_alerts()) == 1


@pytest.mark.parametrize(
    ("action", "alert", "want"),
    [
        pytest.param("acknowledge", "nothing", Verdict.UNKNOWN_ALERT, id="unknown"),
        pytest.param("reset", "", Verdict.ALREADY_CLEARED, id="reset-of-a-cleared-one"),
        pytest.param("disposition", "", Verdict.NO_DISPOSITION, id="disposition-of-nothing"),
    ],
)
def test_refusals_are_typed_and_counted(action: str, alert: str, want: Verdict) -> None:
    life = scene.lifecycle()
    raised, _ = life.apply(
        scene.batch(
            scene.change(Change.RAISED, rule=BATTERY),
            scene.change(Change.CLEARED, T0 + S, rule=BATTERY),
        )
    )

    answer = life.command(scene.order(action, alert or raised.subject), T0 + 2 * S)

    assert answer == ([], [])
    assert life.verdict("c1") is want
    assert life.counts[f"command_{want.value}"] == 1


def _changed(row: int, **more: object) -> list[object]:
    cards = list(CARDS)
    cards[row] = msgspec.structs.replace(CARDS[row], hash="other", **more)
    return cards


@pytest.mark.parametrize(
    ("rule", "cards", "want"),
    [
        pytest.param(FIRE, CARDS, [], id="same-rules"),
        pytest.param(
            FIRE, CARDS[1:], [("updated", "rule_removed", "active", 2)], id="fire-rule-removed"
        ),
        pytest.param(
            BATTERY, CARDS[:2], [("cleared", "rule_removed", "cleared", 2)], id="plain-removed"
        ),
        pytest.param(
            FIRE,
            _changed(FIRE, title=Text("火", "Fire")),
            [("updated", "rule_changed", "active", 2)],
            id="fire-rule-changed",
        ),
        pytest.param(
            FIRE,
            _changed(FIRE, severity=2),
            [("updated", "level", "active", 2)],
            id="level-changed",
        ),
        pytest.param(
            BATTERY,
            _changed(BATTERY),
            [("cleared", "rule_changed", "cleared", 2)],
            id="plain-changed-starts-anew",
        ),
    ],
)
def test_another_rule_set(rule: int, cards: list[object], want: list[object]) -> None:
    before = scene.lifecycle()
    before.apply(scene.batch(scene.change(Change.RAISED, rule=rule)))
    after = scene.lifecycle(cards)  # type: ignore[arg-type]
    after.restore(before.snapshot())

    events = after.settle(T0 + S)

    assert [scene.told(event) for event in events] == want
    assert after.settle(T0 + 2 * S) == []


def test_a_removed_rules_fire_can_still_be_reset() -> None:
    before = scene.lifecycle()
    (raised,) = before.apply(scene.batch(scene.change(Change.RAISED)))
    after = scene.lifecycle(CARDS[1:])
    after.restore(before.snapshot())
    after.settle(T0 + S)

    events, resets = after.command(scene.order("reset", raised.subject), T0 + 2 * S)

    assert scene.told(events[0]) == ("cleared", "reset", "cleared", 3)
    assert events[0].data["rule"]["removed"]
    assert resets == []
