"""Running durations of a changed rule, judged at the change by what is known of their readings.

An instance keeps the reading at its onset, and when the newest one was. Where the new rule excludes
the reading at the onset and there was none since, there is nothing to wait for. Where there were
others, nothing is known but that they fitted the old numbers: the duration begins anew at the
newest of them, and no value is told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.expr.evaluate import Bools, Floats, judge
from rules.expr.plan import Attribute
from rules.instances import PENDING, State
from rules.members import Members
from rules.ruleset import RuleSet


def judged_anew(state: State, ruleset: RuleSet, members: Members) -> Bools:
    """bool per instance of the new rules: whether it ends. Durations that go on are put right."""
    ends = np.zeros(len(state), np.bool_)
    for number in np.unique(state.rule[state.phase == PENDING]).tolist():
        rule = ruleset.rules[number]
        if len(rule.quantities) != 1 or rule.silence_ms:
            continue
        at = np.flatnonzero((state.rule == number) & (state.phase == PENDING))
        at = at[(state.quantity[at] == rule.quantities[0]) & ~np.isnan(state.value[at])]
        rank = members.rank[state.device[at]]
        _, false = judge(rule.when, _Kept(members, number, rank, state.value[at]))
        out = at[false]
        alone = state.seen[out] <= state.onset[out]
        ends[out[alone]] = True
        anew = out[~alone]
        state.onset[anew] = state.since[anew] = state.seen[anew]
        state.value[anew] = np.nan
    return ends


class _Kept:
    """The readings at the onsets as an expression sees them."""

    def __init__(self, members: Members, rule: int, rank: NDArray[np.int32], value: Floats) -> None:
        self._members, self._rule, self._rank, self._value = members, rule, rank, value

    def reading(self, quantity: int) -> Floats:
        del quantity  # The only one.
        return self._value

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._members.answers(self._rule)[plan][self._rank]

    def silent(self, for_ms: int) -> Bools:
        raise KeyError(for_ms)
