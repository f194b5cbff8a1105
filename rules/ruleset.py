"""Compiled rules: what the engine runs and what dispatch is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from contracts.quantities import QUANTITIES
from contracts.rulebook import RuleCard
from rules.durations import duration_text
from rules.expr.plan import Truth, quantities_of, show, silences_of

Mode = Literal["instant", "timed", "silence"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. Durations in ms, 0 = none.

    selectors: (attribute, accepted values), sorted. clear: None = when `when` is false.
    file, line: where it was written; no part of its meaning.
    """

    card: RuleCard
    selectors: tuple[tuple[str, tuple[str, ...]], ...]
    when: Truth
    clear: Truth | None
    clear_for_ms: int
    missing_ms: int
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def id(self) -> str:
        return self.card.id

    @property
    def for_ms(self) -> int:
        return self.card.for_ms

    @property
    def mode(self) -> Mode:
        """Where it is decided: on rows in log order, in event time, or by absence of rows."""
        if self.silence_ms:
            return "silence"
        return "timed" if self.card.timed else "instant"

    @property
    def silence_ms(self) -> int:
        return next(iter(silences_of(self.when)), 0)

    @property
    def quantities(self) -> tuple[int, ...]:
        """Indices of all quantities that it looks at, those of `when` first."""
        clear = () if self.clear is None else quantities_of(self.clear)
        return tuple(dict.fromkeys(quantities_of(self.when) + clear))

    @property
    def shape(self) -> str:
        """State may be carried over to a changed rule of the same shape."""
        names = sorted(QUANTITIES[quantity].name for quantity in self.quantities)
        lanes = "safety" if self.card.safety else "ordinary"
        return f"{self.mode} {lanes} {self.card.family} {' '.join(names)}".strip()


def meaning(
    *,
    card: RuleCard,
    selectors: tuple[tuple[str, tuple[str, ...]], ...],
    when: Truth,
    clear: Truth | None,
    clear_for_ms: int,
    missing_ms: int,
) -> dict[str, Any]:
    """What decides: no comments, no order of keys, no texts for people."""
    return {
        "id": card.id,
        "condition": card.condition,
        "family": card.family,
        "on": {name: list(values) for name, values in selectors},
        "when": show(when),
        "for": duration_text(card.for_ms),
        "clear": "" if clear is None else show(clear),
        "clear_for": duration_text(clear_for_ms),
        "missing": duration_text(missing_ms),
        "severity": card.severity,
        "safety": card.safety,
        "latched": card.latched,
    }


def digest(content: Any) -> str:
    """SHA-256 of the content as JSON with sorted keys, 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules sorted by id: row i of transitions is rule i. hash: of meanings and texts."""

    rules: tuple[Rule, ...]
    hash: str

    @property
    def cards(self) -> tuple[RuleCard, ...]:
        return tuple(rule.card for rule in self.rules)

    @staticmethod
    def of(rules: Iterable[Rule]) -> RuleSet:
        ordered = tuple(sorted(rules, key=lambda rule: rule.id))
        content = [
            [
                rule.card.hash,
                [rule.card.title.zh, rule.card.title.en],
                [rule.card.reason.zh, rule.card.reason.en],
                [rule.card.runbook.zh, rule.card.runbook.en],
                rule.card.standard,
                rule.card.owner,
            ]
            for rule in ordered
        ]
        return RuleSet(ordered, digest(content))

    @staticmethod
    def empty() -> RuleSet:
        return RuleSet.of(())
