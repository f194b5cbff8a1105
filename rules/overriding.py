"""From a rule and the overrides that name it to the machine rows of all its variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import yaml

from contracts.registry import CodeScheme
from contracts.rulebook import Text
from rules.document import Reader
from rules.finding import Finding, suggest
from rules.layers import Layers
from rules.overrides import LEVELS, Value, WrittenOverride, level_names, merged
from rules.ruleset import Overridden, Rule
from rules.schema import WrittenRule, read_rule
from rules.variants import MOST_VARIANTS, TooMany, Variant, variants_of

Compile = Callable[[Reader, WrittenRule], tuple[Rule, ...]]


@dataclass(slots=True)
class Made:
    """What the overrides of one rule come to. written: the variants that set who is told."""

    rows: list[Rule]
    changes: list[Overridden]
    written: list[WrittenRule]
    findings: list[Finding]


def sorted_by_rule(
    overrides: Sequence[WrittenOverride], rules: Mapping[str, WrittenRule], layers: Layers
) -> tuple[dict[str, list[WrittenOverride]], list[Finding]]:
    """Overrides by the rule that they name, lower layers first; and those that name none.

    overrides: in their order, lower layers first.
    """
    found: dict[str, list[WrittenOverride]] = {}
    findings = []
    for one in overrides:
        rule = rules.get(one.rule)
        if rule is None:
            if one.rule:
                findings.append(_fault(one, "rule", f"no rule {one.rule}", _near(one.rule, rules)))
        elif layers.rank(rule.file) > layers.rank(one.file):
            problem = f"{one.rule} is defined in a layer above, {rule.file}:{rule.line}"
            findings.append(_fault(one, "rule", problem, "change it there"))
        else:
            findings += _refused(one, rule)
            found.setdefault(one.rule, []).append(one)
    return found, findings


def _near(rule: str, rules: Mapping[str, WrittenRule]) -> str:
    return suggest(rule, rules) or "name a rule of this layer, or of one below"


def _refused(one: WrittenOverride, rule: WrittenRule) -> Iterator[Finding]:
    names = level_names(rule.node) if rule.node is not None else []
    for value in one.values:
        if len(value.path) > 1 and value.path[1] not in names:
            problem = f"{rule.id} has no level {value.path[1]}"
            mend = suggest(value.path[1], names) if names else "it has no levels: set when"
            yield _fault(one, f"set.{value.key}", problem, mend, value.line)
    if rule.safety and one.enabled is False:
        yield _fault(one, "set.enabled", "a safety rule can't be switched off", "remove it")
    if one.where is None:
        return
    for name, values in one.where.attributes:
        asked = rule.selectors.get(name, values)
        if not set(asked) & set(values):
            problem = f"fits no device of {rule.id}: its on asks for {name} {' or '.join(asked)}"
            yield _fault(one, "where", problem, f"name one of them, or leave {name} out")
    if rule.group is None:
        return
    if one.where.attributes or rule.group == "gateway":
        problem = f"a rule over a {rule.group} changes for whole groups only"
        mend = "leave where out" if rule.group == "gateway" else "name grids only"
        yield _fault(one, "where", problem, mend)
    longest = CodeScheme().lengths[2]
    if rule.group == "community" and any(len(code) > longest for code in one.where.grids):
        mend = f"write at most {longest} digits"
        yield _fault(one, "where", "would tear a community in two", mend)


def _fault(
    one: WrittenOverride, key: str, problem: str, mend: str, line: int | None = None
) -> Finding:
    at = one.lines.get(key.partition(".")[0], one.line) if line is None else line
    return Finding(one.file, at, f"{one.path}.{key}", problem, mend)


def overridden(
    rule: WrittenRule,
    rows: tuple[Rule, ...],
    overrides: Sequence[WrittenOverride],
    layers: Layers,
    compiled: Compile,
) -> Made:
    """rows: of the rule as it is written. The rule and its overrides have no fault of their own."""
    made = Made([], [], [], [])
    try:
        variants = variants_of(overrides)
    except TooMany:
        problem = f"the overrides of {rule.id} make more than {MOST_VARIANTS} variants"
        mend = "let one area hold the other, or ask for fewer attributes"
        made.findings.append(_fault(overrides[-1], "where", problem, mend))
        return made
    for variant in variants:
        found = _rows_of(rule, rows, variant, compiled, made)
        made.rows += [_placed(row, variant, layers) for row in found]
    made.findings = list(dict.fromkeys(made.findings))
    return made


def _rows_of(
    rule: WrittenRule,
    rows: tuple[Rule, ...],
    variant: Variant,
    compiled: Compile,
    made: Made,
) -> tuple[Rule, ...]:
    """The machine rows of one variant; none when it is switched off, or findings say why."""
    if not is_enabled(variant):
        return ()
    values = [value for one in variant.overrides for value in one.values]
    if not values or rule.node is None:
        return rows
    scratch = Reader(rule.file)
    written = read_rule(scratch, merged(rule.node, values), rule.path)
    found = compiled(scratch, written)
    last = variant.overrides[-1]
    if rule.safety and rule.latched and not written.latched:
        made.findings.append(_unlatching(variant))
    made.findings += [_blamed(fault, rule, variant) for fault in scratch.findings]
    if any(value.key == "inhibit" for value in values):
        made.written.append(dataclasses.replace(written, file=last.file, path=f"{last.path}.set"))
    if found and rule.safety:
        made.changes += _steps(rule, rule.node, rows, variant, compiled)
    return found


def _steps(
    rule: WrittenRule,
    node: yaml.MappingNode,
    rows: tuple[Rule, ...],
    variant: Variant,
    compiled: Compile,
) -> Iterator[Overridden]:
    """Each override of the variant beside what it found there: a street's change isn't explained
    by what the district said of its own. Some make sense together only, and are one step then."""
    before = rows
    values: list[Value] = []
    together: list[WrittenOverride] = []
    for one in variant.overrides:
        if not one.values:
            continue
        values += one.values
        together.append(one)
        scratch = Reader(rule.file)
        after = compiled(scratch, read_rule(scratch, merged(node, values), rule.path))
        if not after or scratch.findings:
            continue
        silent = [some for some in together if not some.why.zh]
        blamed = silent[-1] if silent else one
        yield Overridden(before, after, blamed.file, blamed.line, explained=not silent)
        before, together = after, []


def _unlatching(variant: Variant) -> Finding:
    """Told of the override that counts: the last one that says so."""
    said = [(one, v) for one in variant.overrides for v in one.values if v.key == "latched"]
    one, value = said[-1]
    problem = "a safety rule that is latched stays so"
    return _fault(one, "set.latched", problem, "remove it", value.line)


def is_enabled(variant: Variant) -> bool:
    said = [one.enabled for one in variant.overrides if one.enabled is not None]
    return said[-1] if said else True


def _blamed(fault: Finding, rule: WrittenRule, variant: Variant) -> Finding:
    """A fault of the rule as it becomes, told of the override that made it."""
    rest = fault.path.removeprefix(f"{rule.path}.")
    for one in reversed(variant.overrides):
        for value in reversed(one.values):
            if _is_at(rest, value, rule):
                path = f"{one.path}.set.{value.key}"
                return Finding(one.file, fault.line, path, fault.problem, fault.mend)
    last = variant.overrides[-1]
    problem = f"with it, {rule.id} is wrong: {rest}: {fault.problem}"
    return Finding(last.file, last.line, f"{last.path}.set", problem, fault.mend)


def _is_at(rest: str, value: Value, rule: WrittenRule) -> bool:
    """Whether a path inside the rule lies at or under a value."""
    at = value.path[0]
    if len(value.path) > 1:
        names = level_names(rule.node) if rule.node is not None else []
        at = f"{LEVELS}[{names.index(value.path[1])}].{value.path[2]}"
    return rest == at or rest.startswith((f"{at}.", f"{at}["))


def _placed(row: Rule, variant: Variant, layers: Layers) -> Rule:
    last = variant.overrides[-1] if variant.overrides else None
    card = msgspec.structs.replace(
        row.card,
        variant=variant.name,
        where=variant.where,
        beside=variant.beside,
        layer="" if last is None else layers.name(last.file),
        source="" if last is None else f"{last.file}:{last.line}",
        why=Text() if last is None else last.why,  # Of its source, not of a layer below.
    )
    if last is None:
        return dataclasses.replace(row, card=card)
    return dataclasses.replace(row, card=card, file=last.file, line=last.line)
