"""Findings on what people read of a rule: texts that are missing or stay empty."""

from __future__ import annotations

from collections.abc import Iterator

from rules.expr.composed import Debounced, Sequence
from rules.expr.limits import limits_of
from rules.expr.plan import Reading, Truth, readings_of
from rules.ruleset import Rule
from rules.schema import placeholders_of

_Said = Iterator[tuple[str, str, str]]


def text_findings(rule: Rule) -> _Said:
    """(path, problem, mend)."""
    card = rule.card
    for key, text in (("runbook", card.runbook), ("reason", card.reason)):
        if not (text.zh and text.en):
            yield key, f"{key} is missing", f"add {key}: {{zh: ..., en: ...}}"
    if not card.standard:
        yield "standard", "no source for the threshold", "name the clause, or write proposal"
    if not card.id.startswith(f"{card.family}."):
        yield "id", f"the id doesn't begin with its family {card.family}", "rename it"


def limit_findings(rule: Rule) -> _Said:
    """`{limit}` in a text of a machine row that has nothing to fill it with."""
    card = rule.card
    texts = (("title", card.title), ("reason", card.reason), ("runbook", card.runbook))
    asking = [key for key, text in texts if "limit" in placeholders_of(text)]
    if not asking or rule.group is not None or rule.mode == "silence":
        return
    known = {limited.name for limited in _limited(rule)}
    for name in dict.fromkeys(one.name for one in _deciding(rule.when)):
        if name not in known:
            problem = f"{{limit}} stays empty when {name} decides: no limit is of it alone"
            yield asking[0], problem, "write the limit in words, or compare it alone"


def _limited(rule: Rule) -> Iterator[Reading]:
    limits = limits_of(rule.when)
    return (one for one in _deciding(rule.when) if one.quantity in limits)


def _deciding(plan: Truth) -> Iterator[Reading]:
    """Readings that an alert may show beside its limit."""
    for one in readings_of(plan):
        if one.derived is None or not one.derived.boolean:
            yield one
        elif isinstance(one.derived, Sequence | Debounced):
            yield from _deciding(one.derived.conditions[-1])
