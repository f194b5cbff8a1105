"""The condition of a group on counts of its devices' answers, three-valued.

A count is an interval: devices whose answer isn't known may or may not be among it. An alert is
raised only by what is sure, and ended only by what no lost device could change:

* for raising, a device that never answered or is lost may be either;
* for ending, a device that never answered is left out, and a lost one may be either;
* for both, a device that hasn't answered since its question changed may be either; it isn't lost.

In safety rules, a device that was lost while the answer was "true" still counts for raising.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from rules.expr.evaluate import Bools
from rules.expr.plan import (
    Both,
    Compared,
    Constant,
    Counted,
    Either,
    Every,
    Negated,
    Number,
    OneOf,
    Truth,
    counts_of,
    predicates_of,
    walk,
)
from rules.verdict import LOST, encode

NEVER, FALSE, TRUE, LOST_FALSE, LOST_TRUE, ANEW = range(6)
"""What is known of a device's answer; the columns of a tally."""

STATES = 6

Tally = NDArray[np.int32]
"""int32[rows, STATES]: how many devices are in each state."""

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Tallies:
    """of: predicate -> its tally, one row for each row to judge. safety: of the rule."""

    of: Mapping[Truth, Tally]
    safety: bool

    def sure(self, predicate: Truth) -> NDArray[np.int32]:
        """How many devices count as true."""
        tally = self.of[predicate]
        sure: NDArray[np.int32] = tally[:, TRUE] + (tally[:, LOST_TRUE] if self.safety else 0)
        return sure


def verdicts(when: Truth, clear: Truth | None, tallies: Tallies) -> NDArray[np.uint8]:
    """uint8 per row: bits of `rules.verdict`."""
    breach, _ = _judge(when, tallies, ending=False)
    still, over = _judge(when, tallies, ending=True)
    over &= ~breach
    unsure = ~(still | over)
    # What only hangs on answers to come begins anew: nothing goes on towards an alert.
    anew = unsure & _only_anew(tallies)
    if clear is None:
        code = encode(breach, over | anew & ~breach, over, breach | still | unsure)
    else:
        clears, holds = _judge(clear, tallies, ending=True)
        unsure &= ~holds
        code = encode(breach, over | anew & ~breach, clears & over, holds | breach | unsure)
    code |= np.where(unsure & ~anew, LOST, 0).astype(np.uint8)
    return code


def _only_anew(tallies: Tallies) -> Bools:
    """Whether devices haven't answered a changed question, and none is lost."""
    anew = np.logical_or.reduce([tally[:, ANEW] > 0 for tally in tallies.of.values()])
    lost = [(tally[:, LOST_FALSE] + tally[:, LOST_TRUE]) > 0 for tally in tallies.of.values()]
    only: Bools = anew & ~np.logical_or.reduce(lost)
    return only


def decided(when: Truth, tallies: Tallies) -> NDArray[np.float64]:
    """The number that the condition names first: devices, or their share."""
    first = counts_of(when)[0]
    sure = tallies.sure(first.operand).astype(np.float64)
    if isinstance(first, Counted) and first.function == "share":
        sure /= np.maximum(tallies.of[first.operand].sum(axis=1), 1)
    return sure


def _judge(plan: Truth, tallies: Tallies, *, ending: bool) -> tuple[Bools, Bools]:
    """(true, false); unknown where neither."""
    if isinstance(plan, Every):
        return _every(tallies.of[plan.operand], tallies, plan, ending=ending)
    if isinstance(plan, Compared):
        left = _bounds(plan.left, tallies, ending=ending)
        right = _bounds(plan.right, tallies, ending=ending)
        return _compared(plan.operator, left, right)
    if isinstance(plan, OneOf):
        low, high = _bounds(plan.item, tallies, ending=ending)
        among = [(low <= choice) & (choice <= high) for choice in plan.choices]
        possible: Bools = np.logical_or.reduce(among)
        return possible & (low == high), ~possible
    if isinstance(plan, Negated):
        true, false = _judge(plan.operand, tallies, ending=ending)
        return false, true
    if not isinstance(plan, Both | Either):
        raise TypeError(f"no condition of a group: {plan}")
    judged = [_judge(part, tallies, ending=ending) for part in plan.parts]
    trues, falses = [true for true, _ in judged], [false for _, false in judged]
    if isinstance(plan, Both):
        return np.logical_and.reduce(trues), np.logical_or.reduce(falses)
    return np.logical_or.reduce(trues), np.logical_and.reduce(falses)


