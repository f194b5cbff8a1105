"""What answers to a question are worth when its numbers have changed.

A device's newest value isn't kept, only its answer. Where the limit of a single comparison moved,
one of the two answers is still sure: what was above 250 is above 200, what wasn't isn't above 500.
Any other answer is forgotten: the device is asked anew, and may be either until it speaks.
"""

from __future__ import annotations

import math

import msgspec

from contracts.predicates import Verdict
from rules.expr.plan import MIRRORED, Compared, Constant, Truth, show

ALL = frozenset((Verdict.FALSE, Verdict.TRUE))
NONE: frozenset[Verdict] = frozenset()


class Wording(msgspec.Struct, frozen=True, array_like=True):
    """text: the question. head: of a comparison with a number what stands before it, else "".
    limit: that number, else NaN."""

    text: str
    head: str = ""
    limit: float = math.nan


def wording(plan: Truth) -> Wording:
    if isinstance(plan, Compared):
        left, right, operator = plan.left, plan.right, plan.operator
        if isinstance(left, Constant):
            left, right, operator = right, left, MIRRORED[operator]
        if isinstance(right, Constant) and not isinstance(left, Constant):
            return Wording(show(plan), f"{show(left)} {operator}", right.value)
    return Wording(show(plan))


def sure_of(then: Wording, now: Wording) -> frozenset[Verdict]:
    """Answers to the old question that are answers to the new one."""
    if then.text == now.text:
        return ALL
    if not now.head or then.head != now.head:
        return NONE
    wider = now.limit <= then.limit if now.head.endswith((">", ">=")) else now.limit >= then.limit
    if not now.head.endswith((">", ">=", "<", "<=")):
        return NONE
    return frozenset((Verdict.TRUE if wider else Verdict.FALSE,))
