"""One truth: the detector's own levels and the shipped rules on its readings say the same."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from app.content import load_rules
from app.engine import Engine
from contracts import pack
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from contracts.registry import Registry
from detectors.inactivity.alarms import Cause, at_home, held
from detectors.inactivity.layout import Kind, Role, Room
from detectors.inactivity.operator import InactivityOperator, Scores
from detectors.inactivity.telling import news, readings
from detectors.training.homes import START_MS, Sensor, joined, simulate_home
from ingest.registry import load as load_registry
from rules.zones import zone
from tests.detectors.inactivity.lives import DAY, KIT, REGULAR, SHANGHAI, operator_of

SHIPPED = Path(__file__).parents[2] / "deploy" / "rules"
DETECTOR = "detector-inactivity"
DAYS, QUIET_FROM = 14, 11

WATER: Sensor = ("w-main", Kind.WATER, Room.OTHER, Role.PERSON)
HUNG = {
    "proven": KIT,
    "mute": KIT[:5],
    "washing": [*KIT[:5], ("c-washer", Kind.CONTACT, Room.BATHROOM, Role.AUTOMATIC)],
    "wet": [*KIT[:4], WATER, KIT[5]],
    "water-only": [WATER],
}
"""With and without heartbeats, a front door, water; a machine that runs by itself proves nothing of
people."""


def rule_of(cause: Cause) -> tuple[str, int]:
    """The rule and the severity that stand for it."""
    return {
        Cause.CONTACT_UNKNOWN: ("elderly.away_long", 4),
        Cause.CONTACT_AWAY: ("elderly.away_long", 4),
        Cause.CEILING_WATER: ("elderly.quiet_dry", 3),
        Cause.CEILING_CALL: ("elderly.quiet_day", 3),
        Cause.CALL: ("elderly.quiet", 3),
        Cause.CEILING: ("elderly.quiet_day", 2),
        Cause.VISIT: ("elderly.quiet", 2),
    }[cause]


def stream() -> tuple[InactivityOperator, list[Scores], list[LogRecord]]:
    """Homes live for some days, then nobody moves any more; what the detector says, as a log."""
    homes = [
        simulate_home(name, seed=5, days=DAYS, sensors=hung, habits=REGULAR, faults=False)
        for name, hung in HUNG.items()
    ]
    layout, sensor, ts, value = joined(homes, zone(SHANGHAI).info)
    goes_on = (layout.kind == Kind.HEARTBEAT) | (layout.role == Role.AUTOMATIC)
    keep = (ts < START_MS + QUIET_FROM * DAY) | goes_on[sensor]
    operator = operator_of(layout)
    operator.feed(sensor[keep], ts[keep], value[keep])
    scores: list[Scores] = []
    records: list[LogRecord] = []
    seq = 0
    for one in operator.advance(START_MS + DAYS * DAY):
        scores.append(one)
        rows = news(operator, one)
        if len(rows):
            seq += 1
            header = PackHeader(DETECTOR, 1, seq, one.at_ms, one.at_ms)
            blob = pack.encode(Pack(header, readings(one, rows, layout.homes)))
            records.append(LogRecord(RecordKind.PACK, one.at_ms, DETECTOR, blob, len(records) + 1))
        records.append(LogRecord(RecordKind.MARK, one.at_ms, "", b"", len(records) + 1))
    return operator, scores, records


def expected(homes: tuple[str, ...], scores: list[Scores]) -> set[tuple[str, str, int, int]]:
    """(home, rule, severity, ms) at which each condition begins to hold. It goes on through times
    in which nothing is known: lost data ends no alert."""
    found: set[tuple[str, str, int, int]] = set()
    on: dict[tuple[str, int, int], bool] = defaultdict(bool)
    for one in scores:
        now = held(one)
        by_rule: dict[tuple[str, int], np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}
        for cause in list(Cause)[1:]:
            name = rule_of(cause)
            by_rule[name] = by_rule.get(name, np.zeros(len(homes), bool)) | now[cause]
        for (rule, severity), holds in by_rule.items():
            for home in range(len(homes)):
                key = rule, severity, home
                if holds[home] and not on[key]:
                    # One change of the alert: it stands at the most severe at once.
                    found -= {(homes[home], rule, severity + 1, one.at_ms)}
                    found.add((homes[home], rule, severity, one.at_ms))
                known = one.state[home] != 0
                ends = at_home(one.state)[home] if rule == "elderly.away_long" else known
                on[key] = bool(holds[home]) or (on[key] and not ends)
    return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    lines = ["device,family,gateway,grid,home,room,role"]
    lines += [f"{home},elderly,{DETECTOR},340199009001001,,," for home in HUNG]
    (folder / "devices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "areas.csv").write_text(
        "code,level,name\n340199,district,D\n340199009,street,S\n340199009001,community,C\n",
        encoding="utf-8",
    )
    (folder / "grids.csv").write_text(
        "code,name,kind,valid_from,valid_to,state,reason\n"
        "340199009001001,G,residential,2000-01-01,,valid,\n",
        encoding="utf-8",
    )
    return load_registry(folder)


def test_the_rules_ring_exactly_when_the_detector_says_so(registry: Registry) -> None:
    operator, scores, records = stream()
    engine = Engine(registry, load_rules(SHIPPED))
    came: set[tuple[str, str, int, int]] = set()
    reasons: set[str] = set()
    for event in engine.step(records).events:
        data = event.data
        rule, severity = data["rule"]["id"], data["severity"]
        rises = event.type.endswith(".raised") or severity < data.get("severity_before", 0)
        if rises and rule.startswith(("elderly.quiet", "elderly.away_long")):
            at = round(datetime.fromisoformat(event.time).timestamp() * 1000)
            reasons.add(data["reason"]["en"])
            came.add((data["device"], rule, severity, at))
    wanted = expected(operator.layout.homes, scores)
    assert {(rule, severity) for _, rule, severity, _ in wanted} == {
        rule_of(cause) for cause in list(Cause)[1:]
    }
    assert came == wanted
    assert {said for said in reasons if "{" in said} == set()
    assert any("nothing has moved for" in said and "19 end within" in said for said in reasons)
    nobody_goes = {"mute", "washing", "water-only"}
    assert not [one for one in came if one[0] in nobody_goes and one[2] == 2]
