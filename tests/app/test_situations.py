"""What operators are afraid of, each with the exact alerts, from packs in a log to alert events.

Each is played as a rule test is, and again from every record on: a new engine restored from the
snapshot behind it must say the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine import Engine
from app.runners.backtest import run_one
from app.runners.recording import open_recording
from app.runners.replay import replay
from app.runners.ruletest import SETTINGS, Registries, play
from contracts.alerts import AlertEvent, encode_event
from contracts.log import LogRecord
from rules import compile_rules
from rules.backtest import Episodes
from rules.testing.case import Case
from rules.testing.document import read_tests
from rules.testing.judge import Came
from tests.app.test_replay import dumped

RULES = """
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire}
    when: residual_current > 300 mA
    for: 60s
    clear: residual_current < 200 mA
    clear_for: 30s
    missing: unknown after 15m
    severity: 3
  - id: efire.arc
    title: {zh: 电弧, en: Arc}
    on: {family: efire}
    when: arc != 0
    flapping: {raises: 3, within: 5m, for: 1m}
    severity: 2
  - id: efire.fire
    title: {zh: 火警, en: Fire}
    on: {family: efire}
    when: fire != 0
    severity: 1
    class: safety
    latched: true
"""

SITUATIONS: dict[str, tuple[str, list[tuple[str, str, str, bool]]]] = {
    # A gateway is cut off for a day. What happened meanwhile is history and calls nobody, but for
    # the fire, which does at once, with the time at which it was. The present goes on from there.
    "a day of backlog": (
        """
interval: 10m
series:
  - {device: e1, residual_current: 100x5 400x11 100x120 400x20}
  - {device: e1, fire: 0x29 1 0x127}
faults:
  - {backlog: g1 30m..24h arrives at 24h}
until: 26h30m
""",
        [
            ("efire.high", "1h1m", "raised", False),
            ("efire.high", "3h30s", "cleared", False),
            ("efire.high", "23h11m", "raised", False),
            ("efire.fire", "5h", "raised", True),
            ("efire.fire", "5h10m", "latched", False),
            ("efire.high", "24h1m", "raised", True),
        ],
    ),
    "a gap that looks like recovery": (
        """
series:
  - {device: e1, residual_current: 400x12 _x120 100x1 400x3 100x10}
until: 30m
""",
        [
            ("efire.high", "1m", "raised", True),
            ("efire.high", "17m", "unknown", False),
            ("efire.high", "22m10s", "known", False),
            ("efire.high", "23m40s", "cleared", False),
        ],
    ),
    "two readings a millisecond apart": (
        """
interval: 1ms
series:
  - {device: e1, from: 10s, arc: 0 1 0}
until: 20s
""",
        [
            ("efire.arc", "10s1ms", "raised", True),
            ("efire.arc", "10s2ms", "cleared", False),
        ],
    ),
    "a sensor that flaps for ten minutes": (
        """
series:
  - {device: e1, arc: 0x72}
faults:
  - {flap: e1 arc 1/0 1m..11m}
until: 13m
""",
        [
            ("efire.arc", "1m", "raised", True),
            ("efire.arc", "1m10s", "cleared", False),
            ("efire.arc", "1m20s", "raised", True),
            ("efire.arc", "1m30s", "cleared", False),
            ("efire.arc", "1m40s", "raised", True),
            ("efire.arc", "1m50s", "cleared", False),
            # Five minutes without a raise: one that is told at once, and the wait goes on.
            ("efire.arc", "6m40s", "raised", True),
            ("efire.arc", "6m50s", "cleared", False),
        ],
    ),
}


def case_of(name: str, said: str) -> Case:
    body = "".join(f"    {line}\n" for line in said.strip().splitlines())
    text = (
        f"tests:\n  - name: {name}\n    devices: {{e1: {{family: efire, gateway: g1}}}}\n"
        f"{body}    expect: []\n"
    )
    cases, findings = read_tests("situations.test.yml", text)
    assert [str(one) for one in findings] == []
    return cases[0]


def span(ms: int) -> str:
    """As times are written in tests."""
    parts = ((3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))
    told = ""
    for size, unit in parts:
        number, ms = divmod(ms, size)
        told += f"{number}{unit}" if number else ""
    return told or "0s"


def shown(came: list[Came]) -> list[tuple[str, str, str, bool]]:
    return [(one.rule, span(one.at_ms), one.change, bool(one.data["notify"])) for one in came]


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_gives_these_alerts_and_no_others(name: str) -> None:
    said, want = SITUATIONS[name]
    case, rules = case_of(name, said), compile_rules({"r.yml": RULES})
    registry = Registries().of(case)
    played = play(case, rules, registry)
    assert sorted(shown(played.came)) == sorted(want)

    events: list[bytes] = []
    engine = Engine(registry, rules, settings=SETTINGS)
    for record in played.records:
        events += told(engine, record)
        chunks = engine.snapshot()
        engine = Engine(registry, rules, settings=SETTINGS)
        engine.restore(chunks)
    assert events == [compared(event) for event in played.events]


def told(engine: Engine, record: LogRecord) -> list[bytes]:
    return [compared(event) for event in engine.step([record]).events]


def compared(event: AlertEvent) -> bytes:
    return encode_event(event)


def test_a_backtest_sees_what_replay_tells(tmp_path: Path) -> None:
    """The fourth way through the one engine: its episodes are those of the replayed events."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "r.yml").write_text(RULES, encoding="utf-8")
    path = dumped(tmp_path / "past.dump", 1, 9)

    episodes = Episodes()
    replay(
        open_recording(path),
        ruleset=compile_rules({"r.yml": RULES}),
        registry=None,
        settings=None,
        on_step=lambda step: episodes.add(step.events),
    )
    past = run_one(path, folder, None, lambda _: None)
    assert past.episodes == episodes.all()
    assert past.readings > 0
