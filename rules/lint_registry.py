"""Findings on what rules ask of a registry: attributes, values and numbers that it hasn't got."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches

import numpy as np

from contracts.directory import DeviceDirectory
from contracts.registry import Registry
from rules.expr.attributes import amount
from rules.expr.plan import AttributeIs, AttributeNumber, attributes_of
from rules.finding import Finding, suggest
from rules.members import LIVE, NOT_WATCHED, Members
from rules.ruleset import Rule, RuleSet

_Said = Iterator[tuple[str, str, str]]
_EXAMPLES = 3


KNOWN = (
    "building",
    "building_class",
    "floor",
    "grid",
    "hydrant",
    "point",
    "rated_current",
    "riser",
    "unit",
)
"""Attributes that need no registry to be known: places, and what the shipped rules ask for."""

_NEAR = 0.75


def misspelt(ruleset: RuleSet) -> Iterator[Finding]:
    """Attributes that look like one that is known, or that more rules ask for. Who asks for a
    misspelt one is about nobody, and nothing else says so without a registry."""
    asked = {(rule.id, path, name): rule for rule in ruleset.rules for path, name in _asked(rule)}
    often = Counter(name for _, _, name in asked)
    for (rule_id, path, name), rule in asked.items():
        at = f"{rule_id}.{path}"
        if path == "on.grid":
            mend = "write the rule for all, and overrides with where: {grid: ...}"
            yield Finding(rule.file, rule.line, at, "on selects by attributes, grid is none", mend)
        others = {*KNOWN, *(one for one in often if often[one] > often[name])}
        if name in KNOWN or others & {name}:
            continue
        close = get_close_matches(name, sorted(others), n=1, cutoff=_NEAR)
        if close:
            problem = f"an attribute {name} that is known of nowhere else"
            yield Finding(rule.file, rule.line, at, problem, f"did you mean {close[0]}?")


def _asked(rule: Rule) -> Iterator[tuple[str, str]]:
    """(path, attribute)."""
    yield from ((f"on.{name}", name) for name, _ in rule.selectors)
    for where in rule.card.where:
        yield from ((f"where.{name}", name) for name, _ in where.attributes)
    plans = (rule.when,) if rule.clear is None else (rule.when, rule.clear)
    yield from (("when", one.attribute) for plan in plans for one in attributes_of(plan))


def selection_findings(rule: Rule, attributes: Mapping[str, Set[str]]) -> _Said:
    """(path, problem, mend) of `on`. attributes: name -> values of the registry."""
    for name, values in rule.selectors:
        yield from _unknown(f"on.{name}", name, values, attributes)


def attribute_findings(rule: Rule, attributes: Mapping[str, Set[str]]) -> _Said:
    """The same of conditions."""
    clear = () if rule.clear is None else attributes_of(rule.clear)
    asked = [("when", one) for one in attributes_of(rule.when)]
    for path, one in [*asked, *(("clear", one) for one in clear)]:
        if isinstance(one, AttributeIs):
            yield from _unknown(path, one.attribute, one.choices, attributes)
        elif one.attribute in attributes:
            yield from _unreadable(path, one, attributes[one.attribute])
        else:
            yield from _unknown(path, one.attribute, (), attributes)


def _unknown(
    path: str, name: str, values: tuple[str, ...], attributes: Mapping[str, Set[str]]
) -> _Said:
    if name not in attributes:
        yield path, f"no device has the attribute {name}", suggest(name, attributes)
        return
    for value in values:
        if value not in attributes[name]:
            yield path, f"no device has {name} {value}", suggest(value, attributes[name])


def _unreadable(path: str, plan: AttributeNumber, values: Set[str]) -> _Said:
    """A text that is no amount is a device about which the rule never says anything."""
    wrong = sorted(value for value in values if value and math.isnan(amount(value, plan)))
    if wrong:
        few = ", ".join(repr(value) for value in wrong[:_EXAMPLES])
        more = f" and {len(wrong) - _EXAMPLES} more" if len(wrong) > _EXAMPLES else ""
        unit = "a number" if plan.written == "1" else f"a number of {plan.written}"
        problem = f"{plan.attribute} is no {unit[2:]} where the registry says {few}{more}"
        yield path, problem, f"write {unit} there, with or without the unit"


def valueless(ruleset: RuleSet, registry: Registry) -> Iterator[Finding]:
    """Devices that a rule watches and never judges: they lack the number that it asks for."""
    asking = [(n, rule, plan) for n, rule in enumerate(ruleset.rules) for plan in _numbers(rule)]
    if not asking:
        return
    members = Members(ruleset, DeviceDirectory(registry))
    said: set[tuple[str, str]] = set()
    for number, rule, plan in asking:
        column = registry.devices.attributes.get(plan.attribute)
        if column is None or (rule.card.name, plan.attribute) in said:
            continue  # That no device has it is said elsewhere.
        said.add((rule.card.name, plan.attribute))
        rows = members.rows(members.family_of(number))
        watched = rows[members.slots(LIVE, number)[: len(rows)] != NOT_WATCHED]
        without = int((column.codes[watched] < 0).sum())
        if without:
            problem = f"{without} of the {len(watched)} devices that it watches have no "
            problem += f"{plan.attribute}: it says nothing of them"
            mend = "write it into the registry, or select in on: those that have it"
            yield Finding(rule.file, rule.line, f"{rule.id}.when", problem, mend)
        said_so = np.array([*(amount(value, plan) for value in column.values), math.nan])
        zero = int((said_so[column.codes[watched]] == 0).sum())
        if zero and plan.unit != "degC":
            problem = (
                f"{zero} of the {len(watched)} devices that it watches have {plan.attribute} 0"
            )
            mend = "leave it empty where it isn't known: 0 is a limit like any other"
            yield Finding(rule.file, rule.line, f"{rule.id}.when", problem, mend)


def _numbers(rule: Rule) -> tuple[AttributeNumber, ...]:
    plans = (rule.when,) if rule.clear is None else (rule.when, rule.clear)
    found = [one for plan in plans for one in attributes_of(plan)]
    return tuple(dict.fromkeys(one for one in found if isinstance(one, AttributeNumber)))
