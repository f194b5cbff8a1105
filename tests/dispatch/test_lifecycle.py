"""Episodes: what each change of a rule instance becomes."""

from __future__ import annotations

import pytest

from contracts.alerts import alert_id
from contracts.batch import Flag
from contracts.transitions import Change, Episode
from tests.dispatch import scene
from tests.dispatch.scene import BATTERY, FIRE, HYDRANT, MINUTE, PRESSURE, SMOKE, T0, S

RAISED, AGAIN, CLEARED = Change.RAISED, Change.AGAIN, Change.CLEARED
UNKNOWN, KNOWN = Change.UNKNOWN, Change.KNOWN


@pytest.mark.parametrize(
    ("rule", "changes", "want"),
    [
        pytest.param(
            PRESSURE,
            [(0, RAISED), (5, CLEARED)],
            [("raised", "raised", "active", 1), ("cleared", "cleared", "cleared", 2)],
            id="plain-raises-and-clears",
        ),
        pytest.param(
            FIRE,
            [(0, RAISED), (5, CLEARED)],
            [("raised", "raised", "active", 1), ("updated", "latched", "latched", 2)],
            id="latching-waits-for-reset",
        ),
        pytest.param(
            FIRE,
            [(0, RAISED), (5, CLEARED), (9, RAISED)],
            [
                ("raised", "raised", "active", 1),
                ("updated", "latched", "latched", 2),
                ("updated", "again", "active", 3),
            ],
            id="new-onset-folds-into-latched",
        ),
        pytest.param(
            FIRE,
            [(0, RAISED), (5, AGAIN)],
            [("raised", "raised", "active", 1), ("updated", "again", "active", 2)],
            id="again-while-active",
        ),
        pytest.param(
            FIRE,
            [(0, AGAIN)],
            [("raised", "raised", "active", 1)],
            id="again-without-alert-raises",
        ),
        pytest.param(
            PRESSURE,
            [(0, RAISED), (5, RAISED)],
            [("raised", "raised", "active", 1)],
            id="repeat-of-open-plain",
        ),
        pytest.param(
            FIRE,
            [(0, RAISED), (0, RAISED)],
            [("raised", "raised", "active", 1)],
            id="repeat-of-open-latching",
        ),
        pytest.param(
            PRESSURE,
            [(0, RAISED), (5, CLEARED), (9, RAISED)],
            [
                ("raised", "raised", "active", 1),
                ("cleared", "cleared", "cleared", 2),
                ("raised", "raised", "active", 1),
            ],
            id="plain-starts-a-new-alert",
        ),
        pytest.param(
            PRESSURE,
            [(0, RAISED), (0, CLEARED), (0, RAISED)],
            [
                ("raised", "raised", "active", 1),
                ("cleared", "cleared", "cleared", 2),
                ("raised", "again", "active", 3),
            ],
            id="same-onset-reopens-under-a-new-revision",
        ),
        pytest.param(
            PRESSURE,
            [(0, RAISED), (3, UNKNOWN), (4, UNKNOWN), (6, KNOWN), (7, KNOWN)],
            [
                ("raised", "raised", "active", 1),
                ("updated", "unknown", "active", 2),
                ("updated", "known", "active", 3),
            ],
            id="lost-data-never-clears",
        ),
        pytest.param(PRESSURE, [(0, CLEARED), (1, UNKNOWN)], [], id="nothing-open"),
    ],
)
def test_changes(rule: int, changes: list[tuple[int, Change]], want: list[object]) -> None:
    device = SMOKE if rule == FIRE else HYDRANT
    rows = [scene.change(what, T0 + at * S, rule=rule, device=device) for at, what in changes]

    events = scene.lifecycle().apply(scene.batch(*rows))

    assert [scene.told(event) for event in events] == want
    assert len({event.id for event in events}) == len(events)


def test_nothing_is_swallowed_without_a_count() -> None:
    life = scene.lifecycle()
    rows = [
        scene.change(RAISED, rule=PRESSURE, device=HYDRANT),
        scene.change(RAISED, T0 + S, rule=PRESSURE, device=HYDRANT),
        scene.change(CLEARED),
        scene.change(UNKNOWN),
    ]

    events = life.apply(scene.batch(*rows))

    assert len(events) + life.counts["repeated_raise"] == 2
    assert life.counts["cleared_without_alert"] == 1
    assert life.counts["unknown_without_alert"] == 1


