"""Rules that change at an event time, in a log: the answers hang on the log alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.changeover import RulesNews
from app.engine import Engine, SnapshotMismatch, Sources
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed
from contracts.registry import Registry
from rules import compile_rules
from rules.ruleset import RuleSet
from tests.app import scene
from tests.app.scene import T0, S
from tests.app.test_engine import answers, fresh, restarted


def coming(at_ms: int, content: str, activate_ms: int) -> LogRecord:
    told = Installed(what="rules", hash=content, active_ms=at_ms, activate_ms=activate_ms)
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(told))


# The district's log


@cache
def log() -> list[LogRecord]:
    """Rules change twice at an event time; the registry and the settings in the middle of it."""
    changes = [
        coming(T0 + 95 * S + 1, "changed", T0 + 100 * S),
        scene.installed(T0 + 101 * S, "registry", scene.GREW),
        scene.installed(T0 + 102 * S + 1, "settings", "slow"),
        coming(T0 + 103 * S, "shipped", T0 + 110 * S),  # The first change isn't over yet.
        coming(T0 + 180 * S, "shipped", T0 + 200 * S),
        scene.command(T0 + 203 * S, "reset", _fire(), 1),
    ]
    rest = [r for r in scene.log() if r.kind is not RecordKind.INSTALLED or r.accepted_ms < T0]
    return scene.numbered([*rest, *changes])


def _fire() -> str:
    events = fresh().step(scene.log()).events
    return next(e.subject for e in events if e.type == "io.gridwarden.smoke.fire.raised")


@cache
def whole() -> tuple[list[bytes], Counter[str]]:
    return answers(log(), [])


def news(records: list[LogRecord]) -> list[RulesNews]:
    return fresh().step(records).news


def test_the_log_holds_what_could_depend_on_cuts() -> None:
    assert [(one.content, one.state) for one in news(log())] == [
        ("shipped", "done"),
        ("changed", "begun"),
        ("shipped", "refused"),
        ("changed", "done"),
        ("shipped", "begun"),
        ("shipped", "done"),
    ]
    seen = Counter(json.loads(event)["data"]["change"] for event in whole()[0])
    assert seen["rule_changed"] + seen["level"] > 0, seen


def test_one_record_a_call() -> None:
    assert answers(log(), list(range(1, len(log())))) == whole()


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_restart(data: st.DataObject) -> None:
    """What a kill leaves is the last snapshot: also one from the middle of a change."""
    places = [
        place
        for place, record in enumerate(log())
        if T0 + 94 * S < record.accepted_ms < T0 + 118 * S or record.accepted_ms > T0 + 179 * S
    ]
    cuts = data.draw(st.lists(st.sampled_from(places), min_size=5, max_size=25, unique=True))
    assert answers(log(), sorted(cuts), restarted) == whole()


def test_the_report_says_kept_changed_and_gone() -> None:
    (done,) = [one for one in news(log()) if one.content == "changed" and one.state == "done"]
    said = Counter(one.outcome for one in done.report)
    assert said["kept"] > 0
    assert said["migrated"] > 0
    assert "the rule is gone" in {one.why for one in done.report}


# One device


HIGH = """
rules:
  - id: efire.high
    title: {zh: 题, en: title}
    on: {family: efire}
    when: residual_current >= 500 mA
    for: 60s
    severity: 2
