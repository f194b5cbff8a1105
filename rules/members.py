"""Which rules watch which devices, and where the state of each pair stands.

Devices are numbered inside their family (`rank`), so that a rule pays only for devices of its
own family. Strangers come after the registered devices and have no attributes: a rule that
selects by attributes watches them only when it is a safety rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.transitions import Episode
from contracts.where import belongs
from rules.expr.attributes import amount
from rules.expr.plan import Attribute, AttributeNumber, attributes_of
from rules.positions import true_at
from rules.ruleset import Rule, RuleSet

LIVE, LATE = int(Episode.LIVE), int(Episode.LATE)
"""As plain numbers: an attribute of an enumeration costs as much as a small array operation."""
NOT_WATCHED = -2
INACTIVE = -1


class Members:
    """rank: int32 per directory row. `slots(lane, rule)`: int32 by rank: `NOT_WATCHED`,
    `INACTIVE`, or a slot of `Instances`. active[lane][rule]: how many slots there are.
    """

    def __init__(self, ruleset: RuleSet, directory: DeviceDirectory) -> None:
        self._rules = ruleset.rules
        self._directory = directory
        self._rank = np.empty(0, np.int32)
        self._count = [0] * len(FAMILIES)
        self._rows = [np.empty(0, np.int32) for _ in FAMILIES]
        self._family = [FAMILY_INDEX[rule.card.family] for rule in self._rules]
        self._slots = [np.empty(0, np.int32) for _ in self._rules]
        self._late: list[NDArray[np.int32] | None] = [None for _ in self._rules]
        self._answers: list[dict[Attribute, NDArray[Any]]] = [
            {plan: no_answers(plan) for plan in _attributes(rule)} for rule in self._rules
        ]
        self.active = [[0] * len(self._rules) for _ in Episode]
        self._known = 0
        self.grow()

    @property
    def rank(self) -> NDArray[np.int32]:
        return self._rank

    def family_of(self, rule: int) -> int:
        return self._family[rule]

    def rows(self, family: int) -> NDArray[np.int32]:
        """Directory rows of a family by rank. A view."""
        return self._rows[family][: self._count[family]]

    def room(self, family: int) -> int:
        """Ranks that arrays by rank have room for."""
        return len(self._rows[family])

    def slots(self, lane: int, rule: int) -> NDArray[np.int32]:
        """Writable; the late lane is made when it is first asked for."""
        if lane == LIVE:
            return self._slots[rule]
        late = self._late[rule]
        if late is None:
            live = self._slots[rule]
            late = self._late[rule] = np.where(live == NOT_WATCHED, NOT_WATCHED, INACTIVE).astype(
                np.int32
            )
        return late

    def answers(self, rule: int) -> dict[Attribute, NDArray[Any]]:
        """Per attribute that the rule asks for, by rank: as `answer` gives them."""
        return self._answers[rule]

    def state_bytes(self) -> int:
        late = sum(slots.nbytes for slots in self._late if slots is not None)
        return sum(slots.nbytes for slots in self._slots) + late

    def grow(self) -> bool:
        """Take in devices that the directory has got since; whether there were any."""
        first, last = self._known, len(self._directory)
        if first == last:
            return False
        families = self._directory.family[first:last]
        rank = np.empty(last - first, np.int32)
        for family in np.unique(families).tolist():
            fresh = true_at(families == family)
            count = self._count[family]
            rank[fresh] = np.arange(count, count + len(fresh), dtype=np.int32)
            self._append(family, (fresh + first).astype(np.int32))
        self._rank = np.concatenate([self._rank, rank])
        self._known = last
        return True

    def _append(self, family: int, rows: NDArray[np.int32]) -> None:
        start = self._count[family]
        end = self._count[family] = start + len(rows)
        if end > self.room(family):
            self._make_room(family, end if start == 0 else end + end // 2)
        self._rows[family][start:end] = rows
        for number, rule in enumerate(self._rules):
            if self._family[number] != family:
                continue
            watched = np.where(self._selected(rule, rows), INACTIVE, NOT_WATCHED)
            self._slots[number][start:end] = watched
            late = self._late[number]
            if late is not None:
                late[start:end] = watched
            for plan, answers in self._answers[number].items():
                answers[start:end] = answer(self._directory, plan, rows)

    def _make_room(self, family: int, size: int) -> None:
        self._rows[family] = _roomy(self._rows[family], size)
        for number in range(len(self._rules)):
            if self._family[number] != family:
                continue
            self._slots[number] = _roomy(self._slots[number], size)
            late = self._late[number]
            if late is not None:
                self._late[number] = _roomy(late, size)
            answers = self._answers[number]
            for plan in answers:
                grown = no_answers(plan, size)
                grown[: len(answers[plan])] = answers[plan]
                answers[plan] = grown

    def _selected(self, rule: Rule, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        stranger = rows >= self._directory.registered
        selected = np.ones(len(rows), np.bool_)
        for attribute, values in rule.selectors:
            selected &= has(self._directory, attribute, values, rows)
        if rule.selectors:
            selected[stranger] = rule.card.safety
        if rule.card.where or rule.card.beside:
            selected &= belongs(rule.card, self._directory, rows)
        return selected


def has(
    directory: DeviceDirectory, attribute: str, values: tuple[str, ...], rows: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Whether devices have an attribute with one of the values; strangers have none."""
    found = np.zeros(len(rows), np.bool_)
    column = directory.registry.devices.attributes.get(attribute)
    registered = rows < directory.registered
    if column is not None:
        accepted = [i for i, value in enumerate(column.values) if value in values]
        found[registered] = np.isin(column.codes[rows[registered]], accepted)
    return found


def no_answers(plan: Attribute, size: int = 0) -> NDArray[Any]:
    """Room for answers, all unknown."""
    if isinstance(plan, AttributeNumber):
        return np.full(size, np.nan)
    return np.zeros(size, np.uint8)


def answer(directory: DeviceDirectory, plan: Attribute, rows: NDArray[np.int32]) -> NDArray[Any]:
    """uint8: 0 unknown (a stranger), 1 true, 2 false. Of a number float64, NaN = unknown."""
    if isinstance(plan, AttributeNumber):
        return _numbers(directory, plan, rows)
    found = np.where(has(directory, plan.attribute, plan.choices, rows), 1, 2).astype(np.uint8)
    found[rows >= directory.registered] = 0
    return found


def _numbers(
    directory: DeviceDirectory, plan: AttributeNumber, rows: NDArray[np.int32]
) -> NDArray[np.float64]:
    found = no_answers(plan, len(rows))
    column = directory.registry.devices.attributes.get(plan.attribute)
    if column is not None:
        said = np.array([*(amount(value, plan) for value in column.values), np.nan])
        registered = rows < directory.registered
        found[registered] = said[column.codes[rows[registered]]]  # Code -1: the last, none.
    return found


def _attributes(rule: Rule) -> tuple[Attribute, ...]:
    clear = () if rule.clear is None else attributes_of(rule.clear)
    return tuple(dict.fromkeys(attributes_of(rule.when) + clear))


def _roomy(column: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    grown = np.full(size, NOT_WATCHED, np.int32)
    grown[: len(column)] = column
    return grown
