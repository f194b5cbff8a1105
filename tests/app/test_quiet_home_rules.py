"""One truth: the detector's own levels and the shipped rules on its readings say the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.content import load_rules
from app.engine import Engine
from contracts import pack
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from contracts.registry import Registry
from detectors.inactivity.alarms import Cause
from detectors.inactivity.layout import Kind, Role, Room
from detectors.inactivity.operator import InactivityOperator, Scores
from detectors.inactivity.telling import news, readings
from detectors.training.homes import START_MS, Sensor, joined, simulate_home
from ingest.registry import load as load_registry
from rules.zones import zone
from tests.app.quiet_alerts import expected, risen, rule_of
from tests.detectors.inactivity.lives import DAY, KIT, REGULAR, SHANGHAI, operator_of

SHIPPED = Path(__file__).parents[2] / "deploy" / "rules"
DETECTOR = "detector-inactivity"
DAYS, QUIET_FROM = 14, 11
OURS = {"elderly.quiet", "elderly.quiet_day", "elderly.quiet_dry", "elderly.away_long"}

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
    events = [msgspec.to_builtins(event) for event in engine.step(records).events]
    came = risen(events)
    reasons = {event["data"]["reason"]["en"] for event in events}
    wanted = expected(operator.layout.homes, scores)
    assert {(rule, severity) for _, rule, severity, _ in wanted} == {
        rule_of(cause) for cause in list(Cause)[1:]
    }
    assert came == wanted
    assert {said for said in reasons if "{" in said} == set()
    said_zh = [e["data"]["reason"]["zh"] for e in events if e["data"]["rule"]["id"] in OURS]
    # One SMS in Chinese, and no word of another language in it.
    assert max(map(len, said_zh)) <= 70
    assert not [said for said in said_zh if " min" in said or "无数值" in said]
    assert [said for said in said_zh if "小时" in said and "分钟" in said]
    assert any(
        "nothing has moved for" in said and "19 of 20 silences end within" in said
        for said in reasons
    )
    nobody_goes = {"mute", "washing", "water-only"}
    assert not [one for one in came if one[0] in nobody_goes and one[2] == 2]