"""


def small(*others: str) -> Sources:
    """Rule sets "0", "1", ... of one rule each."""
    sets = {str(n): compile_rules({"a.yml": text}) for n, text in enumerate([HIGH, *others])}
    return Sources(rules=sets.__getitem__, registry={"": Registry()}.__getitem__)


def told(at_s: float, device: str, value: float, current: str = "residual_current") -> LogRecord:
    at_ms = T0 + round(at_s * S)
    line = {"deviceId": device, "family": "efire", "ts": at_ms, "metrics": {current: value}}
    return LogRecord(RecordKind.FOREIGN, at_ms + 50, "", msgspec.json.encode(line))


def mark(at_s: float) -> LogRecord:
    return LogRecord(RecordKind.MARK, T0 + round(at_s * S), "", b"")


def run(sources: Sources, records: list[LogRecord]) -> tuple[list[dict[str, Any]], list[RulesNews]]:
    engine = Engine(Registry(), RuleSet.empty(), sources=sources)
    steps = [engine.step([record]) for record in scene.numbered(records)]
    events = [msgspec.to_builtins(event) for step in steps for event in step.events]
    return events, [one for step in steps for one in step.news]


def short(events: list[dict[str, Any]], sources: Sources) -> list[tuple[str, str, str]]:
    """(time of day, change, rule set by its hash)."""
    names = {
        card.hash: number
        for number in ("3", "2", "1", "0")
        for card in (sources.rules(number).cards if _has(sources, number) else ())
    }
    return [
        (e["time"][14:19], e["data"]["change"], names[e["data"]["rule"]["hash"]]) for e in events
    ]


def _has(sources: Sources, number: str) -> bool:
    try:
        return bool(sources.rules(number))
    except KeyError:
        return False


FIRST = scene.installed(T0 - 1, "rules", "0")
MARKS = [mark(at) for at in range(0, 120, 1)]
HOT = [told(at, "ef-1", 600) for at in (0, 10, 20, 30, 40, 50, 61, 70)]


def test_a_running_for_survives_a_new_text() -> None:
    sources = small(HIGH.replace("severity: 2", "severity: 1"))
    events, _ = run(sources, [FIRST, *MARKS, *HOT, coming(T0 + 21 * S, "1", T0 + 26 * S)])
    assert short(events, sources) == [("01:00", "raised", "1")]


def test_a_threshold_that_changes_in_the_middle_of_for() -> None:
    sources = small(HIGH.replace("500", "700"), HIGH.replace("500", "550"))
    harder, _ = run(sources, [FIRST, *MARKS, *HOT, coming(T0 + 21 * S, "1", T0 + 26 * S)])
    assert short(harder, sources) == []
    same, _ = run(sources, [FIRST, *MARKS, *HOT, coming(T0 + 21 * S, "2", T0 + 26 * S)])
    assert short(same, sources) == [("01:00", "raised", "2")]


def test_an_open_alert_goes_on_under_the_changed_rule() -> None:
    sources = small(HIGH.replace("500", "400"))
    log = [FIRST, *MARKS, *HOT, coming(T0 + 71 * S, "1", T0 + 76 * S)]
    events, _ = run(sources, [*log, told(80, "ef-1", 450), told(90, "ef-1", 300)])
    assert short(events, sources) == [
        ("01:00", "raised", "0"),
        ("01:16", "rule_changed", "1"),
        ("01:30", "cleared", "1"),
    ]
    assert len({event["subject"] for event in events}) == 1


def test_an_open_alert_of_a_rule_that_is_gone_ends_at_the_change() -> None:
    sources = small(HIGH.replace("efire.high", "efire.other"))
    log = [FIRST, *MARKS, *HOT, coming(T0 + 71 * S, "1", T0 + 76 * S)]
    events, _ = run(sources, [*log, told(80, "ef-1", 600)])
    assert short(events, sources) == [("01:00", "raised", "0"), ("01:16", "rule_removed", "0")]
    assert events[-1]["type"].endswith(".cleared")
    assert events[-1]["data"]["rule"]["removed"]


def test_a_safety_alert_of_a_rule_that_is_gone_stays_until_its_reset() -> None:
    fire = """
rules:
  - {id: smoke.fire, title: {zh: 题, en: t}, on: {family: smoke}, when: fire != 0, severity: 1,
     class: safety, latched: true}
