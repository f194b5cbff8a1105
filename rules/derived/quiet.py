"""Which rows of windows no rule wants, so that they needn't be made.

What functions over the same window of the same quantity say is said together, at each reading and
tick. A rule that looks at nothing else hangs on no earlier row: at a device without an open or
pending alert, rows that don't breach it can't matter. A rule that looks at other quantities too
remembers values, and needs every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.entries import Entry
from rules.expr.evaluate import Bools, Floats, maybe
from rules.expr.plan import Attribute, AttributeNumber, Truth, quantities_of, walk
from rules.ruleset import Rule


class Quiet:
    """quantities: derived ones of which rows may be left out."""

    def __init__(self, rules: Sequence[Rule], entries: Iterable[Entry]) -> None:
        self._asked = [(set(rule.quantities), rule.when) for rule in rules if _rests(rule)]
        others = {q for rule in rules if not _rests(rule) for q in rule.quantities}
        inside = (c for entry in entries for c in entry.derived.conditions)
        self._kept = others | {q for condition in inside for q in quantities_of(condition)}
        self.quantities: set[int] = set()

    def plans(self, together: Iterable[int]) -> tuple[Truth, ...] | None:
        """What rules ask of quantities that are always said together; None = they want all rows."""
        own = set(together)
        asking = [(asked, when) for asked, when in self._asked if asked & own]
        if own & self._kept or any(not asked <= own for asked, _ in asking):
            return None
        if any(isinstance(part, AttributeNumber) for _, when in asking for part in walk(when)):
            return None  # What a device meets hangs on its own limit.
        self.quantities |= own
        return tuple(dict.fromkeys(when for _, when in asking))


def _rests(rule: Rule) -> bool:
    """Whether nothing but what may make its condition true matters to it."""
    return rule.mode == "timed" and rule.hearing != "drop"


def stirs(plans: Sequence[Truth], values: Mapping[int, Floats], rows: int) -> Bools:
    """bool per row: whether a plan may be true there."""
    columns = _Said(values, rows)
    found = np.zeros(rows, np.bool_)
    for plan in plans:
        found |= maybe(plan, columns)
    return found


class _Said:
    """Of attributes nothing is known: what hangs on them may be true."""

    def __init__(self, values: Mapping[int, Floats], rows: int) -> None:
        self._values = values
        self._rows = rows

    def reading(self, quantity: int) -> Floats:
        return self._values[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        del plan
        return np.zeros(self._rows, np.uint8)

    def silent(self, for_ms: int) -> Bools:
        raise KeyError(for_ms)
