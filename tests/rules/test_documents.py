"""docs/rules.md tells all of the language, and its example does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.rulebook import PLACEHOLDERS
from rules import compile_rules
from rules.expr.check import FUNCTIONS
from rules.lint import lint
from rules.schema import CLASSES, KEYS
from tests.rules.naive import Row
from tests.rules.scene import Device, Whole, admitted, directory_of, row, short

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLE, SCHEDULES, *MORE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_word_of_the_language_is_explained() -> None:
    for key in KEYS:
        assert f"| `{key}` |" in PAGE
    for word in (*FUNCTIONS, *CLASSES):
        assert word in PAGE
    for name in PLACEHOLDERS:
        assert f"{{{name}}}" in PAGE


@pytest.mark.parametrize("text", MORE)
def test_every_other_example_is_a_rule(text: str) -> None:
    assert compile_rules({"example.yml": f"rules:\n{text}"}).cards


def test_the_example_rings_as_described() -> None:
    rules = compile_rules({"example.yml": EXAMPLE})
    assert lint(rules) == []
    where = {"point": "worst", "building_class": "highrise_residential"}
    said = [(0, 0.12), (10, 0.05), (20, 0.06), (75, 0.075), (90, 0.10), (100, 0.07), (110, 0.10)]
    records: list[Row | str] = [row(at_s, value, "static_pressure") for at_s, value in said]
    records += [row(at_s, 0.11, "static_pressure") for at_s in range(120, 260, 10)]

    told = Whole(rules, directory_of([Device("firewater", 0, where)])).run(
        admitted([*records, "mark"], [0])
    )

    assert short(told) == [(70, "raised"), (230, "cleared")]


def test_the_schedules_can_be_read() -> None:
    assert compile_rules({"example.yml": SCHEDULES}).rules == ()