"""
    sources = small(fire, HIGH)
    line = {"deviceId": "sd-1", "family": "smoke", "ts": T0 + 5 * S, "metrics": {"fire": 1}}
    alarm = LogRecord(RecordKind.FOREIGN, T0 + 5 * S, "", msgspec.json.encode(line))
    first = replace(FIRST, payload=FIRST.payload.replace(b'"0"', b'"1"'))
    events, _ = run(sources, [first, *MARKS, alarm, coming(T0 + 6 * S, "2", T0 + 11 * S)])
    assert [(e["time"][14:19], e["data"]["change"]) for e in events] == [
        ("00:05", "raised"),
        ("00:11", "rule_removed"),
    ]
    assert events[-1]["data"]["state"] == "active"


def test_a_rule_that_asks_something_else_ends_its_alert_and_starts_anew() -> None:
    instant = HIGH.replace("    for: 60s\n", "")
    sources = small(instant)
    log = [FIRST, *MARKS, *HOT, coming(T0 + 71 * S, "1", T0 + 76 * S)]
    events, _ = run(sources, [*log, told(80, "ef-1", 600)])
    # What ends the alert is still the rule that made it.
    assert short(events, sources) == [
        ("01:00", "raised", "0"),
        ("01:16", "rule_changed", "0"),
        ("01:20", "raised", "1"),
    ]


def test_a_device_that_is_no_longer_watched_ends_its_alert() -> None:
    selected = HIGH.replace("{family: efire}", "{family: efire, point: worst}")
    sources = small(selected)
    events, said = run(sources, [FIRST, *MARKS, *HOT, coming(T0 + 71 * S, "1", T0 + 76 * S)])
    assert [change for _, change, _ in short(events, sources)] == ["raised", "rule_changed"]
    assert events[-1]["type"].endswith(".cleared")
    assert [(one.outcome, one.left) for one in said[-1].report] == [("migrated", 1)]


def test_an_alert_of_a_level_that_is_gone_ends() -> None:
    """Its rule goes on with the other level; nothing would ever clear this one."""
    levels = """
rules:
  - id: efire.high
    title: {zh: 题, en: title}
    on: {family: efire}
    levels:
      - {name: warn, severity: 3, when: residual_current >= 300 mA, for: 10s}
      - {name: alarm, severity: 2, when: residual_current >= 5 A, for: 10s}
"""
    other = levels.replace("name: warn", "name: notice").replace("300 mA", "900 mA")
    sources = small(levels, other)
    begin = replace(FIRST, payload=FIRST.payload.replace(b'"0"', b'"1"'))
    events, said = run(sources, [begin, *MARKS, *HOT, coming(T0 + 61 * S, "2", T0 + 66 * S)])
    assert [(e["time"][14:19], e["data"]["change"]) for e in events] == [
        ("00:10", "raised"),
        ("01:06", "rule_changed"),
    ]
    assert events[-1]["type"].endswith(".cleared")
    assert {one.rule: one.outcome for one in said[-1].report}["efire.high"] == "migrated"


def test_a_time_that_is_over_is_refused_and_the_old_rules_stay() -> None:
    sources = small(HIGH.replace("500", "700"))
    events, said = run(sources, [FIRST, *MARKS, *HOT, coming(T0 + 30 * S, "1", T0 + 5 * S)])
    assert [(one.state, one.content) for one in said] == [("done", "0"), ("refused", "1")]
    assert "2026-01-01T00:00:2" in said[-1].why
    assert short(events, sources) == [("01:00", "raised", "0")]


def test_rules_without_a_time_take_over_at_once_also_from_a_change_under_way() -> None:
    sources = small(HIGH.replace("500", "400"), HIGH.replace("500", "450"))
    log = [FIRST, *MARKS, *HOT, coming(T0 + 71 * S, "1", T0 + 90 * S)]
    events, said = run(sources, [*log, scene.installed(T0 + 80 * S, "rules", "2")])
    assert [(one.content, one.state) for one in said] == [
        ("0", "done"),
        ("1", "begun"),
        ("1", "done"),
        ("2", "done"),
    ]
    assert short(events, sources)[0] == ("01:00", "raised", "0")


def test_a_change_of_comments_only_is_done_at_once() -> None:
    sources = small("# better\n" + HIGH)
    _, said = run(sources, [FIRST, *MARKS, coming(T0 + 21 * S, "1", T0 + 26 * S)])
    assert [(one.content, one.state) for one in said] == [("0", "done"), ("1", "done")]


def test_a_snapshot_of_a_change_needs_the_rules_that_come() -> None:
    sources = small(HIGH.replace("500", "400"))
    engine = Engine(Registry(), RuleSet.empty(), sources=sources)
    engine.step(scene.numbered([FIRST, *MARKS[:22], coming(T0 + 21 * S, "1", T0 + 26 * S)]))
    with pytest.raises(SnapshotMismatch, match="in the middle"):
        Engine(Registry(), sources.rules("0")).restore(engine.snapshot())
