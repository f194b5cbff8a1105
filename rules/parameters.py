"""What the rules of a set demand, as columns: row i belongs to rule i."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITIES
from rules.expr.plan import limits_of
from rules.ruleset import Rule, RuleSet


class Parameters:
    """for_ms, clear_for_ms, missing_ms: int64, 0 = none.

    when_limit, clear_limit: float64[rules, quantities + 1], NaN = no single limit; the last
    column, which the quantity -1 names, is for transitions without a reading.
    """

    def __init__(self, ruleset: RuleSet) -> None:
        rules = ruleset.rules
        self.for_ms = np.array([rule.for_ms for rule in rules], np.int64)
        self.clear_for_ms = np.array([rule.clear_for_ms for rule in rules], np.int64)
        self.missing_ms = np.array([rule.missing_ms for rule in rules], np.int64)
        self.when_limit = _limits(rules, clear=False)
        self.clear_limit = _limits(rules, clear=True)


def _limits(rules: tuple[Rule, ...], *, clear: bool) -> NDArray[np.float64]:
    table = np.full((len(rules), len(QUANTITIES) + 1), np.nan)
    for row, rule in enumerate(rules):
        plan = rule.clear if clear and rule.clear is not None else rule.when
        for quantity, limit in limits_of(plan).items():
            table[row, quantity] = limit
    return table
