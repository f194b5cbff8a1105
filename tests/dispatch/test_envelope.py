"""The event itself: standard form, complete, small, and in plain words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alert_data import AlertData
from contracts.alerts import AlertEvent, encode_event
from contracts.batch import Flag
from contracts.quantities import QUANTITIES
from contracts.rulebook import PLACEHOLDERS, RuleCard, Term, Text
from contracts.transitions import Change, Episode
from dispatch.envelope import LATE_SCORE_MS, MAX_BYTES
from dispatch.wording import clip, local_time, spot
from tests.dispatch import scene
from tests.dispatch.scene import BATTERY, CARDS, FIRE, HYDRANT, PRESSURE, STRANGER, T0, S

SCHEMA = jsonschema.Draft7Validator(
    json.loads((Path(__file__).parent / "cloudevents.schema.json").read_text())
)


def check(event: AlertEvent) -> None:
    """What holds for every event, whatever the alert."""
    body = encode_event(event)
    SCHEMA.validate(json.loads(body))
    assert msgspec.json.decode(body, type=AlertEvent) == event
    msgspec.convert(event.data, AlertData, strict=True)
    assert len(body) < MAX_BYTES
    assert "." not in event.id
    assert re.fullmatch("[0-9]{20}", event.sequence)
    assert re.fullmatch("[a-zA-Z0-9_.]+", event.type)


def test_a_fire_reads_as_it_should() -> None:
    event = scene.fire()

    check(event)
    assert event.source == f"/grid/{scene.GRID_A}/smoke/sd-1"
    assert event.type == "io.gridwarden.smoke.fire.raised"
    assert event.time == "2026-03-01T00:00:00.000Z"
    assert event.sequence == f"{T0}0000001"
    assert (event.severitynumber, event.severitytext) == (21, "FATAL")
    assert event.data["reason"] == {
        "zh": "竹西社区 竹西一网格 3号楼 12层：烟感 sd-1 报火警。",
        "en": "Smoke detector sd-1 reports fire at floor 12, 3号楼, 竹西一网格, 竹西社区.",
    }
    assert event.data["place"]["street"] == {"code": "340111002", "name": "常青街道"}
    assert event.data["level"] == "Ⅰ"
    assert event.data["class"] == "safety"


def test_a_measured_alert_names_reading_and_limit() -> None:
    row = scene.change(
        Change.RAISED,
        T0 + 60 * S,
        rule=PRESSURE,
        device=HYDRANT,
        onset_ms=T0,
        quantity="static_pressure",
        value=0.051234567,
        threshold=0.07,
    )

    (event,) = scene.lifecycle().apply(scene.batch(row))

    check(event)
    assert event.data["reason"]["en"] == (
        "Hydrant static pressure low: static_pressure of device fw-1 is 0.0512346 MPa, "
        "limit 0.07 MPa."
    )
    assert event.data["samples"] == [
        {
            "decided": "raised",
            "quantity": "static_pressure",
            "value": 0.051234567,
            "unit": "MPa",
            "ts": "2026-03-01T00:01:00.000Z",
            "function": "",
        }
    ]
    assert event.data["timing"] == {
        "happened": "2026-03-01T00:00:00.000Z",
        "heard": "2026-03-01T00:01:00.200Z",
        "clock": "good",
        "late": False,
        "on_delay_ms": 60_000,
        "slack_ms": 2_000,
        "flapping_on_delay_ms": 0,
    }
    assert event.data["rule"]["standard"] == "GB 50974-2014 5.2.2"


@pytest.mark.parametrize(
    ("term", "english", "sample"),
    [
        pytest.param(
            Term("count(static_pressure, 5m)", "1", "static_pressure"),
            "Hydrant static pressure low: count(static_pressure, 5m) of device fw-1 is 2, limit 3.",
            {"quantity": "static_pressure", "value": 2.0, "unit": "1"},
            id="with-a-unit-of-its-own",
        ),
        pytest.param(
            Term("age(static_pressure) > 10m", "", "static_pressure"),
            "Hydrant static pressure low: device fw-1: age(static_pressure) > 10m.",
            {"quantity": "static_pressure", "value": None, "unit": "MPa"},
            id="true-or-false",
        ),
    ],
)
def test_an_alert_says_what_was_asked_of_a_quantity(
    term: Term, english: str, sample: dict[str, object]
) -> None:
    cards = [*CARDS]
    cards[PRESSURE] = msgspec.structs.replace(CARDS[PRESSURE], terms=(term,))
    row = scene.change(Change.RAISED, rule=PRESSURE, device=HYDRANT, value=2, threshold=3)
    row["quantity"] = len(QUANTITIES)

    (event,) = scene.lifecycle(cards).apply(scene.batch(row))

    check(event)
    assert event.data["reason"]["en"] == english
    when = {"decided": "raised", "ts": "2026-03-01T00:00:00.000Z", "function": term.name}
    assert event.data["samples"] == [sample | when]


@pytest.mark.parametrize(
    ("flag", "annotation"),
    [
        (Flag.UNVERIFIED, "unverified_source"),
        (Flag.UNREGISTERED, "unregistered"),
        (Flag.TEST, "device_test"),
        (Flag.BAD, "quality_bad"),
        (Flag.STALE, "quality_stale"),
        (Flag.REPAIRED, "clock_repaired"),
        (Flag.HISTORICAL, "historical"),
        (Flag.LATE, "late"),
    ],
)
def test_a_doubtful_fire_rings_and_says_the_doubt(flag: Flag, annotation: str) -> None:
    (event,) = scene.lifecycle().apply(scene.batch(scene.change(Change.RAISED, flags=int(flag))))

    check(event)
    assert annotation in event.data["annotations"]
    assert event.data["notify"]


@pytest.mark.parametrize(("after_ms", "rings"), [(LATE_SCORE_MS, True), (LATE_SCORE_MS + 1, False)])
@pytest.mark.parametrize("detectors", [("falling",), ()])
def test_what_a_detector_says_late_rings_within_a_bound(
    detectors: tuple[str, ...], after_ms: int, rings: bool
) -> None:
    card = msgspec.structs.replace(CARDS[BATTERY], detectors=detectors)
    row = scene.change(
        Change.RAISED, rule=0, lane=Episode.LATE, flags=int(Flag.LATE), heard_ms=T0 + after_ms
    )

    (event,) = scene.lifecycle([card]).apply(scene.batch(row))

    check(event)
    assert event.data["notify"] == (rings and bool(detectors))
    assert bool(event.expirytime) != event.data["notify"]
    assert event.data["timing"]["late"]
    assert "late" in event.data["annotations"]


def test_an_unknown_grid_is_said_not_left_out() -> None:
    event = scene.fire(STRANGER)

    check(event)
    assert event.gridcode == event.partitionkey == "unknown"
    assert event.source == "/grid/unknown/smoke/sd-stranger"
    assert "grid_unknown" in event.data["annotations"]
    assert "place unknown" in event.data["reason"]["en"]


def test_a_grid_that_began_later_is_still_found() -> None:
    """The code that is valid when a late fire is heard is where people go."""
    row = scene.change(Change.RAISED, T0 - 10 * 86_400_000, heard_ms=T0)

    (event,) = scene.lifecycle().apply(scene.batch(row))

    assert event.gridcode == scene.GRID_A
    assert "place_at_heard" in event.data["annotations"]


def test_sequence_never_falls_within_an_alert() -> None:
    life = scene.lifecycle()
    far = T0 + 86_400_000
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED, far)))

    events, _ = life.command(scene.order("acknowledge", raised.subject), T0)

    assert events[0].sequence > raised.sequence
    assert events[0].time == "2026-03-01T00:00:00.000Z"


texts = st.text(max_size=5000) | st.text(alphabet='"\\\n\x00\x7f火🔥{value}', max_size=9000)


@given(zh=texts, en=texts, runbook=texts, note=texts, flags=st.integers(0, 2**16 - 1))
def test_any_text_stays_small_and_standard(
    zh: str, en: str, runbook: str, note: str, flags: int
) -> None:
    card = msgspec.structs.replace(
        CARDS[FIRE],
        title=Text(zh, en),
        reason=Text(en, zh),
        runbook=Text(runbook, runbook),
        condition_text=zh,
        standard=en,
    )
    life = scene.lifecycle([card])
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED, flags=flags)))
    (taken,), _ = life.command(
        scene.order("acknowledge", raised.subject, note=note, by=note), T0 + S
    )

    check(raised)
    check(taken)


@given(texts, st.integers(3, 200))
def test_clip_keeps_its_bound(text: str, limit: int) -> None:
    got = clip(text, limit)

    assert len(json.dumps(got, ensure_ascii=False).encode()) - 2 <= limit
    assert clip(got, limit) == got


def test_braces_in_values_are_not_filled_again() -> None:
    card = RuleCard(
        id="r",
        hash="h",
        family="smoke",
        condition="fire",
        severity=1,
        title=Text("{unit}", "t"),
        unit="{value}",
    )

    (event,) = scene.lifecycle([card]).apply(scene.batch(scene.change(Change.RAISED)))

    assert event.data["title"]["zh"] == "{value}"
    assert event.data["reason"]["zh"].startswith("{value}：设备 sd-1")


def test_every_placeholder_is_filled_in_every_text_and_language() -> None:
    wanted = Text(*(" | ".join(f"{name} {{{name}}}" for name in PLACEHOLDERS) for _ in range(2)))
    card = msgspec.structs.replace(
        CARDS[PRESSURE], title=wanted, reason=wanted, runbook=wanted, for_ms=90_000
    )
    row = scene.change(
        Change.RAISED,
        T0 + 90 * S,
        rule=0,
        device=HYDRANT,
        onset_ms=T0,
        quantity="static_pressure",
        value=0.05,
        threshold=0.07,
    )

    (event,) = scene.lifecycle([card]).apply(scene.batch(row))

    said = {
        "zh": "value 0.05 | limit 0.07 | unit MPa | quantity static_pressure | device fw-1 |"
        " place 340111002003 竹西二网格 | level Ⅱ | since 2026-03-01 08:00:00 | for 1 分钟 30 秒 |"
        " count | size",
        "en": "value 0.05 | limit 0.07 | unit MPa | quantity static_pressure | device fw-1 |"
        " place 竹西二网格 | level Ⅱ | since 2026-03-01 08:00:00 | for 1 min 30 s | count | size",
    }
    for name in ("title", "reason", "runbook"):
        for language in ("zh", "en"):
            assert "{" not in event.data[name][language]
            got = event.data[name][language].split(" | ")
            want = said[language].split(" | ")
            assert [part for part in got if "place" not in part] == [
                part for part in want if "place" not in part
            ]
            place = spot(scene.directory().place(HYDRANT, T0), language)
            assert f"place {place}" in got


@pytest.mark.parametrize("ms", [-(10**17), 0, 2**62])
def test_any_onset_has_a_local_time(ms: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", local_time(ms))
