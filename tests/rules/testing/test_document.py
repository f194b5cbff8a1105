"""Test files that are refused: each mistake, its line, what is said and the mend."""

from __future__ import annotations

import pytest

from rules.testing.document import DEFAULT_GATEWAY, read_tests

GOOD = """\
devices:
  h1: {family: firewater, point: worst}
tests:
  - name: a leak
    rule: firewater.pressure_low
    series:
      - static_pressure: 0.12x5 0.05x10
    faults:
      - {drop: gw1 1m..2m}
    commands:
      - {at: 2m, acknowledge: firewater.pressure_low}
    expect:
      - {at: 2m, is: raised, severity: 2}
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_defaults() -> None:
    (case,), findings = read_tests("a.test.yml", GOOD)
    assert findings == []
    assert (case.name, case.line, case.interval_ms, case.until_ms) == ("a leak", 4, 10_000, 160_000)
    assert case.devices["h1"].gateway == DEFAULT_GATEWAY
    assert case.series[0].device == "h1"
    assert case.expect[0].rule == "firewater.pressure_low"
    assert case.expect[0].checks == {"severity": "2"}


@pytest.mark.parametrize(
    ("text", "line", "problem", "mend"),
    [
        pytest.param("a: [", 1, "no YAML", "", id="yaml"),
        pytest.param("", 1, "the file is empty", "tests:", id="empty"),
        pytest.param("test: []", 1, "unknown key test", "did you mean tests?", id="top"),
        pytest.param(changed("series:", "serie:"), 6, "unknown key serie", "series", id="key"),
        pytest.param(changed("expect:", "expects:"), 4, "expect is missing", "[]", id="no-expect"),
        pytest.param(changed("static_pressure", "static_presure"), 7,
                     "unknown key static_presure", "static_pressure", id="quantity"),
        pytest.param(changed("firewater, ", "smoke, "), 7, "smoke devices have no static_pressure",
                     "firewater", id="family-quantity"),
        pytest.param(changed("{family: firewater", "{familie: firewater"), 2, "family is missing",
                     "family", id="family"),
        pytest.param(changed("0.05x10", "0.05*10"), 7, "can't read '0.05*10'", "0.12x5",
                     id="series"),
        pytest.param(changed("gw1 1m..2m", "gw2 1m..2m"), 9, "no device gw2", "gw1", id="who"),
        pytest.param(changed("1m..2m", "2m..1m"), 9, "no span of time", "", id="span"),
        pytest.param(changed("drop: gw1 1m..2m", "skew: gw1 5m"), 9, "can't read 'gw1 5m' as skew",
                     "skew: gw1 +5m", id="fault-form"),
        pytest.param(changed("drop:", "dorp:"), 9, "unknown key dorp", "drop", id="fault"),
        pytest.param(changed("is: raised", "is: rised"), 13, "'rised' is no change", "raised",
                     id="change"),
        pytest.param(changed("severity: 2}", "severity: high}"), 13, "'high' doesn't fit", "number",
                     id="check-value"),
        pytest.param(changed("severity: 2}", "severty: 2}"), 13, "unknown key severty", "severity",
                     id="check"),
        pytest.param(changed("at: 2m, is", "at: 90, is"), 13, "'90' is no time", "90s", id="time"),
        pytest.param(changed("at: 2m, is", "is"), 13, "at is missing", "at", id="no-time"),
        pytest.param(changed("    series:", "    until: 1m\n    series:"), 6,
                     "the test goes on after it", "later", id="until"),
        pytest.param(GOOD + GOOD.split("tests:\n")[1], 14, "a test of the same name", "rename",
                     id="same-name"),
        pytest.param(changed("point: worst", "grid: 12"), 2, "'12' is no grid", "15 digits",
                     id="grid"),
        pytest.param("start: noon\n" + GOOD, 1, "'noon' is no time", "+08:00", id="start"),
    ],
)  # fmt: skip
def test_mistake(text: str, line: int, problem: str, mend: str) -> None:
    _, found = read_tests("a.test.yml", text)
    assert any(f.line == line and problem in f.problem and mend in f.mend for f in found), found
