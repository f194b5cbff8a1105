"""A folder of rules with its tests: read, run, counted. `rules test` is this and a printer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.content import ContentError, file_of, read_rule_files, text_of
from app.runners.ruletest import Played, Registries, play
from rules import Finding, RulesInvalid, compile_rules
from rules.finding import suggest
from rules.ruleset import Rule, RuleSet
from rules.testing.case import Case
from rules.testing.document import is_test, read_tests
from rules.testing.index import Written, written_rules
from rules.testing.judge import Judgement, judge
from rules.testing.report import told
from rules.testing.times import offset_text

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(slots=True)
class Suite:
    """files: of rules, name -> text. rules: as written, by id. cases: in the order of the
    files. about: ids of the rules that coverage and mutation look at."""

    folder: Path
    files: dict[str, str]
    ruleset: RuleSet
    rules: dict[str, Written]
    cases: list[Case]
    about: set[str]
    registries: Registries = field(default_factory=Registries)

    def scope(self, case: Case) -> set[str]:
        """Which rules a test judges: those of the file beside it, and all that it names."""
        return _beside(case.file, self.rules) | case.rules_named()

    def machine_rows(self) -> dict[str, list[Rule]]:
        rows: dict[str, list[Rule]] = {}
        for rule in self.ruleset.rules:
            rows.setdefault(rule.id, []).append(rule)
        return rows


@dataclass(frozen=True, slots=True)
class Result:
    """One test that was run. problems: lines for people; none = it passed."""

    case: Case
    played: Played
    judgement: Judgement
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def load_suite(place: Path, rule: str = "") -> Suite:
    """A folder, or one test file of it; with `rule`, only the tests that touch it.

    Raises `ContentError`, `RulesInvalid` (faults of test files too), `OSError`.
    """
    folder = place.parent if is_test(place.name) else place
    files = read_rule_files(folder)
    try:
        ruleset = compile_rules(files)
    except RulesInvalid as error:
        raise _under(folder, list(error.findings)) from None
    rules = written_rules(files)
    if rule and rule not in rules:
        raise ContentError(f"--rule: {folder} has no rule {rule}; {suggest(rule, rules)}")
    tests = [place] if is_test(place.name) else sorted(p for p in folder.rglob("*") if _is_test(p))
    if not tests:
        raise ContentError(f"{folder}: holds no *.test.yml; write one beside a rule file")
    cases: list[Case] = []
    findings: list[Finding] = []
    registries = Registries()
    for path in tests:
        name = str(path.relative_to(folder))
        read, faults = read_tests(name, text_of(path))
        findings += faults
        if not faults:
            findings += [fault for case in read for fault in _unknown(case, rules, registries)]
        cases += read
    if findings:
        raise _under(folder, findings)
    about = set(rules)
    if rule:
        about = {rule}
        cases = [case for case in cases if rules[rule].touched_by(case)]
    elif place != folder:
        about = _beside(place.name, rules)
    return Suite(folder, files, ruleset, rules, cases, about, registries)


def _beside(file: str, rules: dict[str, Written]) -> set[str]:
    """The rules of the file that a test file stands beside; of all where there is none."""
    stem = file.rsplit(".test.", 1)[0]
    return {rule.id for rule in rules.values() if _stem(rule.file) == stem} or set(rules)


def _is_test(path: Path) -> bool:
    return is_test(path.name) and path.is_file()


def _stem(file: str) -> str:
    return file.rsplit(".", 1)[0]


def _under(folder: Path, findings: list[Finding]) -> RulesInvalid:
    return RulesInvalid([replace(one, file=str(file_of(folder, one.file))) for one in findings])


def _unknown(case: Case, rules: dict[str, Written], registries: Registries) -> Iterator[Finding]:
    named = [(one.rule, one.line) for one in case.expect]
    named += [(one.rule, one.line) for one in case.commands]
    for rule, line in named:
        if rule not in rules:
            path = f"test {case.name!r}"
            mend = suggest(rule, rules)
            yield Finding(case.file, line, path, f"no rule {rule}", mend)
    for fault in registries.faults(case):
        yield Finding(case.file, case.line, f"test {case.name!r}: devices", fault)


def run_suite(suite: Suite, progress: Progress) -> Iterator[Result]:
    """Each test in turn."""
    rows = suite.machine_rows()
    for done, case in enumerate(suite.cases):
        progress("tests", done, len(suite.cases))
        played = play(case, suite.ruleset, suite.registries.of(case))
        judgement = judge(case, played.came, suite.scope(case))
        problems = list(_unmet(played))
        if not judgement.passed:
            problems += told(case, judgement, rows)
        yield Result(case, played, judgement, tuple(problems))
    progress("tests", len(suite.cases), len(suite.cases))


def _unmet(played: Played) -> Iterator[str]:
    """What a test meant to do and didn't."""
    for fault in played.idle:
        yield f"line {fault.line}: the fault '{fault}' met nothing: there was no reading to act on"
    for command in played.deaf:
        at = offset_text(command.at_ms)
        what = f"{command.action} {command.rule} of {command.device} at {at}"
        yield f"line {command.line}: {what}: there is no such alert"
