"""Which conditions a group rule may have, and that other rules have none of its functions."""

from __future__ import annotations

from collections.abc import Iterator

from rules.expr.plan import (
    Attribute,
    Compared,
    Computed,
    Constant,
    Counted,
    Every,
    OneOf,
    Plan,
    Reading,
    Silent,
    Truth,
    predicates_of,
    quantities_of,
    silences_of,
    walk,
)

MOST_PREDICATES = 8
"""Different questions in one group rule: each costs a verdict per device."""

_COUNT = "count devices: devices({}) >= 2, any({}), all({}) or share({}) > 0.5"


def faults_of(plan: Truth) -> Iterator[tuple[str, str]]:
    """(problem, mend) of a condition of a group rule."""
    for asked in predicates_of(plan):
        if predicates_of(asked):
            yield "a group function stands inside another", "count devices once"
        elif silences_of(asked):
            yield "absent can't be counted", "write a rule of its own with when: absent(...)"
        elif not quantities_of(asked):
            yield "counts devices without looking at a reading", "name a quantity"
    if len(predicates_of(plan)) > MOST_PREDICATES:
        yield f"asks more than {MOST_PREDICATES} questions", "split the rule"
    for part in _outside(plan):
        if isinstance(part, Reading | Attribute | Silent):
            yield "asks of one device, not of the group", _COUNT.format("...", "...", "...", "...")
        elif isinstance(part, Computed):
            yield "computes with counts", "compare devices() or share() with a number"
    yield from _impossible(plan)


def _impossible(plan: Truth) -> Iterator[tuple[str, str]]:
    for part in _outside(plan):
        if not isinstance(part, Compared):
            continue
        for side, other in ((part.left, part.right), (part.right, part.left)):
            if not isinstance(side, Counted) or not isinstance(other, Constant):
                continue
            if side.function == "share" and not 0 <= other.value <= 1:
                yield "a share is from 0 to 1", f"write share(...) > 0.5, not {other.value:g}"
            elif side.function == "devices" and other.value < 0:
                yield "a count is never below 0", "write devices(...) >= 2"


def _outside(plan: Plan) -> Iterator[Plan]:
    """What stands outside the questions asked of single devices."""
    yield plan
    if isinstance(plan, Counted | Every):
        return
    if isinstance(plan, Compared | Computed):
        inner: tuple[Plan, ...] = (plan.left, plan.right)
    elif isinstance(plan, OneOf):
        inner = (plan.item,)
    elif hasattr(plan, "parts"):
        inner = plan.parts
    else:
        inner = (plan.operand,) if hasattr(plan, "operand") else ()
    for part in inner:
        yield from _outside(part)


def is_grouped(plan: Truth) -> bool:
    """Whether it has a function that only group rules have."""
    return any(isinstance(part, Counted | Every) for part in walk(plan))
