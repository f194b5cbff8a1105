"""Findings on rules that could run but shouldn't: what a second pair of eyes would say.

`compile_rules` refuses what is wrong in itself; here is what is unwise. A rule set with findings
can still be run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from datetime import date
from itertools import islice, pairwise, permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITIES, Kind
from contracts.rulebook import RuleCard
from rules.durations import duration_text
from rules.entries import Asked, Entries
from rules.expr.composed import newest_only
from rules.expr.evaluate import Bools, Floats, judge
from rules.expr.plan import (
    Attribute,
    AttributeNumber,
    Compared,
    Constant,
    OneOf,
    Reading,
    Truth,
    all_of,
    attributes_of,
    bases_of,
    counts_of,
    readings_of,
    silences_of,
    walk,
)
from rules.expr.window import NEVER_NEGATIVE, Window
from rules.finding import Finding
from rules.group.judge import tried
from rules.group.predicates import questions
from rules.group.weighed import misses_groups
from rules.lint_layers import weakened
from rules.lint_levels import level_findings
from rules.lint_never import never_findings
from rules.lint_overlap import overlaps
from rules.lint_ranges import range_findings
from rules.lint_registry import attribute_findings, misspelt, selection_findings
from rules.lint_schedules import schedule_findings
from rules.lint_texts import limit_findings, text_findings
from rules.ruleset import Rule, RuleSet
from rules.schema import MISSING_PART

SAFETY_FOR_MS = 5 * 60_000
"""A proposal: a safety rule that waits longer than this comes too late to be one."""

_POINTS = 20_000
"""Combinations of values that a rule is tried on."""


def lint(
    ruleset: RuleSet,
    attributes: Mapping[str, Set[str]] | None = None,
    today: date | None = None,
) -> list[Finding]:
    """All findings, sorted. attributes: name -> values of a registry; None = not known. today: to
    look whether the calendar is of this year; None = not known.
    """
    findings: list[Finding] = []
    said: set[tuple[str, str, str]] = set()
    cards: set[str] = set()
    for rule in ruleset.rules:
        found = list(_of_row(rule, attributes, today))
        if rule.card.name not in cards:
            cards.add(rule.card.name)
            found = [*_of_card(rule, attributes), *found]
        for path, problem, mend in found:
            if rule.card.source and (rule.id, path, problem) in said:
                continue  # A variant says again what is wrong with the rule itself.
            said.add((rule.id, path, problem))
            findings.append(Finding(rule.file, rule.line, f"{rule.id}.{path}", problem, mend))
    findings.extend(_quieting(ruleset, attributes))
    findings.extend(misspelt(ruleset) if attributes is None else ())
    findings.extend(weakened(ruleset, misses))
    findings.extend(overlaps(ruleset, misses))
    findings.extend(level_findings(ruleset, misses))
    return sorted(set(findings))


_Said = Iterator[tuple[str, str, str]]


def _of_card(rule: Rule, attributes: Mapping[str, Set[str]] | None) -> _Said:
    """What is the same for all machine rows of a rule."""
    yield from text_findings(rule)
    if attributes is not None:
        yield from selection_findings(rule, attributes)


def _of_row(rule: Rule, attributes: Mapping[str, Set[str]] | None, today: date | None) -> _Said:
    yield from limit_findings(rule)
    level = f"levels.{rule.part}." if rule.part and rule.part != MISSING_PART else ""
    asked = () if attributes is None else attribute_findings(rule, attributes)
    for path, problem, mend in (*asked, *_of_question(rule, today)):
        yield f"{level}{path}", problem, mend


def _of_question(rule: Rule, today: date | None) -> _Said:
    yield from _safety(rule)
    yield from _signals(rule)
    yield from range_findings(rule)
    yield from never_findings(rule, _is_ever_met)
    if rule.mode == "group":
        yield from _counts(rule)
    elif rule.mode != "silence":
        yield from _hysteresis(replace(rule, when=newest_only(rule.when)))
        yield from schedule_findings(rule, today)


def _safety(rule: Rule) -> _Said:
    if not rule.card.safety:
        names = [QUANTITIES[q].name for q in _bases(rule) if _is_life(q)]
        if names:
            problem = f"{names[0]} means that a life may be at stake, the rule isn't of that class"
            yield "class", problem, "write class: safety"
        return
    if rule.for_ms > SAFETY_FOR_MS:
        floor = duration_text(SAFETY_FOR_MS)
        yield "for", "a safety rule that waits this long", f"at most {floor} (a proposal)"


def _bases(rule: Rule) -> tuple[int, ...]:
    clear = () if rule.clear is None else bases_of(rule.clear)
    return tuple(dict.fromkeys(bases_of(rule.when) + clear))


def _is_life(quantity: int) -> bool:
    return QUANTITIES[quantity].safety and QUANTITIES[quantity].kind is Kind.SIGNAL


def _signals(rule: Rule) -> _Said:
    """Anything but 0 is an alarm: a bit field compared with 1 would miss 2."""
    for part in all_of(rule.when):
        if not isinstance(part, Compared) or part.operator != "==":
            continue
        for side, other in ((part.left, part.right), (part.right, part.left)):
            if not isinstance(side, Reading) or not isinstance(other, Constant):
                continue
            if side.derived is not None:
                continue
            if QUANTITIES[side.quantity].kind is Kind.SIGNAL and other.value != 0:
                name = QUANTITIES[side.quantity].name
                yield "when", f"of {name} anything but 0 is an alarm", f"write {name} != 0"


def _is_ever_met(plan: Truth) -> bool:
    asked = newest_only(plan)
    return bool(judge(asked, _Trial((asked,)))[0].any())


def _hysteresis(rule: Rule) -> _Said:
    trial = _Trial((rule.when,) if rule.clear is None else (rule.when, rule.clear))
    raises, _ = judge(rule.when, trial)
    clears = None if rule.clear is None else judge(rule.clear, trial)[0]
    yield from _limits(raises, clears)


def _counts(rule: Rule) -> _Said:
    """The same over numbers of devices."""
    raises, clears = tried(rule.when, rule.clear)
    if clears is not None and clears.any() and len(questions(rule)) > 1:
        # What one question says of another isn't known here.
        clears = ~raises
    yield from _limits(raises, clears)


def _limits(raises: Bools, clears: Bools | None) -> _Said:
    if not raises.any():
        yield "when", "no value can ever fit", "look at the limits"
        return
    if clears is None:
        if raises.all():
            yield "when", "every value fits: it never ends", "look at the limits"
        return
    if not clears.any():
        yield "clear", "no value can ever fit: it never ends", "look at the limits"
    elif (raises & clears).any():
        problem = "some values both raise and clear"
        yield "clear", problem, "leave a gap between the limits of when and clear"
    elif not (clears & ~raises).any():
        yield "clear", "can't be reached from when", "look at the limits"


def _quieting(ruleset: RuleSet, attributes: Mapping[str, Set[str]] | None) -> Iterator[Finding]:
    """What keeps alerts back, and doesn't."""
    cards = {rule.card.name: (rule, rule.card) for rule in ruleset.rules}
    on_trial = [card.id for _, card in cards.values() if card.shadow]
    for rule, card in cards.values():
        for path, problem, mend in _kept_back(card, on_trial, attributes):
            yield Finding(rule.file, rule.line, f"{card.id}.{path}", problem, mend)