def test_the_id_is_the_episodes() -> None:
    event = scene.fire()

    assert event.subject == alert_id("smoke.fire", "sd-1", T0, Episode.LIVE)
    assert event.id == event.subject + "-1"


def test_a_new_onset_must_be_looked_at_again() -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(RAISED)))
    (taken,), _ = life.command(scene.order("acknowledge", raised.subject), T0 + S)
    life.apply(scene.batch(scene.change(CLEARED, T0 + 2 * S)))

    (again,) = life.apply(scene.batch(scene.change(RAISED, T0 + 3 * S)))

    assert taken.data["acknowledged"]
    assert not again.data["acknowledged"]
    assert again.data["notify"]
    assert again.data["onsets"] == 2
    assert again.subject == raised.subject


def test_late_history_does_not_ring_but_fire_does() -> None:
    life = scene.lifecycle()
    day = 24 * 60 * MINUTE
    late = {"lane": Episode.LATE, "heard_ms": T0 + day, "flags": int(Flag.LATE)}
    rows = [scene.change(RAISED, rule=BATTERY, **late), scene.change(RAISED, rule=FIRE, **late)]

    battery, fire = life.apply(scene.batch(*rows))

    assert not battery.data["notify"]
    assert battery.expirytime == battery.time
    assert fire.data["notify"]
    assert fire.expirytime == ""
    for event in (battery, fire):
        assert event.data["timing"]["late"]
        assert "late" in event.data["annotations"]
        assert event.data["timing"]["heard"] == "2026-03-02T00:00:00.000Z"


def test_late_and_live_are_two_alerts() -> None:
    rows = [scene.change(RAISED), scene.change(RAISED, T0 - S, lane=Episode.LATE)]

    live, late = scene.lifecycle().apply(scene.batch(*rows))

    assert live.subject != late.subject


@pytest.mark.parametrize("stamp", [0, -(10**17), 4_070_908_800_000, 2**62], ids=str)
def test_a_fire_with_an_absurd_time_raises_with_its_place(stamp: int) -> None:
    row = scene.change(RAISED, stamp, heard_ms=T0, flags=int(Flag.CLOCK_UNKNOWN))

    (event,) = scene.lifecycle().apply(scene.batch(row))

    assert event.gridcode == scene.GRID_A
    assert event.data["timing"]["clock"] == "unknown"
    assert event.data["notify"]


def test_closed_alerts_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.lifecycle.book.CLOSED_KEPT", 2)
    life = scene.lifecycle()
    alerts = []
    for n in range(3):
        rows = [scene.change(what, T0 + n * S, rule=BATTERY) for what in (RAISED, CLEARED)]
        alerts.append(life.apply(scene.batch(*rows))[0].subject)

    verdicts = []
    for n, alert in enumerate(alerts):
        life.command(scene.order("acknowledge", alert, command=f"c{n}"), T0)
        verdicts.append(life.verdict(f"c{n}").name)  # type: ignore[union-attr]

    assert verdicts == ["UNKNOWN_ALERT", "ACCEPTED", "ACCEPTED"]
    assert life.counts["closed_forgotten"] == 1


def test_open_alerts_keep_their_order_over_a_restart() -> None:
    life = scene.lifecycle()
    rows = [
        scene.change(RAISED, rule=PRESSURE, device=HYDRANT),
        scene.change(RAISED, rule=BATTERY),
        scene.change(CLEARED, rule=PRESSURE, device=HYDRANT),
        scene.change(RAISED, rule=PRESSURE, device=HYDRANT),
    ]
    life.apply(scene.batch(*rows))
    again = scene.lifecycle()

    again.restore(life.snapshot())

    assert again.open_alerts() == life.open_alerts()
    assert [alert.card.id for alert in again.open_alerts()] == [
        "smoke.battery_low",
        "firewater.pressure_low",
    ]
