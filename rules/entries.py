"""The derived quantities of a rule set: which there are, and their indices behind `QUANTITIES`.

Rules that ask for the same thing share it. Safety rules read all rows, other rules keep rows on
time and history apart, so the same words mean two quantities in the two classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITIES
from rules.expr.composed import Debounced, During
from rules.expr.composed import Sequence as Chain
from rules.expr.plan import Derived, Placing, Plan, Reading, Truth, placed, readings_of
from rules.owners import owned_by

FIRST = len(QUANTITIES)
"""Indices from here on are derived."""

MAX_DERIVED = 16_384
"""Derived quantities of one rule set; an index is an int16."""


@dataclass(frozen=True, slots=True)
class Entry:
    """index: its quantity in batches. name: unique in the rule set, and the same in every one.

    safety: made of all rows, else of rows on time and of history apart. families: names of those
    whose rules ask for it, sorted. owners: whose it is, see `rules.owners`, sorted.
    """

    index: int
    name: str
    derived: Derived
    safety: bool
    families: tuple[str, ...]
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One plan of one rule. owner: its key as text."""

    plan: Truth
    safety: bool
    family: str
    owner: str = ""


class Entries:
    """Gives indices by name, so that they don't hang on the order of the rules."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        families: dict[str, set[str]] = {}
        owners: dict[str, dict[str, None]] = {}
        kinds: dict[str, tuple[Derived, bool]] = {}
        for one in asked:
            for derived in _inside(one.plan):
                name = name_of(derived, safety=one.safety)
                kinds[name] = derived, one.safety
                families.setdefault(name, set()).add(one.family)
                owners.setdefault(one.owner, {})[name] = None
        owned = owned_by(owners, {name: derived for name, (derived, _) in kinds.items()})
        self._index = {name: FIRST + i for i, name in enumerate(sorted(kinds))}
        self.all = tuple(
            Entry(
                self._index[name],
                name,
                self._settled(kinds[name][0], safety=kinds[name][1]),
                kinds[name][1],
                tuple(sorted(families[name])),
                owned[name],
            )
            for name in sorted(kinds)
        )

    def settle(self, plan: Truth, *, safety: bool) -> Truth:
        """The plan with an index for each derived reading."""
        return placed(plan, self._placing(safety=safety))

    def _placing(self, *, safety: bool) -> Placing:
        def place(reading: Reading) -> Reading:
            derived = reading.derived
            if derived is None:
                return reading
            index = self._index[name_of(derived, safety=safety)]
            return Reading(index, self._settled(derived, safety=safety))

        return place

    def _settled(self, derived: Derived, *, safety: bool) -> Derived:
        place = self._placing(safety=safety)
        return derived.with_conditions(tuple(placed(c, place) for c in derived.conditions))


def name_of(derived: Derived, *, safety: bool) -> str:
    return f"{derived.key} of all rows" if safety else derived.key


def _inside(plan: Plan) -> Iterator[Derived]:
    """All derived quantities of a plan, and what they are made of."""
    for reading in readings_of(plan):
        if reading.derived is not None:
            for condition in reading.derived.conditions:
                yield from _inside(condition)
            yield reading.derived


def told_by_readings(entries: Sequence[Entry]) -> NDArray[np.bool_] | None:
    """bool by quantity index: whether people are told of the reading behind it, for it says only
    yes or no; None = none is.
    """
    silent = [isinstance(entry.derived, During | Chain | Debounced) for entry in entries]
    return np.array([False] * FIRST + silent) if any(silent) else None


def names(entries: Sequence[Entry]) -> tuple[str, ...]:
    """By quantity index, derived ones too."""
    return (*(quantity.name for quantity in QUANTITIES), *(entry.name for entry in entries))