def _every(tally: Tally, tallies: Tallies, plan: Every, *, ending: bool) -> tuple[Bools, Bools]:
    false = tally[:, FALSE] > 0
    total = tally.sum(axis=1)
    if ending:
        total = total - tally[:, NEVER]
        return (tally[:, TRUE] == total) & (total > 0), false
    return (tallies.sure(plan.operand) == total) & (total > 0), false


def _bounds(plan: Number, tallies: Tallies, *, ending: bool) -> Bounds:
    if isinstance(plan, Constant):
        value = np.array([plan.value])
        return value, value
    if not isinstance(plan, Counted):
        raise TypeError(f"no count: {plan}")
    tally = tallies.of[plan.operand]
    low = tally[:, TRUE].astype(np.float64)
    high = low + tally[:, LOST_FALSE] + tally[:, LOST_TRUE] + tally[:, ANEW]
    if not ending:
        low = tallies.sure(plan.operand).astype(np.float64)
        high = high + tally[:, NEVER]
    if plan.function == "share":
        total = np.maximum(tally.sum(axis=1), 1)
        return low / total, high / total
    return low, high


def _compared(operator: str, left: Bounds, right: Bounds) -> tuple[Bools, Bools]:
    if operator in (">", ">="):
        left, right, operator = right, left, {">": "<", ">=": "<="}[operator]
    (a, b), (c, d) = left, right
    if operator == "<":
        return b < c, a >= d
    if operator == "<=":
        return b <= c, a > d
    same, apart = (a == b) & (c == d) & (a == c), (b < c) | (d < a)
    return (same, apart) if operator == "==" else (apart, same)


MOST_TRIED = 4_096
"""Combinations of counts that a condition is tried on."""


def tried(when: Truth, clear: Truth | None) -> tuple[Bools, Bools | None]:
    """(raises, clears) of groups in which everything is known, counts around every limit."""
    plans = (when,) if clear is None else (when, clear)
    parts = [part for plan in plans for part in walk(plan)]
    limits = [part.value for part in parts if isinstance(part, Constant)]
    limits += [choice for part in parts if isinstance(part, OneOf) for choice in part.choices]
    whole = {int(limit) for limit in limits if 1 <= limit < 10_000}
    size = max(whole, default=1) * 2 + 20
    shares = {round(limit * size) for limit in limits if 0 <= limit <= 1}
    near = {n + step for n in whole | shares for step in (-1, 0, 1)} | {0, size}
    counts = sorted(n for n in near if 0 <= n <= size)
    asked = tuple(dict.fromkeys(p for plan in plans for p in predicates_of(plan)))
    grid = np.array(list(islice(product(counts, repeat=len(asked)), MOST_TRIED)), np.int32)
    tallies = Tallies({plan: settled(grid[:, i], size) for i, plan in enumerate(asked)}, False)
    raises, _ = _judge(when, tallies, ending=False)
    return raises, None if clear is None else _judge(clear, tallies, ending=True)[0]


def is_true_of_none(when: Truth) -> bool:
    """Whether it holds where no device's answer is true."""
    tally = settled(np.zeros(1, np.int32), 10)
    tallies = Tallies(dict.fromkeys(predicates_of(when), tally), False)
    return bool(_judge(when, tallies, ending=False)[0].all())


def judged_settled(plan: Truth, tallies: Tallies) -> Bools:
    """Whether it is true, per row; every answer is known."""
    return _judge(plan, tallies, ending=False)[0]


def settled(true: NDArray[np.int32], size: int) -> Tally:
    """One row for each number of devices that are true, of a group in which all have spoken."""
    tally = np.zeros((len(true), STATES), np.int32)
    tally[:, TRUE], tally[:, FALSE] = true, size - true
    return tally
