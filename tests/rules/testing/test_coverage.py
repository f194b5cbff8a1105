"""Which ways a rule has, and which of them count as gone."""

from __future__ import annotations

from typing import Any

from rules.testing.coverage import cover
from rules.testing.index import written_rules
from rules.testing.judge import Came

TEXT = """\
rules:
  - {id: a.levels, on: {family: efire}, missing: raise after 5m, levels: [
      {name: warn, severity: 3, when: arc == 1}, {name: alarm, severity: 2, when: arc == 2}]}
  - {id: a.held, on: {family: efire}, when: arc == 1, severity: 2, for: 10s, latched: true,
     missing: unknown after 5m, inhibit: [{by: a.levels, on: grid}], flapping: {raises: 3}}
  - {id: a.none, on: {family: efire}, when: arc == 1, severity: 2}
"""


def came(rule: str, change: str, **said: Any) -> tuple[str, Came]:
    sample = {"decided": change, "quantity": "arc", "value": 1.0, "unit": "1"}
    data = {
        "severity": 2,
        "samples": [sample],
        "change": change,
        "delivery": {"state": "deliver"},
    } | said
    return f"{rule} {change}", Came(rule, "e1", change, 0, 0, data)


def test_ways_and_what_goes_them() -> None:
    found = cover(
        written_rules({"a.yml": TEXT}),
        [
            came("a.levels", "raised", severity=3),
            came("a.levels", "cleared"),
            came("a.held", "raised", delivery={"state": "inhibited"}),
            came("a.held", "latched"),
        ],
        {"a.held": {"for not reached": ["short"]}},
    )
    gone = {rule: {b.name: bool(b.tests) for b in ways} for rule, ways in found.branches.items()}
    assert gone == {
        "a.levels": {
            "level 3": True,
            "level 2": False,
            "cleared": True,
            "raised by silence": False,
        },
        "a.held": {
            "raised": True,
            "latched": True,
            "unknown": False,
            "inhibited": True,
            "flapping": False,
            "for not reached": True,
        },
        "a.none": {"raised": False, "cleared": False},
    }
    assert found.untested() == ["a.none"]
    assert (found.covered, found.total) == (6, 12)


def test_a_raise_without_a_reading_is_one_by_silence() -> None:
    said = [came("a.levels", "raised", samples=[])]
    found = cover(written_rules({"a.yml": TEXT}), said, {})
    assert [b.name for b in found.branches["a.levels"] if b.tests] == [
        "level 2",
        "raised by silence",
    ]
