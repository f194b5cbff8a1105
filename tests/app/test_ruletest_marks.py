"""Whatever the rules, readings and faults: time marks that a rule test leaves out would change
nothing, and its log, handed over in any pieces, gives the same answer."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine import Engine
from app.runners.ruletest import SETTINGS, Registries, play
from contracts.alerts import NOT_COMPARED, AlertEvent, encode_event
from rules import compile_rules
from rules.testing.document import read_tests

RULES = compile_rules({"zoo.yml": (Path(__file__).parent / "zoo.yml").read_text(encoding="utf-8")})
TEST = """\
start: {start}
devices:
  h1: {{family: firewater, building: "3"}}
  h2: {{family: firewater, building: "3", gateway: gw2}}
  s1: {{family: smoke, building: "3"}}
  s2: {{family: smoke, building: "3", gateway: gw2}}
  gw2: {{family: gateway}}
tests:
  - name: zoo
    seed: {seed}
    interval: {interval}
    series:
{series}
    faults:
{faults}
    until: 7m
    expect: []
"""
PRESSURES = st.lists(
    st.sampled_from(["0.2x3", "0.05x4", "_x6", "0.08", "0.05!bad", "_x30", "0.12-0.01x7", "nan"]),
    min_size=1,
    max_size=4,
).map(" ".join)
BITS = st.lists(st.sampled_from(["0x3", "1x2", "1", "_x9", "0", "1x12"]), max_size=6).map(
    lambda words: " ".join(["0", *words])
)
FAULT = st.sampled_from(
    [
        "drop: gw1 40s..2m",
        "duplicate: gw2",
        "reorder: gw1 within 1500ms",
        "reorder: gw2 within 30s",
        "delay: gw1 1m..2m by 20s",
        "backlog: gw2 1m..3m arrives at 5m",
        "skew: gw2 +10m 1m..",
        "skew: gw1 -10m 2m..3m",
        "reboot: gw1 at 95s",
        "flap: h1 static_pressure 0.05/0.2 1m..4m",
    ]
)


def compared(event: AlertEvent) -> bytes:
    return encode_event(msgspec.structs.replace(event, **dict.fromkeys(NOT_COMPARED, "")))


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_marks_left_out_and_pieces_change_nothing(data: st.DataObject) -> None:
    series = [
        f"      - {{device: {device}, {quantity}: {data.draw(values)}}}"
        for device, quantity, values in (
            ("h1", "static_pressure", PRESSURES),
            ("h2", "static_pressure", PRESSURES),
            ("s1", "fire", BITS),
            ("s2", "fire", BITS),
        )
    ]
    faults = data.draw(st.lists(FAULT, max_size=3, unique=True))
    start = data.draw(
        st.sampled_from(["2026-03-01T08:00:00+08:00", "2026-03-01T21:58:00.250+08:00"])
    )
    text = TEST.format(
        start=start,
        seed=data.draw(st.integers(1, 99)),
        interval=data.draw(st.sampled_from(["3s", "1500ms"])),
        series="\n".join(series),
        faults="\n".join(f"      - {{{one}}}" for one in faults) or "      []",
    )
    cases, findings = read_tests("zoo.test.yml", text)
    assert findings == []
    registry = Registries().of(cases[0])

    sparse = play(cases[0], RULES, registry)
    whole = play(cases[0], RULES, registry, every_mark=True)
    at_once = Engine(registry, RULES, settings=SETTINGS).step(sparse.records)

    told = [compared(event) for event in sparse.events]
    assert [compared(event) for event in whole.events] == told
    assert [one.known_ms for one in whole.came] == [one.known_ms for one in sparse.came]
    assert [compared(event) for event in at_once.events] == told
