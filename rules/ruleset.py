"""Compiled rules: what the engine runs and what dispatch is told.

Two kinds of rows. A **public rule** is what a file names: one id, one card, one alert for a
device. It compiles to one or more **machine rows** (`Rule`), each a question with its own
durations: one for each level, one for the silence that counts as a breach, and so on. Scans,
instances and snapshots know machine rows only, by (rule id, part); a merge at the end of the
engine turns their changes into those of the public rule. Whoever stands behind
the engine, dispatch above all, sees public rows only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from contracts.groups import GroupKind
from contracts.quantities import QUANTITIES
from contracts.rulebook import Late, RuleCard, Term
from rules.entries import Asked, Entries, Entry
from rules.expr.directions import directions
from rules.expr.plan import Reading, Truth, predicates_of, readings_of, silences_of
from rules.quieting import order_of

Hearing = Literal["safety", "ordinary", "fire", "drop"]
"""safety: all readings in one lane, alarms of bad quality too. ordinary: history apart. fire: all
readings in one lane. drop: readings on time only."""

Mode = Literal["instant", "timed", "silence", "group"]


@dataclass(frozen=True, slots=True)
class Flapping:
    """After that many raises within the time, a condition must hold for `for_ms`, ms."""

    raises: int
    within_ms: int
    for_ms: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One machine row. Durations in ms, 0 = none.

    card: of its public rule; every row of a public rule has the same. part: which row of that
    rule this is, unique there; "" = the rule has no other. order: rows of one public rule stand
    by (order, part); of several that hold, the greatest is what the alert stands at. severity: 1
    to 4 while it stands there, 0 = the card's. level: index into the card's levels, -1 = none.
    timed: decided in event time at marks, whether or not it has a duration. group: the kind of
    group that it speaks of, None = of a device.
    keep_ms: it ends by itself so long after its last breach, whatever `clear` says; 0 = it ends by
    `clear`. flapping: None = not watched. late: what old readings do; of a safety rule nothing else
    than readings on time.
    selectors: (attribute, accepted values), sorted. clear: None = when `when` is false.
    file, line: where it was written; no part of its meaning.
    """

    card: RuleCard
    selectors: tuple[tuple[str, tuple[str, ...]], ...]
    when: Truth
    clear: Truth | None
    for_ms: int
    clear_for_ms: int
    missing_ms: int
    timed: bool
    part: str = ""
    order: int = 0
    severity: int = 0
    group: GroupKind | None = None
    level: int = -1
    keep_ms: int = 0
    flapping: Flapping | None = None
    late: Late = "annotate"
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def id(self) -> str:
        """Of the public rule."""
        return self.card.id

    @property
    def key(self) -> tuple[str, str]:
        """(rule id and variant, part): the name of this row in snapshots."""
        return (self.card.name, self.part)

    @property
    def mode(self) -> Mode:
        """Where it is decided: on rows in log order, in event time, or by absence of rows; or by
        counting devices of a group."""
        if self.group is not None:
            return "group"
        if self.silence_ms:
            return "silence"
        return "timed" if self.timed else "instant"

    @property
    def silence_ms(self) -> int:
        return next(iter(silences_of(self.when)), 0)

    @property
    def quantities(self) -> tuple[int, ...]:
        """Indices of all quantities that it looks at, those of `when` first."""
        return tuple(reading.quantity for reading in self.readings)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The same as the plans have them."""
        clear = () if self.clear is None else readings_of(self.clear)
        return tuple(dict.fromkeys(readings_of(self.when) + clear))

    @property
    def hearing(self) -> Hearing:
        """Which readings it looks at, and whether history has a lane of its own."""
        if self.card.safety:
            return "safety"
        return "ordinary" if self.late == "annotate" else self.late

    @property
    def shape(self) -> str:
        """State may be carried over to a changed rule of the same shape."""
        names = sorted({reading.shape for reading in self.readings})
        lanes: str = self.hearing
        if self.keep_ms:
            lanes += " keep"
        if self.group is not None:
            lanes += f" {self.group} {_questions(self)}"
        said = f"{self.mode} {lanes} {self.card.family} {' '.join(names)}".strip()
        looks = directions(self.when)
        return f"{said}{LOOKS}{looks}" if looks else said


LOOKS = ", looks at "
"""Before what a rule's comparisons look for; older shapes have none."""


def _questions(rule: Rule) -> str:
    """The quantities of each question, in their order: a verdict is carried over to its place."""
    clear = () if rule.clear is None else predicates_of(rule.clear)
    asked = dict.fromkeys(predicates_of(rule.when) + clear)
    names = ({reading.shape for reading in readings_of(plan)} for plan in asked)
    return " ".join("+".join(sorted(one)) for one in names)


