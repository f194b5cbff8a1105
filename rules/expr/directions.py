"""Which way a condition looks: its comparisons without their numbers.

Numbers of a rule may change under what it has come to; a comparison that is turned round asks for
something else.
"""

from __future__ import annotations

from collections.abc import Iterator

from rules.expr.plan import (
    MIRRORED,
    AttributeIs,
    Both,
    Compared,
    Constant,
    Counted,
    Either,
    Every,
    Negated,
    Number,
    OneOf,
    Reading,
    Truth,
    readings_of,
    walk,
)

_OPPOSITE = {"<": ">", ">": "<", "=": "!", "!": "="}


def directions(plan: Truth) -> str:
    """Of all comparisons, each once, sorted: `residual_current >, voltage <`.

    `>` and `>=` look the same way; `not x > 5` looks as `x <= 5` does.
    """
    return ", ".join(sorted(set(_looks(plan, turned=False))))


def _looks(plan: Truth, *, turned: bool) -> Iterator[str]:
    if isinstance(plan, Both | Either):
        for part in plan.parts:
            yield from _looks(part, turned=turned)
    elif isinstance(plan, Negated):
        yield from _looks(plan.operand, turned=not turned)
    elif isinstance(plan, Compared):
        yield _comparison(plan, turned=turned)
    elif isinstance(plan, OneOf | AttributeIs):
        item = plan.attribute if isinstance(plan, AttributeIs) else _name(plan.item)
        yield f"{item} {'not in' if turned else 'in'}"
    elif isinstance(plan, Every):
        yield f"{'not ' * turned}all({directions(plan.operand)})"


def _comparison(plan: Compared, *, turned: bool) -> str:
    left, right, operator = plan.left, plan.right, plan.operator
    if isinstance(left, Constant):
        left, right, operator = right, left, MIRRORED[operator]
    way = _OPPOSITE[operator[0]] if turned else operator[0]
    if isinstance(left, Reading) and left.derived is not None and left.derived.boolean:
        # Its own conditions look one way each; what is asked of it is that it is true.
        inside = "; ".join(directions(condition) for condition in left.derived.conditions)
        return f"{'not ' * turned}{left.shape}({inside})"
    return f"{_name(left)} {way} {_name(right)}".rstrip()


def _name(plan: Number) -> str:
    """What is compared, without numbers."""
    counts = [part for part in walk(plan) if isinstance(part, Counted)]
    if counts:
        return " ".join(f"{one.function}({directions(one.operand)})" for one in counts)
    return " ".join(reading.shape for reading in readings_of(plan))