def _kept_back(
    card: RuleCard, on_trial: list[str], attributes: Mapping[str, Set[str]] | None
) -> _Said:
    for one in card.inhibit:
        if one.by in on_trial:
            problem = f"{one.by} is in shadow: it keeps nothing back"
            yield "inhibit", problem, "take shadow out there when the trial is over"
        named = one.on in ("riser", "unit", "floor", "building")
        if named and attributes is not None and one.on not in attributes:
            problem = f"no device has the attribute {one.on}: nothing is kept back"
            yield "inhibit", problem, "add it to the registry, or name another place"
    if card.budget and card.severity == 4:
        yield "budget", "it is level Ⅳ within its budget already", "leave budget out"


def misses(wide: Truth, narrow: Truth) -> bool:
    """Whether some values fit the first condition and not the second."""
    if silences_of(wide) or silences_of(narrow):
        return silences_of(wide) != silences_of(narrow)
    if counts_of(wide) or counts_of(narrow):
        return misses_groups(wide, narrow, misses)
    wide, narrow = _told_apart(wide, narrow)
    trial = _Trial((newest_only(wide), newest_only(narrow)), waits=True)
    first, second = (judge(newest_only(plan), trial)[0] for plan in (wide, narrow))
    return bool((first & ~second).any())


def _told_apart(first: Truth, second: Truth) -> tuple[Truth, Truth]:
    """Each derived reading with an index of its own, as in a rule set; some come without one."""
    if all(one.quantity >= 0 for plan in (first, second) for one in readings_of(plan)):
        return first, second
    entries = Entries([Asked(plan, False, "") for plan in (first, second)])
    return entries.settle(first, safety=False), entries.settle(second, safety=False)


