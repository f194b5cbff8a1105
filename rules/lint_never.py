"""Findings on what can be written and can't happen, or hardly is what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from contracts.quantities import QUANTITIES
from rules.durations import duration_text
from rules.expr.composed import Sequence
from rules.expr.plan import Compared, Constant, Reading, Truth, readings_of, walk
from rules.ruleset import Rule

_Said = Iterator[tuple[str, str, str]]

FAR = 500
"""A proposal: limits of when and clear that lie this many times apart are of different units;
metric units that are taken for one another differ by 1000."""


def never_findings(rule: Rule, met: Callable[[Truth], bool]) -> _Said:
    """(path, problem, mend). met: whether some values fit a condition."""
    yield from _steps(rule, met)
    yield from _flapping(rule)
    yield from _far(rule)


def _steps(rule: Rule, met: Callable[[Truth], bool]) -> _Said:
    for reading in readings_of(rule.when):
        if isinstance(reading.derived, Sequence):
            for number, step in enumerate(reading.derived.steps):
                if not met(step):
                    problem = "no value can ever fit, so the sequence is never complete"
                    yield f"sequence[{number}].when", problem, "look at the limits"


def _flapping(rule: Rule) -> _Said:
    """Between two raises an alert lasts at least its end's delay, and the next its own `for`."""
    flapping = rule.flapping
    if flapping is None:
        return
    least_ms = (flapping.raises - 1) * (rule.for_ms + rule.clear_for_ms + rule.keep_ms)
    if least_ms > flapping.within_ms:
        within = duration_text(flapping.within_ms)
        problem = (
            f"{flapping.raises} raises take at least {duration_text(least_ms)}, never {within}"
        )
        yield "flapping", problem, "make within longer, or for and clear_for shorter"


def _far(rule: Rule) -> _Said:
    if rule.clear is None:
        return
    ends = _limits(rule.clear)
    for quantity, limit in _limits(rule.when).items():
        other = ends.get(quantity, limit)
        if max(limit, other) >= FAR * min(limit, other):
            problem = (
                f"its limit of {QUANTITIES[quantity].name} is {FAR} times away from when's, or more"
            )
            yield "clear", problem, "look at the units"


def _limits(plan: Truth) -> dict[int, float]:
    """Of plain readings that are compared with one number other than 0, its size."""
    found: dict[int, set[float]] = {}
    for part in walk(plan):
        if isinstance(part, Compared):
            for side, other in ((part.left, part.right), (part.right, part.left)):
                plain = isinstance(side, Reading) and side.derived is None
                if plain and isinstance(other, Constant) and isinstance(side, Reading):
                    found.setdefault(side.quantity, set()).add(abs(other.value))
    return {quantity: min(some) for quantity, some in found.items() if len(some) == 1 and min(some)}
