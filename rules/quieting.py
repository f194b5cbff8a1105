"""`inhibit`, `shadow` and `budget`: read, and checked over a whole rule set.

They keep alerts from people, so a safety rule has none of them, and no ring of rules may keep
each other back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import yaml

from contracts.rulebook import Inhibition, RuleCard
from contracts.spots import SPOTS
from rules.document import Reader
from rules.durations import duration_text, parse_duration
from rules.finding import Finding, suggest

KEYS = ("inhibit", "shadow", "budget")
BY = re.compile(r"[a-z][a-z0-9_]*\.(?:[a-z][a-z0-9_]*|\*)", re.ASCII)
LONGEST_LINGER_MS = 24 * 3_600_000
"""A proposal: what is still there a day later has nothing to do with it any more."""

BUDGET = re.compile(r"([1-9][0-9]{0,3}) per grid and day", re.ASCII)


def without_telling(meaning: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule judges by: who is told of its alerts doesn't begin them anew."""
    return {key: value for key, value in meaning.items() if key not in KEYS}


class Written(Protocol):
    """What is needed here of a written rule. lines: key -> line."""

    file: str
    path: str
    line: int
    id: str
    safety: bool
    inhibit: tuple[Inhibition, ...]
    lines: dict[str, int]


def read_inhibit(reader: Reader, node: yaml.Node, path: str) -> tuple[Inhibition, ...]:
    found: list[Inhibition] = []
    for at, item in _listed(reader, node, path):
        one = _inhibition(reader, item, at)
        if one is not None and (one.by, one.on) in ((two.by, two.on) for two in found):
            reader.fault(item, at, f"{one.by} on {one.on} is there twice", "remove one")
        elif one is not None:
            found.append(one)
    return tuple(found)


def _listed(reader: Reader, node: yaml.Node, path: str) -> list[tuple[str, yaml.Node]]:
    listed = reader.items(node, path)
    if isinstance(node, yaml.SequenceNode) and not listed:
        reader.fault(node, path, "the list is empty", "write {by: gateway.offline, on: gateway}")
    return listed


def _inhibition(reader: Reader, node: yaml.Node, path: str) -> Inhibition | None:
    found = reader.mapping(node, path)
    reader.known(found, path, ("by", "on", "linger"))
    for word in ("by", "on"):
        if found and word not in found:
            mend = "write {by: gateway.offline, on: gateway}"
            reader.fault(node, f"{path}.{word}", f"{word} is missing", mend)
    if "by" not in found or "on" not in found:
        return None
    by = reader.text(found["by"][1], f"{path}.by")
    on = reader.text(found["on"][1], f"{path}.on")
    spot = next((one for one in SPOTS if one == on), None)
    if by and not BY.fullmatch(by):
        mend = "write the id of a rule, or family.* for all that begin so"
        reader.fault(found["by"][1], f"{path}.by", f"{by!r} names no rule", mend)
        return None
    if spot is None and on:
        reader.fault(found["on"][1], f"{path}.on", f"unknown place {on}", suggest(on, SPOTS))
    linger_ms = 0
    if "linger" in found:
        linger_ms = _linger(reader, found["linger"][1], f"{path}.linger")
    return Inhibition(by=by, on=spot, linger_ms=linger_ms) if by and spot else None


def _linger(reader: Reader, node: yaml.Node, path: str) -> int:
    word = reader.text(node, path)
    span_ms = parse_duration(word) if word else 0
    if word and (span_ms is None or not 1 <= span_ms <= LONGEST_LINGER_MS):
        mend = f"write a duration of at most {duration_text(LONGEST_LINGER_MS)}, as 2m"
        reader.fault(node, path, f"{word!r} is no time to linger", mend)
        return 0
    return span_ms or 0


def read_budget(reader: Reader, node: yaml.Node, path: str) -> int:
    word = " ".join(reader.text(node, path).split())
    found = BUDGET.fullmatch(word)
    if found is None:
        if word:
            mend = "write 2 per grid and day (1 to 9999); for none at all, severity: 4"
            reader.fault(node, path, f"{word!r} is no budget", mend)
        return 0
    return int(found[1])


def findings(rules: Sequence[Written]) -> Iterator[Finding]:
    """Inhibitors that don't exist, and rings of them. rules: all of the set."""
    ids = {rule.id for rule in rules if rule.id}
    for rule in rules:
        for at, one in enumerate(rule.inhibit):
            problem, mend = _fault(rule, one, ids)
            if problem:
                yield _finding(rule, f"inhibit[{at}].by", problem, mend)
    asked: dict[str, tuple[Inhibition, ...]] = {}
    for rule in rules:  # One may stand here in several variants.
        asked[rule.id] = (*asked.get(rule.id, ()), *rule.inhibit)
    edges = {name: inhibitors(name, said, ids) for name, said in asked.items()}
    for rule in rules:
        ring = _ring(rule.id, edges)
        if ring:
            problem = f"rules keep each other back: {' -> '.join(ring)}"
            yield _finding(rule, "inhibit", problem, "break the ring: take one of them out")


def _fault(rule: Written, one: Inhibition, ids: Collection[str]) -> tuple[str, str]:
    if one.by == rule.id:
        return "a rule can't keep itself back", "name another rule"
    if not any(one.names(other) for other in ids if other != rule.id):
        families = {f"{name.split('.')[0]}.*" for name in ids}
        known = families if one.by.endswith(".*") else ids
        return f"no rule {one.by} in this set", suggest(one.by, known)
    return "", ""


def _finding(rule: Written, path: str, problem: str, mend: str) -> Finding:
    line = rule.lines.get("inhibit", rule.line)
    return Finding(rule.file, line, f"{rule.path}.{path}", problem, mend)


def inhibitors(rule: str, asked: Iterable[Inhibition], ids: Collection[str]) -> tuple[str, ...]:
    """The rules that keep a rule back, `family.*` written out; sorted, the rule itself left out."""
    named = {other for one in asked for other in ids if one.names(other)}
    return tuple(sorted(named - {rule}))


def _ring(start: str, edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The way from a rule back to itself, shortest first; [] = there is none. Each ring is told
    once, by the first of its rules in the order of ids."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        for by in edges.get(way[-1], ()):
            if by == start:
                return [*way, start] if start == min(way) else []
            if by not in seen:
                seen.add(by)
                ways.append([*way, by])
    return []


def order_of(cards: Iterable[RuleCard]) -> dict[str, int]:
    """Rule id -> its step: 0 for a rule that nothing keeps back, else one more than the greatest
    of its inhibitors. In this order, what happens at the same time is told: inhibitor first."""
    asked: dict[str, tuple[Inhibition, ...]] = {}
    for card in cards:
        asked[card.id] = (*asked.get(card.id, ()), *card.inhibit)
    edges = {rule: inhibitors(rule, asked[rule], asked) for rule in asked}
    step: dict[str, int] = {}
    waiting = dict(edges)
    while waiting:
        ready = [rule for rule, by in waiting.items() if all(one in step for one in by)]
        if not ready:
            raise ValueError(f"a ring of inhibitors: {', '.join(sorted(waiting))}")
        found = {rule: 1 + max((step[one] for one in edges[rule]), default=-1) for rule in ready}
        step.update(found)
        for rule in ready:
            del waiting[rule]
    return step
