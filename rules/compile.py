"""Rule files to a `RuleSet`: everything that would make a rule wrong or unsafe is refused here."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.groups import KINDS
from contracts.quantities import QUANTITIES
from contracts.rulebook import RuleCard
from rules import quieting
from rules.document import Reader
from rules.expr.check import checked
from rules.expr.plan import (
    Both,
    Silent,
    Truth,
    attributes_of,
    bases_of,
    readings_of,
    show,
    silences_of,
)
from rules.expr.syntax import ExpressionError
from rules.finding import Finding, RulesInvalid
from rules.group.check import faults_of, is_grouped
from rules.named import gathered
from rules.ruleset import Rule, RuleSet, digest, meaning
from rules.schema import WrittenRule, read_file

MAX_RULES = 4_096


def compile_rules(files: Mapping[str, str]) -> RuleSet:
    """File name -> text becomes a rule set. Raises `RulesInvalid` with every finding.

    >>> compile_rules({"none.yml": "rules: []"}).cards
    ()
    """
    findings: list[Finding] = []
    rules: dict[str, tuple[Rule, ...]] = {}
    readers = [Reader(file) for file in sorted(files)]
    documents = [(reader, read_file(reader, files[reader.file])) for reader in readers]
    gathered(documents)
    all_written = [written for _, document in documents for written in document.rules]
    for reader, document in documents:
        for written in document.rules:
            rows = _compiled(reader, written)
            if not rows:
                continue
            first = rules.setdefault(written.id, rows)
            if first is not rows:
                problem = f"{written.id} is already defined in {first[0].file}:{first[0].line}"
                reader.fault(_line(written, "id"), f"{written.path}.id", problem, "rename one")
        findings.extend(reader.findings)
    findings.extend(quieting.findings(all_written))
    if len(rules) > MAX_RULES:
        findings.append(Finding(sorted(files)[0], 0, "rules", f"more than {MAX_RULES} rules"))
    if findings:
        raise RulesInvalid(findings)
    return RuleSet.of(row for rows in rules.values() for row in rows)


def _compiled(reader: Reader, written: WrittenRule) -> tuple[Rule, ...]:
    """The machine rows of the rule; none when a finding says why not."""
    before = len(reader.findings)
    when = _expression(reader, written, "when")
    clear = _expression(reader, written, "clear") if "clear" in written.lines else None
    if when is not None:
        _check_group(reader, written, when, clear)
        _check_plans(reader, written, when, clear)
    _check_options(reader, written)
    _check_quieting(reader, written)
    if when is None or len(reader.findings) > before or not written.id or not written.severity:
        return ()
    return _built(written, when, clear)


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
    plans = [("when", when)] if clear is None else [("when", when), ("clear", clear)]
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


def _check_quieting(reader: Reader, written: WrittenRule) -> None:
    for key in quieting.KEYS:
        if written.safety and getattr(written, key):
            problem = f"a safety rule always raises: {key} is refused"
            _fault(reader, written, key, problem, "remove it")


def _built(written: WrittenRule, when: Truth, clear: Truth | None) -> tuple[Rule, ...]:
    read = readings_of(when)
    plans = (when,) if clear is None else (when, clear)
    derived = any(r.derived is not None for plan in plans for r in readings_of(plan))
    timed = bool(written.for_ms or silences_of(when) or derived or written.group)
    card = RuleCard(
        id=written.id,
        hash="",
        family=written.family,
        condition=written.condition,
        severity=written.severity,
        title=written.title,
        reason=written.reason,
        runbook=written.runbook,
        standard=written.standard,
        owner=written.owner,
        safety=written.safety,
        latched=written.latched,
        timed=timed,
        for_ms=written.for_ms,
        unit=read[0].unit if read and not written.group else "1",
        condition_text=show(when),
        inhibit=written.inhibit,
        shadow=written.shadow,
        budget=written.budget,
    )
    selectors = tuple(sorted(written.selectors.items()))
    said = meaning(
        card=card,
        selectors=selectors,
        when=when,
        clear=clear,
        clear_for_ms=written.clear_for_ms,
        missing_ms=written.missing_ms,
        group=written.group,
    )
    row = Rule(
        card=msgspec.structs.replace(card, hash=digest(said)),
        selectors=selectors,
        when=when,
        clear=clear,
        for_ms=written.for_ms,
        clear_for_ms=written.clear_for_ms,
        missing_ms=written.missing_ms,
        timed=timed,
        group=written.group,
        file=written.file,
        line=written.line,
    )
    return (row,)
