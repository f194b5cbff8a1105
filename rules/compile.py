"""Rule files to a `RuleSet`: everything that would make a rule wrong or unsafe is refused here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from contracts.groups import KINDS
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.rulebook import PLACEHOLDERS
from rules import lasting, quieting
from rules.composing import check_composed, composed, sequence_of, spelt_out
from rules.document import Reader
from rules.entries import MAX_DERIVED
from rules.expr.check import checked
from rules.expr.plan import (
    AttributeIs,
    Both,
    Compared,
    OneOf,
    Plan,
    Silent,
    Truth,
    all_of,
    attributes_of,
    bases_of,
    readings_of,
    silences_of,
)
from rules.expr.syntax import ExpressionError
from rules.finding import Finding, RulesInvalid
from rules.group.check import faults_of, is_grouped
from rules.layers import Extends, Layers, arranged
from rules.named import Named, gathered
from rules.overriding import overridden, sorted_by_rule
from rules.rows import Question, attribute_parts, rows_of
from rules.ruleset import Overridden, Rule, RuleSet
from rules.schema import RESTRICTING, WrittenFile, WrittenRule, placeholders_of, read_file

MAX_RULES = 4_096
MAX_ROWS = 32_000
"""Machine rows; their numbers are int16."""


def compile_rules(files: Mapping[str, str]) -> RuleSet:
    """File name -> text becomes a rule set. Raises `RulesInvalid` with every finding.

    >>> compile_rules({"none.yml": "rules: []"}).cards
    ()
    """
    findings: list[Finding] = []
    rules: dict[str, tuple[Rule, ...]] = {}
    sources: dict[str, WrittenRule] = {}
    documents, layers = read_layers(files)
    findings.extend(layer_findings(layers))
    named = gathered(documents)
    all_written = [written for _, document in documents for written in document.rules]
    for reader, document in documents:
        for written in document.rules:
            first = sources.setdefault(written.id, written)
            if first is not written and written.id:
                problem = f"{written.id} is already defined in {first.file}:{first.line}"
                below = layers.rank(first.file) < layers.rank(written.file)
                mend = "change it with overrides" if below else "rename one"
                reader.fault(_line(written, "id"), f"{written.path}.id", problem, mend)
            rows = _compiled(reader, written, named)
            if rows:
                rules.setdefault(written.id, rows)
        findings.extend(reader.findings)
    overrides = [one for _, document in documents for one in document.overrides]
    by_rule, refused = sorted_by_rule(overrides, sources, layers)
    findings.extend(refused)
    changes: list[Overridden] = []
    for name, changing in by_rule.items() if not findings else ():
        compiled = partial(_compiled, named=named)
        made = overridden(sources[name], rules[name], changing, layers, compiled)
        rules[name] = tuple(made.rows)
        changes += made.changes
        all_written += made.written
        findings.extend(made.findings)
    findings.extend(quieting.findings(all_written))
    if len(rules) > MAX_RULES or sum(map(len, rules.values())) > MAX_ROWS:
        problem = f"more than {MAX_RULES} rules, or {MAX_ROWS} with their levels and variants"
        findings.append(Finding(sorted(files)[0], 0, "rules", problem))
    if findings:
        raise RulesInvalid(findings)
    ruleset = RuleSet.of((row for rows in rules.values() for row in rows), changes)
    if len(ruleset.derived) > MAX_DERIVED:
        problem = f"more than {MAX_DERIVED} different windows, ages and the like"
        raise RulesInvalid([Finding(sorted(files)[0], 0, "rules", problem)])
    return ruleset


def read_layers(files: Mapping[str, str]) -> tuple[list[tuple[Reader, WrittenFile]], Layers]:
    """Every file as written, lower layers first, then by name; faults are with the readers."""
    readers = [Reader(file) for file in sorted(files)]
    documents = [(reader, read_file(reader, files[reader.file])) for reader in readers]
    said = [document.extends or Extends(reader.file) for reader, document in documents]
    layers = arranged(said)
    documents.sort(key=lambda document: (layers.rank(document[0].file), document[0].file))
    return documents, layers


def layer_findings(layers: Layers) -> Iterator[Finding]:
    for fault in layers.faults:
        yield Finding(fault.file, fault.line, fault.key, fault.problem, fault.mend)
    if layers.wanted is not None:
        file, line, root = layers.wanted
        yield Finding(file, line, "extends", f"no rule file of {root} is there", "name its folder")


def _compiled(reader: Reader, written: WrittenRule, named: Named) -> tuple[Rule, ...]:
    """The machine rows of the rule; none when a finding says why not."""
    before = len(reader.findings)
    written = spelt_out(written)
    parts = [spelt_out(part) for part in _parts(written)]
    questions = [_asked(reader, part, named) for part in parts]
    asked = [one for one in questions if one is not None]
    _check_levels(reader, written)
    _check_quieting(reader, written)
    _check_texts(reader, written)
    if written.missing_raises:
        _check_silence_raises(reader, written, [one.when for one in asked])
    if len(reader.findings) > before or len(asked) < len(parts) or not parts or not written.id:
        return ()
    return rows_of(written, asked)


FOR_ALL_LEVELS = (*RESTRICTING, *lasting.KEYS)
"""Keys that a level takes from its rule."""


def _parts(written: WrittenRule) -> list[WrittenRule]:
    """The rule, or each of its levels as a rule of its own."""
    if "levels" not in written.lines:
        return [written]
    return [
        dataclasses.replace(
            level,
            id=written.id,
            family=written.family,
            group=written.group,
            safety=written.safety,
            latched=written.latched,
            missing_ms=written.missing_ms,
            missing_raises=written.missing_raises,
            debounce=written.debounce,
            during=written.during,
            keep_ms=written.keep_ms,
            flapping=written.flapping,
            late=written.late,
            lines={key: written.lines[key] for key in FOR_ALL_LEVELS if key in written.lines}
            | level.lines,
        )
        for level in written.levels
    ]


def _asked(reader: Reader, part: WrittenRule, named: Named) -> Question | None:
    """What it asks; None with a finding that says why not."""
    before = len(reader.findings)
    when = sequence_of(reader, part) if part.sequence else _expression(reader, part, "when")
    clear = _expression(reader, part, "clear") if "clear" in part.lines else None
    if when is not None:
        _check_group(reader, part, when, clear)
        _check_plans(reader, part, when, clear)
        fault = partial(_fault, reader, part)
        check_composed(part, when, fault)
        when = composed(part, when, clear, named, fault)
        for key, problem, mend in lasting.faults_of(part, when):
            fault(key, problem, mend)
    _check_options(reader, part)
    if when is None or not part.severity or len(reader.findings) > before:
        return None
    return Question(part, when, clear)


def _check_levels(reader: Reader, written: WrittenRule) -> None:
    for lower, level in pairwise(written.levels):
        if lower.severity and level.severity and level.severity >= lower.severity:
            problem = f"{level.name} isn't more severe than {lower.name} before it"
            _fault(reader, level, "severity", problem, "the least severe level comes first")


def _check_silence_raises(reader: Reader, written: WrittenRule, whens: Sequence[Truth]) -> None:
    """Silence must raise for the devices that the rule is about: attributes say which."""
    if written.group is not None:
        problem = "a group isn't silent, its devices are"
        _fault(reader, written, "missing", problem, "write unknown after, and a rule with absent")
    about = {attribute_parts(when) for when in whens}
    hidden = any(
        set(_selecting(when)) - {one for part in attribute_parts(when) for one in _selecting(part)}
        for when in whens
    )
    if hidden or len(about) > 1:
        problem = "it isn't clear whose silence would raise"
        _fault(reader, written, "missing", problem, "ask for attributes in on:")


def _selecting(plan: Truth) -> Iterator[Plan]:
    """What tells devices apart by attributes alone; a limit that is an attribute doesn't."""
    for part in all_of(plan):
        compares = isinstance(part, Compared | OneOf) and bool(attributes_of(part))
        if isinstance(part, AttributeIs) or (compares and not readings_of(part)):
            yield part