def digest(content: Any) -> str:
    """SHA-256 of the content as JSON with sorted keys, 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Overridden:
    """What one override makes of a safety rule. before: rows of the rule with all that stands
    below the override, after: with it. file, line: of the override; explained: whether it says
    why."""

    before: tuple[Rule, ...]
    after: tuple[Rule, ...]
    file: str
    line: int
    explained: bool


@dataclass(frozen=True, slots=True)
class RuleSet:
    """rules: machine rows by (step, rule id, variant, order, part); their index is `rule` inside
    the engine.

    step: rules stand behind those that inhibit them. Changes of one time are told in this order,
    so an inhibitor is known before what it keeps back.
    cards: one for each public rule and each of its variants, in the same order; their index is
    `rule` in transitions. Of one device (or group) and one rule, there is one card.
    hash: of all meanings and texts.
    derived: what its rules ask for beyond plain quantities, by index.
    overridden: what overrides made of safety rules; no part of its meaning.
    """

    rules: tuple[Rule, ...]
    hash: str
    derived: tuple[Entry, ...] = ()
    overridden: tuple[Overridden, ...] = field(default=(), compare=False)

    @property
    def cards(self) -> tuple[RuleCard, ...]:
        return tuple({rule.card.name: rule.card for rule in self.rules}.values())

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the public rules, each once."""
        return tuple(dict.fromkeys(rule.id for rule in self.rules))

    @property
    def public(self) -> NDArray[np.int32]:
        """int32 per machine row: its row of `cards`. Ascending."""
        rows = {card.name: row for row, card in enumerate(self.cards)}
        return np.array([rows[rule.card.name] for rule in self.rules], np.int32)

    @staticmethod
    def of(rules: Iterable[Rule], changes: Iterable[Overridden] = ()) -> RuleSet:
        given = list(rules)
        step = order_of({rule.card.name: rule.card for rule in given}.values())
        ordered = tuple(sorted(given, key=lambda rule: (step[rule.id], *_order(rule))))
        content = [
            [
                card.hash,
                [card.title.zh, card.title.en],
                [card.reason.zh, card.reason.en],
                [card.runbook.zh, card.runbook.en],
                card.standard,
                card.owner,
                *_for_whom(card),
            ]
            for card in {rule.card.name: rule.card for rule in ordered}.values()
        ]
        entries = Entries([asked for rule in ordered for asked in _asked(rule)])
        if not entries.all:
            return RuleSet(ordered, digest(content), (), tuple(changes))
        settled = _with_terms([_settled(rule, entries) for rule in ordered])
        return RuleSet(settled, digest(content), entries.all, tuple(changes))

    @staticmethod
    def empty() -> RuleSet:
        return RuleSet.of(())


def _order(rule: Rule) -> tuple[str, str, int, str]:
    return (rule.id, rule.card.variant, rule.order, rule.part)


def _for_whom(card: RuleCard) -> list[Any]:
    """What tells the variants of a rule apart; nothing where there are none. The hash of a card
    doesn't hold it: to a device it makes no difference what others meet."""
    if not (card.where or card.beside or card.source):
        return []
    wheres = [[one.name for one in some] for some in (card.where, card.beside)]
    return [*wheres, card.layer, [card.why.zh, card.why.en]]


def _asked(rule: Rule) -> list[Asked]:
    plans = (rule.when,) if rule.clear is None else (rule.when, rule.clear)
    owner = "/".join(rule.key)
    return [Asked(plan, rule.card.safety, rule.card.family, owner) for plan in plans]


def _settled(rule: Rule, entries: Entries) -> Rule:
    safety = rule.card.safety
    clear = None if rule.clear is None else entries.settle(rule.clear, safety=safety)
    return replace(rule, when=entries.settle(rule.when, safety=safety), clear=clear)


def _with_terms(rules: list[Rule]) -> tuple[Rule, ...]:
    """Cards told what is derived for any row of their public rule."""
    terms: dict[str, dict[str, Term]] = {}
    for rule in rules:
        for reading in rule.readings:
            if reading.derived is not None:
                quantity = "" if reading.base < 0 else QUANTITIES[reading.base].name
                unit = "" if reading.derived.boolean else reading.unit
                term = Term(reading.name, unit, quantity)
                terms.setdefault(rule.id, {})[reading.name] = term
    return tuple(
        replace(rule, card=structs.replace(rule.card, terms=tuple(terms[rule.id].values())))
        if rule.id in terms
        else rule
        for rule in rules
    )