class _Trial:
    """Values around every limit of some conditions, in all combinations, as columns.

    The same function has one value, whether its comparison waits for a whole window or not.
    """

    def __init__(self, plans: tuple[Truth, ...], *, waits: bool = False) -> None:
        """waits: a window that isn't covered yet says nothing of what the reading itself says."""
        readings = tuple(dict.fromkeys(r for plan in plans for r in readings_of(plan)))
        tries = {_name(reading): _tries(reading, plans) for reading in readings}
        columns = list(tries.values())
        attributes = tuple(dict.fromkeys(a for plan in plans for a in attributes_of(plan)))
        answers = [_answers(attribute, plans) for attribute in attributes]
        grid: Floats = np.array(list(islice(product(*columns, *answers), _POINTS)))
        grid = grid[_possible(readings, list(tries), grid, waits=waits)]
        of_name = dict(zip(tries, grid.T, strict=False))
        self._readings: dict[int, Floats] = {one.quantity: of_name[_name(one)] for one in readings}
        self._answers: dict[Attribute, Floats] = dict(
            zip(attributes, grid.T[len(columns) :], strict=True)
        )
        self._rows = len(grid)

    def reading(self, quantity: int) -> Floats:
        return self._readings[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._answers[plan]

    def silent(self, for_ms: int) -> Bools:
        del for_ms
        return np.zeros(self._rows, np.bool_)


_RANK = {"min": 0, "avg": 1, "": 1, "max": 2}
"""Of one quantity and window none is above one of a greater rank; "": the reading itself."""


def _possible(
    readings: tuple[Reading, ...], names: list[str], grid: Floats, *, waits: bool
) -> Bools:
    """bool per row of a grid: whether the values can be those of one device at one time."""
    kinds = {_name(one): _function(one) for one in readings}
    possible = np.ones(len(grid), np.bool_)
    for low, high in permutations(kinds, 2):
        (base, span, rank), (other, others_span, others_rank) = kinds[low], kinds[high]
        plain = 0 in (span, others_span) and not waits
        if base == other and (plain or span == others_span) and 0 <= rank < others_rank:
            possible &= grid[:, names.index(low)] <= grid[:, names.index(high)]
    return possible


def _function(reading: Reading) -> tuple[int, int, int]:
    """(quantity, window in ms, rank); rank -1 = nothing is known."""
    derived = reading.derived
    if derived is None:
        return reading.quantity, 0, _RANK[""]
    if isinstance(derived, Window):
        return derived.quantity, derived.window_ms, _RANK.get(derived.function, -1)
    return -1, -1, -1


def _answers(attribute: Attribute, plans: tuple[Truth, ...]) -> list[float]:
    """1 true, 2 false; of a number, what a registry may hold."""
    if isinstance(attribute, AttributeNumber):
        return [value for value in _around(plans) if value > 0]
    return [1.0, 2.0]


def _name(reading: Reading) -> str:
    derived = reading.derived
    return QUANTITIES[reading.quantity].name if derived is None else derived.name


def _tries(reading: Reading, plans: tuple[Truth, ...]) -> list[float]:
    """Each constant of the rule, and values below, above and between them."""
    derived = reading.derived
    if derived is not None and derived.boolean:
        return [0.0, 1.0]
    if derived is None and QUANTITIES[reading.quantity].kind not in (Kind.MEASURE, Kind.COUNTER):
        found = _constants(plans)
        return sorted({value + step for value in found for step in (-1.0, 0.0, 1.0)} - {-1.0})
    tries = _around(plans)
    if isinstance(derived, Window) and derived.function in NEVER_NEGATIVE:
        return [value for value in tries if value >= 0]
    return tries


def _constants(plans: tuple[Truth, ...]) -> set[float]:
    found = {0.0}
    for plan in plans:
        for part in walk(plan):
            if isinstance(part, Constant):
                found.add(part.value)
            elif isinstance(part, OneOf):
                found.update(part.choices)
    return found


def _around(plans: tuple[Truth, ...]) -> list[float]:
    """The constants, and values between, below and above them."""
    known = sorted(_constants(plans))
    between = [(a + b) / 2 for a, b in pairwise(known)]
    return sorted({*known, *between, known[0] - 1.0, known[-1] + 1.0})
