"""What the rules of a set demand, as columns: row i belongs to rule i."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.entries import FIRST
from rules.expr.evaluate import value_of
from rules.expr.limits import Limit, limits_of, met
from rules.expr.plan import Attribute, Constant, count_limit_of
from rules.members import Members
from rules.positions import true_at
from rules.ruleset import Flapping, Rule, RuleSet


class Parameters:
    """for_ms, clear_for_ms, missing_ms: int64, 0 = none. when_limit, clear_limit: what their
    quantities are compared with.

    keep_ms: int64, how long after its last breach an instance ends by itself, 0 = it doesn't.
    flap_raises, flap_within_ms, flap_for_ms: int64, of `flapping`, 0 = it isn't watched.
    flap_ends: whether raises are forgotten in time. keeps, flaps: whether any rule has one.
    """

    def __init__(self, ruleset: RuleSet, members: Members) -> None:
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
        self.when_limit = Limits(rules, members, clear=False)
        self.clear_limit = Limits(rules, members, clear=True)


class Limits:
    """What a rule compares a quantity with. Few pairs have anything: a sorted list."""

    def __init__(self, rules: tuple[Rule, ...], members: Members, *, clear: bool) -> None:
        self._members = members
        found = {_NONE: np.nan}
        self._several: dict[int, tuple[Limit, ...]] = {}
        for row, rule in enumerate(rules):
            plan = rule.clear if clear and rule.clear is not None else rule.when
            if rule.group is not None:
                found[row << 16 | _COUNT] = count_limit_of(plan)
                continue
            for quantity, limits in _by_name(rule, limits_of(plan)).items():
                key, number = row << 16 | quantity, limits[0].number
                if len(limits) == 1 and isinstance(number, Constant):
                    found[key] = number.value
                else:
                    self._several[key] = limits
        self._keys = np.array(sorted(found), np.int64)
        self._limits = np.array([found[key] for key in sorted(found)])

    def of(
        self,
        rule: NDArray[np.int16],
        quantity: NDArray[np.int16],
        device: NDArray[np.int32],
        value: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """float64 per row, NaN = no limit; quantity -1 asks for that of a count.

        device: directory rows (of groups theirs). value: of the reading, which tells several
        limits apart.
        """
        key = rule.astype(np.int64) << 16 | np.where(
            quantity < 0, _COUNT, quantity.astype(np.int64)
        )
        at = np.searchsorted(self._keys, key)
        found: NDArray[np.float64] = np.where(self._keys[at] == key, self._limits[at], np.nan)
        for one, limits in self._several.items() if len(key) else ():
            mine = true_at(key == one)
            if len(mine):
                columns = _Fixed(self._members, one >> 16, device[mine])
                numbers = [np.asarray(value_of(limit.number, columns)) for limit in limits]
                found[mine] = met(value[mine], limits, numbers)
        return found


def _by_name(rule: Rule, limits: dict[int, tuple[Limit, ...]]) -> dict[int, tuple[Limit, ...]]:
    """The same for all that the rule reads by one name: windows that may be told early, and the
    whole ones, are two quantities."""
    names = {one.quantity: one.name for one in rule.readings}
    of_name: dict[str, tuple[Limit, ...]] = {}
    for quantity, said in limits.items():
        name = names.get(quantity, "")
        of_name[name] = tuple(dict.fromkeys(of_name.get(name, ()) + said))
    known = {quantity: of_name[name] for quantity, name in names.items() if name in of_name}
    return limits | known


class _Fixed:
    """Devices as an expression without readings sees them."""

    def __init__(self, members: Members, rule: int, device: NDArray[np.int32]) -> None:
        self._members, self._rule, self._device = members, rule, device

    def reading(self, quantity: int) -> NDArray[np.float64]:
        raise KeyError(quantity)

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._members.answers(self._rule)[plan][self._members.rank[self._device]]

    def silent(self, for_ms: int) -> NDArray[np.bool_]:
        raise KeyError(for_ms)


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
