"""The engine's answers are a function of the log, however it is cut, and over any restart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine import Engine, SnapshotMismatch, Step, read_head
from contracts.alerts import AlertEvent, encode_event
from contracts.log import LogRecord
from contracts.registry import Registry
from rules.ruleset import RuleSet
from tests.app import scene
from tests.app.scene import STRANGER, T0, S

Restart = Callable[[Engine], Engine]


def fresh() -> Engine:
    return Engine(Registry(), RuleSet.empty(), sources=scene.contents().sources())


def restarted(engine: Engine) -> Engine:
    """As after a crash: nothing goes on but what the snapshot holds."""
    chunks = engine.snapshot()
    head, known = read_head(chunks), scene.contents()
    again = Engine(
        known.registries[head.registry] if head.registry else Registry(),
        known.rules[head.rules] if head.rules else RuleSet.empty(),
        sources=known.sources(),
        settings=known.settings[head.settings] if head.settings else None,
    )
    again.restore(chunks)
    assert again.position == engine.position
    return again


def answers(
    log: list[LogRecord], cuts: list[int], restart: Restart = lambda engine: engine
) -> tuple[list[bytes], Counter[str]]:
    """The bytes of all events, and the counts, when the log comes in pieces."""
    engine, events, counts = fresh(), [], Counter[str]()
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        step: Step = engine.step(log[start:end])
        events += [encode_event(event) for event in step.events]
        counts.update(step.counts)
        counts.update(f"refused {one.reject.reason.value}" for one in step.rejects)
        engine = restart(engine)
    return events, counts


@cache
def alerts_without_commands() -> list[AlertEvent]:
    return fresh().step(scene.log()).events


@cache
def log() -> list[LogRecord]:
    """The district's log with what people decided, at times when it matters."""
    fires = [
        event.subject
        for event in alerts_without_commands()
        if event.type == "io.gridwarden.smoke.fire.raised"
    ]
    dips = [
        event.subject
        for event in alerts_without_commands()
        if event.type == "io.gridwarden.firewater.pressure_low.raised"
    ]
    said = [
        (60 * S, "acknowledge", fires[0], 1),
        (61 * S, "reset", fires[0], 2),  # It still burns: it comes back.
        (62 * S, "reset", fires[0], 2),  # The same request again.
        (63 * S, "acknowledge", "no-such-alert", 3),
        (135 * S, "disposition", fires[1], 4),
        (140 * S, "reset", fires[1], 5),
        (250 * S, "acknowledge", dips[0], 6),
        (260 * S, "reset", dips[0], 7),
    ]
    commands = [scene.command(T0 + at + 500, *what) for at, *what in said]
    return scene.numbered([*scene.log(), *commands])


@cache
def whole() -> tuple[list[bytes], Counter[str]]:
    return answers(log(), [])


def told(change: str) -> list[dict[str, object]]:
    events = [json.loads(event) for event in whole()[0]]
    return [event for event in events if event["data"]["change"] == change]


def test_the_log_holds_what_could_depend_on_cuts() -> None:
    events, counts = whole()
    assert len(events) > 50
    assert len(set(events)) == len(events)
    assert counts["late"] > 0
    assert counts["stranger"] > 0
    assert counts["duplicate"] == 1
    assert counts["refused unknown_quantity"] == 1
    assert counts["refused bad_field"] == 1
    seen = Counter(json.loads(event)["data"]["change"] for event in events)
    for change in ("raised", "cleared", "acknowledged", "reset", "disposition"):
        assert seen[change], f"no event says {change}: {seen}"


def test_one_record_a_call() -> None:
    assert answers(log(), list(range(1, len(log())))) == whole()


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_cut(data: st.DataObject) -> None:
    places = st.integers(0, len(log()))
    cuts = sorted(data.draw(st.lists(places, max_size=40), label="cuts"))
    assert answers(log(), cuts) == whole()


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_restart(data: st.DataObject) -> None:
    places = st.integers(0, len(log()))
    cuts = sorted(data.draw(st.lists(places, min_size=5, max_size=25), label="restarts"))
    assert answers(log(), cuts, restarted) == whole()


def test_restarts_around_every_change_of_rules_registry_and_every_command() -> None:
    turns = [
        place
        for place, record in enumerate(log())
        if record.kind.name in ("INSTALLED", "COMMAND", "STATUS", "FOREIGN")
    ]
    cuts = sorted({cut for place in turns for cut in (place, place + 1)})
    assert answers(log(), cuts, restarted) == whole()


def test_a_stranger_that_becomes_registered_gets_its_place() -> None:
    raised = [e for e in told("raised") if e["data"]["device"] == STRANGER]  # type: ignore[index]
    first = next(e for e in raised if e["type"] == "io.gridwarden.smoke.fire.raised")
    assert "unregistered" in first["data"]["annotations"]  # type: ignore[index]
    fault = next(e for e in raised if e["type"] == "io.gridwarden.smoke.fault.raised")
    assert "unregistered" not in fault["data"]["annotations"]  # type: ignore[index]
    grids = {grid.code for grid in scene.contents().registries[scene.GREW].grids}
    assert (first["gridcode"] in grids, fault["gridcode"] in grids) == (False, True)


def test_a_snapshot_of_another_version_is_refused() -> None:
    chunks = fresh().snapshot()
    chunks["head"] = chunks["head"].replace(b'"version":1', b'"version":2')
    with pytest.raises(SnapshotMismatch, match="version 2"):
        fresh().restore(chunks)