def _line(written: WrittenRule, key: str) -> int:
    return written.lines.get(key, written.line)


def _fault(reader: Reader, written: WrittenRule, key: str, problem: str, mend: str) -> None:
    reader.fault(_line(written, key), f"{written.path}.{key}", problem, mend)


def _expression(reader: Reader, written: WrittenRule, key: str) -> Truth | None:
    text = str(getattr(written, key))
    if not text:
        return None
    try:
        return checked(text)
    except ExpressionError as error:
        _fault(reader, written, key, f"{error.problem} (column {error.at})", error.mend)
        return None


def _check_plans(reader: Reader, written: WrittenRule, when: Truth, clear: Truth | None) -> None:
    asks = "sequence" if written.sequence else "when"
    plans = [(asks, when)] if clear is None else [(asks, when), ("clear", clear)]
    for key, plan in plans:
        for quantity in bases_of(plan):
            families = QUANTITIES[quantity].families
            if written.family and families and written.family not in families:
                name = QUANTITIES[quantity].name
                problem = f"{written.family} devices have no {name}"
                _fault(reader, written, key, problem, f"it is known of: {', '.join(families)}")
        if written.safety and attributes_of(plan):
            problem = "a safety rule may not hang on an attribute here"
            mend = "select in on: there, devices that the registry doesn't know still count"
            _fault(reader, written, key, problem, mend)
    if written.group is not None:
        return
    if silences_of(when):
        _check_silence(reader, written, when, clear)
    elif not bases_of(when):
        _fault(reader, written, "when", "looks at no reading", "name a quantity or absent(24h)")
    if clear is not None and silences_of(clear):
        _fault(reader, written, "clear", "absent can't clear", "leave clear out")


