"""docs/rule-tests.md tells all of the notation, and the tour in docs/rules.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from rules.testing.checks import CHANGES
from rules.testing.document import KEYS, TOP, read_tests
from rules.testing.faults import FORMS, parse_fault
from rules.testing.notation import MARKS, parse_series

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "rule-tests.md").read_text(encoding="utf-8")
TOUR = re.search(
    r"## Testing a rule\n.*?\n\n(    tests:\n.*?)\n\n`", (DOCS / "rules.md").read_text(), re.S
)


def test_every_key_is_explained() -> None:
    for key in (*KEYS, *TOP, *FORMS, *MARKS):
        assert re.search(rf"`{key}[`:]", PAGE), key
    for change in CHANGES:
        assert f"`{change}`" in PAGE or change.startswith("rule_"), change


def test_examples_can_be_read() -> None:
    for kind, example in re.findall(r"^\| `([a-z]+): ([^`]+)`", PAGE, re.M):
        parse_fault(kind, example, 1)
    section = PAGE.split("## Series")[1].split("## Faults")[0]
    for cell in re.findall(r"^\| (`.*?) \|", section, re.M):
        for written in re.findall(r"`([^`]+)`", cell):
            assert parse_series(f"0.1 {written}", "static_pressure")


def test_the_tour_is_a_test_file() -> None:
    assert TOUR is not None
    cases, findings = read_tests("tour.test.yml", dedent(TOUR[1]))
    assert findings == []
    assert [case.name for case in cases] == ["a slow leak raises after a minute"]
