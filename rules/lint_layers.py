"""Findings on overrides: what makes a safety rule less, and what no device is meant by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from contracts.registry import Registry
from contracts.rulebook import Where
from rules.expr.plan import Negated, Truth
from rules.finding import Finding, suggest
from rules.ruleset import Overridden, Rule, RuleSet
from rules.schema import MISSING_PART

Misses = Callable[[Truth, Truth], bool]
"""Whether some values fit the first condition and not the second."""


def weakened(ruleset: RuleSet, misses: Misses) -> Iterator[Finding]:
    """Safety rules that an override makes less without saying why."""
    for one in ruleset.overridden:
        card = one.before[0].card
        if not card.safety or one.explained:
            continue
        for path, problem in _less(one, misses):
            text = f"{problem}: a safety rule that is made less needs why"
            at = f"{card.id}.{path}"
            yield Finding(one.file, one.line, at, text, "add why: {zh: ..., en: ...}")


def _less(one: Overridden, misses: Misses) -> Iterator[tuple[str, str]]:
    now = {row.part: row for row in one.after}
    for before in one.before:
        after = now.get(before.part)
        if after is None:
            path = "missing" if before.part == MISSING_PART else "levels"
            yield path, f"nothing asks for {before.part} any more"
            continue
        if after.for_ms > before.for_ms:
            yield "for", "waits longer"
        if _severity(after) > _severity(before):
            yield "severity", "is less severe"
        if misses(before.when, after.when):
            yield "when", "misses what the rule would raise"
        yield from _ends_sooner(before, after, misses)
        if before.missing_ms and not after.missing_ms:
            yield "missing", "doesn't say any more that data is missing"
        elif after.missing_ms > before.missing_ms:
            yield "missing", "says later that data is missing"


def _ends_sooner(before: Rule, after: Rule, misses: Misses) -> Iterator[tuple[str, str]]:
    """A latched alert ends by an operator's reset, whatever these say."""
    if before.card.latched and after.card.latched:
        return
    implied = before.clear is None and after.clear is None  # Said of when already.
    if not implied and misses(_ending(after), _ending(before)):
        yield "clear", "ends where the rule would stand"
    if after.clear_for_ms < before.clear_for_ms:
        yield "clear_for", "ends sooner"


def _ending(rule: Rule) -> Truth:
    return Negated(rule.when) if rule.clear is None else rule.clear


def _severity(row: Rule) -> int:
    return row.severity or row.card.severity


def unmet(ruleset: RuleSet, registry: Registry) -> Iterator[Finding]:
    """Overrides for devices that a registry doesn't have."""
    codes = [grid.code for grid in registry.grids]
    columns = registry.devices.attributes
    told = set()
    for rule in ruleset.rules:
        for where in rule.card.where:
            for problem, mend in _unmet(where, codes, {n: c.values for n, c in columns.items()}):
                finding = Finding(rule.file, rule.line, f"{rule.id}.where", problem, mend)
                if finding not in told:
                    told.add(finding)
                    yield finding


def _unmet(
    where: Where, codes: list[str], known: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    for prefix in where.grids:
        if not any(code.startswith(prefix) for code in codes):
            yield f"no grid begins with {prefix}", "look at the code"
    for name, values in where.attributes:
        if name not in known:
            yield f"no device has the attribute {name}", suggest(name, known)
        for value in values:
            if name in known and value not in known[name]:
                yield f"no device has {name} {value}", suggest(value, known[name])
