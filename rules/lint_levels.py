"""Findings on how long alerts last and how their severity rises and falls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from rules.expr.plan import Truth
from rules.finding import Finding
from rules.ruleset import Rule, RuleSet
from rules.schema import MISSING_PART

Misses = Callable[[Truth, Truth], bool]
"""Whether some values fit the first condition and not the second."""


def level_findings(ruleset: RuleSet, misses: Misses) -> Iterator[Finding]:
    rows: dict[str, list[Rule]] = {}
    for rule in ruleset.rules:
        rows.setdefault(rule.card.name, []).append(rule)
    for name, parts in rows.items():
        for rule, path, problem, mend in _of_rule(parts, misses):
            yield Finding(rule.file, rule.line, f"{name}.{path}", problem, mend)


def _of_rule(rows: list[Rule], misses: Misses) -> Iterator[tuple[Rule, str, str, str]]:
    """rows: of one rule or variant, the least level first."""
    for lower, level in pairwise(row for row in rows if row.part != MISSING_PART):
        if lower.for_ms >= level.for_ms and not misses(lower.when, level.when):
            problem = f"{lower.part} can't be met before {level.part}"
            mend = "put the least severe limit first, or give it a shorter for"
            yield lower, f"levels.{lower.part}.when", problem, mend
    card = rows[0].card
    if card.safety and any(row.part == MISSING_PART for row in rows):
        problem = "silence would ring like the danger itself"
        yield rows[0], "missing", problem, "write a rule of its own with absent"
