"""What the rules of a set demand, as columns: row i belongs to rule i."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.entries import FIRST
from rules.expr.plan import count_limit_of, limits_of
from rules.ruleset import Flapping, Rule, RuleSet


class Parameters:
    """for_ms, clear_for_ms, missing_ms: int64, 0 = none. when_limit, clear_limit: what their
    quantities are compared with.

    keep_ms: int64, how long after its last breach an instance ends by itself, 0 = it doesn't.
    flap_raises, flap_within_ms, flap_for_ms: int64, of `flapping`, 0 = it isn't watched.
    flap_ends: whether raises are forgotten in time. keeps, flaps: whether any rule has one.
    """

    def __init__(self, ruleset: RuleSet) -> None:
        rules = ruleset.rules
        self.for_ms = np.array([rule.for_ms for rule in rules], np.int64)
        self.clear_for_ms = np.array([rule.clear_for_ms for rule in rules], np.int64)
        self.missing_ms = np.array([rule.missing_ms for rule in rules], np.int64)
        # The devices of a group are lost one by one: its own verdict says what that means.
        self.missing_ms[[rule.group is not None for rule in rules]] = 0
        self.keep_ms = np.array([rule.keep_ms for rule in rules], np.int64)
        self.keeps = bool(self.keep_ms.any())
        watched = [rule.flapping or _NOT_WATCHED for rule in rules]
        self.flap_raises = np.array([one.raises for one in watched], np.int64)
        self.flap_within_ms = np.array([one.within_ms for one in watched], np.int64)
        self.flap_for_ms = np.array([one.for_ms for one in watched], np.int64)
        self.flaps = bool(self.flap_raises.any())
        # Where old readings ring as well, no raise is ever too old to count.
        self.flap_ends = [rule.late != "fire" for rule in rules]
        self.when_limit = Limits(rules, clear=False)
        self.clear_limit = Limits(rules, clear=True)


class Limits:
    """The one constant that a rule compares a quantity with. Few pairs have one: a sorted list."""

    def __init__(self, rules: tuple[Rule, ...], *, clear: bool) -> None:
        found = {_NONE: np.nan}
        for row, rule in enumerate(rules):
            plan = rule.clear if clear and rule.clear is not None else rule.when
            if rule.group is not None:
                found[row << 16 | _COUNT] = count_limit_of(plan)
                continue
            for quantity, limit in limits_of(plan).items():
                found[row << 16 | quantity] = limit
        self._keys = np.array(sorted(found), np.int64)
        self._limits = np.array([found[key] for key in sorted(found)])

    def of(self, rule: NDArray[np.int16], quantity: NDArray[np.int16]) -> NDArray[np.float64]:
        """float64 per pair, NaN = no single limit; quantity -1 asks for that of a count."""
        key = rule.astype(np.int64) << 16 | np.where(
            quantity < 0, _COUNT, quantity.astype(np.int64)
        )
        at = np.searchsorted(self._keys, key)
        found: NDArray[np.float64] = np.where(self._keys[at] == key, self._limits[at], np.nan)
        return found


class TermOf:
    """Which of the terms of its card a derived quantity is; rule: a row of the cards."""

    def __init__(self, ruleset: RuleSet) -> None:
        found = {_NONE: -1}
        for row, rule in zip(ruleset.public.tolist(), ruleset.rules, strict=True):
            names = [term.name for term in rule.card.terms]
            for reading in rule.readings:
                if reading.derived is not None:
                    found[row << 16 | reading.quantity] = FIRST + names.index(reading.name)
        self._keys = np.array(sorted(found), np.int64)
        self._terms = np.array([found[key] for key in sorted(found)], np.int16)

    def of(self, rule: NDArray[np.int32], quantity: NDArray[np.int16]) -> NDArray[np.int16]:
        """int16 per pair, behind `QUANTITIES`; plain quantities and -1 stay as they are."""
        key = rule.astype(np.int64) << 16 | np.maximum(quantity, 0)
        at = np.searchsorted(self._keys, key)
        found = np.where(self._keys[at] == key, self._terms[at], -1).astype(np.int16)
        return np.where(quantity < FIRST, quantity, found)


_NOT_WATCHED = Flapping(0, 0, 0)
_NONE = 2**62
_COUNT = 2**16 - 1
"""Stands for the number of devices of a group."""
