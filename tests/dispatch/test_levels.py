"""An alert whose severity rises and falls: who is called, what is said, who is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts.alerts import AlertEvent
from contracts.rulebook import Level
from contracts.transitions import Change
from dispatch.lifecycle import Lifecycle
from dispatch.queries import Selection
from dispatch.receivers import Filter
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.scene import ALARM, HEAT, HEAT_LATCHED, SILENT, T0, WARN, S

WARN_IS_4 = (Level(name="warn", severity=4), Level(name="alarm", severity=1))
RAISED, LEVEL, CLEARED = Change.RAISED, Change.LEVEL, Change.CLEARED


def play(
    *changes: tuple[int, Change, int], rule: int = HEAT, life: Lifecycle | None = None
) -> list[AlertEvent]:
    """(second, change, level) of one alert."""
    rows = [
        scene.change(
            what,
            T0 + at * S,
            rule=rule,
            onset_ms=T0,
            quantity="" if level == SILENT else "temperature",
            value=60.0 + at,
            threshold=(float("nan"), 55, 70)[level],
            **scene.stands(level),
        )
        for at, what, level in changes
    ]
    return (life or scene.lifecycle()).apply(scene.batch(*rows))


def said(events: list[AlertEvent]) -> list[tuple[str, str, int, int, bool]]:
    """Change, level, severity before and now, whether it calls somebody."""
    return [
        (d["change"], d["level_name"], d["severity_before"], d["severity"], d["notify"])
        for d in (event.data for event in events)
    ]


def test_a_rise_calls_and_a_fall_does_not() -> None:
    events = play((0, RAISED, WARN), (5, LEVEL, ALARM), (9, LEVEL, WARN), (12, CLEARED, WARN))

    assert said(events) == [
        ("raised", "warn", 3, 3, True),
        ("level", "alarm", 3, 1, True),
        ("level", "warn", 1, 3, False),
        ("cleared", "warn", 3, 3, False),
    ]
    assert len({event.subject for event in events}) == 1
    assert [event.type.rsplit(".", 1)[1] for event in events] == [
        "raised", "updated", "updated", "cleared",
    ]  # fmt: skip
    assert [event.severitytext for event in events] == ["WARN", "FATAL", "WARN", "WARN"]
    assert [event.data["level"] for event in events] == ["Ⅲ", "Ⅰ", "Ⅲ", "Ⅲ"]


def test_the_reading_and_the_limit_are_those_of_the_present_level() -> None:
    events = play((0, RAISED, WARN), (20, LEVEL, ALARM), (22, LEVEL, WARN))

    assert [event.data["threshold"] for event in events] == [55, 70, 55]
    assert [event.data["samples"][0]["value"] for event in events] == [60, 80, 82]
    assert "82 degC，限值 55 degC" in events[2].data["reason"]["zh"]
    assert [event.data["timing"]["on_delay_ms"] for event in events] == [60_000, 0, 60_000]
    assert events[1].data["rule"]["condition"] == "temperature > 70 degC"


def test_a_rise_must_be_looked_at_again() -> None:
    life = scene.lifecycle()
    (raised,) = play((0, RAISED, WARN), life=life)
    life.command(scene.order("acknowledge", raised.subject), T0)

    (risen,) = play((5, LEVEL, ALARM), life=life)
    life.command(scene.order("acknowledge", raised.subject, command="c2"), T0)
    (fallen,) = play((6, LEVEL, WARN), life=life)

    assert not risen.data["acknowledged"]
    assert fallen.data["acknowledged"]


def test_a_latched_alert_does_not_fall() -> None:
    life = scene.lifecycle()
    events = play(
        (0, RAISED, WARN), (5, LEVEL, ALARM), (6, LEVEL, WARN), (7, LEVEL, ALARM),
        (8, CLEARED, ALARM), (9, RAISED, WARN), rule=HEAT_LATCHED, life=life,
    )  # fmt: skip

    assert said(events) == [
        ("raised", "warn", 3, 3, True),
        ("level", "alarm", 3, 1, True),
        ("again", "alarm", 1, 1, True),
        ("latched", "alarm", 1, 1, False),
        ("again", "alarm", 1, 1, True),
    ]
    assert life.counts["level_held"] == 1


def test_silence_says_that_it_is_silence() -> None:
    silent, found = play((0, RAISED, SILENT), (5, LEVEL, WARN))

    assert silent.data["level_name"] == "missing"
    assert silent.data["reason"]["en"] == "Too hot: no data from device sd-1 for 15 min."
    assert silent.data["samples"] == []
    assert said([found]) == [("level", "warn", 3, 3, True)], "what was silence is now a breach"


def test_a_level_without_an_alert_is_counted() -> None:
    life = scene.lifecycle()
    assert play((0, LEVEL, ALARM), life=life) == []
    assert life.counts["level_without_alert"] == 1


@pytest.mark.parametrize(
    ("levels", "want"),
    [
        pytest.param(WARN_IS_4, ("level", "warn", 3, 4), id="the-level-has-another-severity"),
        pytest.param((), ("level", "", 3, 1), id="no-levels-any-more"),
    ],
)
def test_another_rule_set(levels: tuple[object, ...], want: tuple[str, str, int, int]) -> None:
    life = scene.lifecycle()
    play((0, RAISED, WARN), rule=HEAT_LATCHED, life=life)
    cards = list(scene.CARDS)
    cards[HEAT_LATCHED] = msgspec.structs.replace(
        cards[HEAT_LATCHED],
        hash="other",
        levels=levels,  # type: ignore[arg-type]
    )
    after = scene.lifecycle(cards)
    after.restore(life.snapshot())

    (event,) = after.settle(T0 + S)

    assert said([event])[0][:4] == want


def test_the_store_follows_the_present_severity(tmp_path: Path) -> None:
    events = play((0, RAISED, WARN), (5, LEVEL, ALARM), (9, LEVEL, WARN), (12, CLEARED, WARN))
    store = Store(tmp_path / "dispatch.db")
    found = []
    for event in events:
        store.record([event], 1, now_ms=T0)
        by_level = [store.queries.alerts(Selection(severities=(level,))) for level in (1, 3)]
        found.append(([len(rows) for rows in by_level], len(store.waiting(1))))
    store.close()

    assert found == [([0, 1], 0), ([1, 0], 1), ([0, 1], 0), ([0, 1], 0)]


def test_who_was_told_of_the_worst_is_told_of_the_end() -> None:
    events = play((0, RAISED, WARN), (5, LEVEL, ALARM), (9, LEVEL, WARN), (12, CLEARED, WARN))

    assert [Filter(severity_most=2).wants(event) for event in events] == [False, True, True, True]
    assert [Filter(severity_most=3).wants(event) for event in events] == [True] * 4