def _check_group(reader: Reader, written: WrittenRule, when: Truth, clear: Truth | None) -> None:
    plans = [("when", when)] if clear is None else [("when", when), ("clear", clear)]
    for key, plan in plans:
        if written.group is not None:
            for problem, mend in dict.fromkeys(faults_of(plan)):
                _fault(reader, written, key, problem, mend)
        elif is_grouped(plan) and "group" not in written.lines:
            problem = "devices(), any(), all() and share() speak of a group"
            _fault(reader, written, key, problem, f"add group: {', '.join(KINDS[:-1])} or gateway")


def _check_silence(reader: Reader, written: WrittenRule, when: Truth, clear: Truth | None) -> None:
    if len(silences_of(when)) > 1 or readings_of(when):
        problem = "absent stands alone or with attributes"
        _fault(reader, written, "when", problem, "write a rule of its own for the rest")
    if _speaks(when):
        problem = "absent can't be turned round or joined by or"
        _fault(reader, written, "when", problem, "write absent(24h), or absent(24h) and ...")
    if clear is not None:
        _fault(reader, written, "clear", "absent ends with the next reading", "leave clear out")
    if written.missing_ms:
        _fault(reader, written, "missing", "absent is about missing data", "leave missing out")


def _speaks(when: Truth) -> bool:
    """Whether it may be true of a device that isn't silent."""
    if isinstance(when, Both):
        return all(_speaks(part) for part in when.parts)
    return not isinstance(when, Silent)


def _check_options(reader: Reader, written: WrittenRule) -> None:
    if written.missing_ms and written.missing_ms <= written.for_ms:
        problem = "missing data would be noticed before the rule can raise"
        _fault(reader, written, "missing", problem, "make it longer than for")
    if written.missing_ms and written.missing_ms <= written.clear_for_ms:
        problem = "missing data would be noticed before the rule can clear"
        _fault(reader, written, "missing", problem, "make it longer than clear_for")


def _check_texts(reader: Reader, written: WrittenRule) -> None:
    """Placeholders that this rule has nothing for."""
    has = {"": True, "group": written.group is not None}
    has["for"] = any(part.for_ms for part in (written, *written.levels))
    for key in ("title", "reason", "runbook"):
        for name in sorted(placeholders_of(getattr(written, key))):
            needed = PLACEHOLDERS.get(name, "")
            if name in QUANTITY_INDEX and written.group is not None:
                problem = f"{{{name}}} has nothing to say: a group has no reading of its own"
                _fault(reader, written, key, problem, "leave it out, or say {value}")
            elif not has[needed]:
                problem = f"{{{name}}} has nothing to say: the rule has no {needed}"
                _fault(reader, written, key, problem, f"leave it out, or add {needed}:")


def _check_quieting(reader: Reader, written: WrittenRule) -> None:
    for key in quieting.KEYS:
        if written.safety and getattr(written, key):
            problem = f"a safety rule always raises: {key} is refused"
            _fault(reader, written, key, problem, "remove it")
