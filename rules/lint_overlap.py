"""Findings on pairs of rules: two that say the same of the same devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from rules.expr.plan import Truth, attributes_of
from rules.finding import Finding
from rules.ruleset import Rule, RuleSet

Misses = Callable[[Truth, Truth], bool]


def overlaps(ruleset: RuleSet, misses: Misses) -> Iterator[Finding]:
    """Rules of the same family, severity, selection and single quantity of which one rings
    whenever the other does. Rules on trial, in groups or with levels aren't compared."""
    alike: dict[tuple[object, ...], list[Rule]] = {}
    for rule in ruleset.rules:
        plain = not (rule.part or rule.group or rule.card.shadow or rule.card.variant)
        if plain and len(rule.quantities) == 1 and not attributes_of(rule.when):
            card = rule.card
            key = (card.family, card.severity, card.safety, rule.selectors, rule.quantities)
            alike.setdefault(key, []).append(rule)
    for rules in alike.values():
        for first, second in combinations(rules, 2):
            if _waits_apart(first, second):
                continue
            wider, narrower = (
                not misses(second.when, first.when),
                not misses(first.when, second.when),
            )
            if wider and narrower:
                yield _said(second, f"asks the same as {first.id}", "take one of them out")
            elif wider:
                yield _said(second, f"never rings without {first.id}", _MEND)
            elif narrower:
                yield _said(first, f"never rings without {second.id}", _MEND)


_MEND = "write one rule with levels, or give them different severities"


def _waits_apart(first: Rule, second: Rule) -> bool:
    """A slow rule with a low limit beside a quick one with a high limit makes sense."""
    return first.for_ms != second.for_ms


def _said(rule: Rule, problem: str, mend: str) -> Finding:
    return Finding(rule.file, rule.line, f"{rule.id}.when", problem, mend)
