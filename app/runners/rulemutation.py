"""Runs the tests of a rule against changed copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.engine import Engine
from app.runners.rulesuite import Progress, Result, Suite
from app.runners.ruletest import SETTINGS, play_again
from rules import RulesInvalid, compile_rules
from rules.ruleset import RuleSet
from rules.testing.coverage import Coverage, cover
from rules.testing.editing import Cut, shortest_fors
from rules.testing.index import Written
from rules.testing.judge import Came, judge
from rules.testing.mutation import Mutant, mutants


@dataclass(slots=True)
class Mutated:
    """tried: changes that can run and mean something else. survivors: those that no test noticed.
    untested: rules that no passing test touches."""

    tried: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return self.tried - len(self.survivors)


def mutate(suite: Suite, results: Sequence[Result], progress: Progress) -> Mutated:
    """Change each rule that `suite` is about."""
    found = Mutated()
    rules = [rule for rule in suite.rules.values() if rule.id in suite.about]
    for done, rule in enumerate(rules):
        progress("rules changed", done, len(rules))
        bench = Bench.of(suite, results, rule)
        if bench is None:
            found.untested.append(rule.id)
            continue
        for mutant in mutants(rule):
            ruleset = bench.compiled(mutant)
            if ruleset is None:
                continue
            found.tried += 1
            if not bench.notices(ruleset):
                found.survivors.append(mutant)
    progress("rules changed", len(rules), len(rules))
    return found


def coverage(suite: Suite, results: Sequence[Result], progress: Progress) -> Coverage:
    """Of each rule that `suite` is about."""
    rules = {rule.id: rule for rule in suite.rules.values() if rule.id in suite.about}
    held_back: dict[str, dict[str, list[str]]] = {}
    for done, rule in enumerate(rules.values()):
        progress("rules covered", done, len(rules))
        variants = shortest_fors(rule)
        bench = Bench.of(suite, results, rule) if variants else None
        held_back[rule.id] = {
            name: [] if bench is None else [one.case.name for one in bench.held_back(variant)]
            for name, variant in variants.items()
        }
    progress("rules covered", len(rules), len(rules))
    met = [(one.case.name, came) for one in results for _, came in one.judgement.met]
    return cover(rules, met, held_back)


@dataclass(slots=True)
class Bench:
    """One rule with its passing tests, those that name it first."""

    suite: Suite
    rule: Written
    cut: Cut
    base: RuleSet
    results: list[Result]

    @staticmethod
    def of(suite: Suite, results: Sequence[Result], rule: Written) -> Bench | None:
        """None when no passing test touches the rule."""
        mine = [one for one in results if one.passed and rule.touched_by(one.case)]
        mine.sort(key=lambda one: rule.id not in one.case.rules_named())
        if not mine:
            return None
        cut = Cut(rule, suite.rules, suite.files)
        base = _compiled(cut.files())
        bench = None if base is None else Bench(suite, rule, cut, base, mine)
        if bench is None or bench.notices(bench.base):
            # Something that was cut off matters: keep everything, at the price of time.
            cut = Cut(rule, suite.rules, suite.files, whole=True)
            bench = Bench(suite, rule, cut, compile_rules(cut.files()), mine)
        return bench

    def compiled(self, mutant: Mutant) -> RuleSet | None:
        """None when it can't run, or means the same."""
        for text in mutant.texts or (None,):
            ruleset = _compiled(self.cut.files(mutant, text))
            if ruleset is not None:
                return None if ruleset.hash == self.base.hash else ruleset
        return None

    def notices(self, ruleset: RuleSet) -> bool:
        """Whether any test fails with these rules."""
        scope = {self.rule.id}
        return any(
            not judge(result.case, self.came(result, ruleset), scope).passed
            for result in self.results
        )

    def came(self, result: Result, ruleset: RuleSet) -> list[Came]:
        registry = self.suite.registries.of(result.case)
        engine = Engine(registry, ruleset, settings=SETTINGS)
        return play_again(result.case, result.played.records, engine)

    def held_back(self, variant: Mutant) -> Iterator[Result]:
        """Tests in which `for` alone kept the rule from raising, which the variant does."""
        ruleset = self.compiled(variant)
        if ruleset is None:
            return
        for result in self.results:
            raised = _onsets(result.played.came, self.rule.id)
            if _onsets(self.came(result, ruleset), self.rule.id) - raised:
                yield result


def _onsets(came: Sequence[Came], rule: str) -> set[tuple[str, str, int]]:
    """(device, onset, severity) of what was raised, or rose."""
    return {
        (one.device, one.data["onset"], one.data["severity"])
        for one in came
        if one.rule == rule and one.change in ("raised", "again", "level")
    }


def _compiled(files: Mapping[str, str]) -> RuleSet | None:
    try:
        return compile_rules(files)
    except RulesInvalid:
        return None
