"""A checked expression: names resolved, units gone. Hashable; equal plans mean the same.

`show` is the one spelling of a plan: rule hashes and alert texts are made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from contracts.quantities import QUANTITIES
from rules.durations import duration_text


@dataclass(frozen=True, slots=True)
class Constant:
    """unit: only for showing."""

    value: float
    unit: str = "1"


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of a quantity of the device; quantity: index into `QUANTITIES`."""

    quantity: int


@dataclass(frozen=True, slots=True)
class Computed:
    """operator: + - * /."""

    operator: str
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Compared:
    """operator: < <= > >= == !=."""

    operator: str
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class OneOf:
    item: Number
    choices: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """A registry attribute of the device is one of `choices`."""

    attribute: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Silent:
    """`absent(...)`: no reading of the device for `for_ms`."""

    for_ms: int


@dataclass(frozen=True, slots=True)
class Negated:
    operand: Truth


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Truth, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Truth, ...]


Number: TypeAlias = Constant | Reading | Computed
Truth: TypeAlias = Compared | OneOf | AttributeIs | Silent | Negated | Both | Either
Plan: TypeAlias = Number | Truth


def walk(plan: Plan) -> Iterator[Plan]:
    """The plan and everything in it, in the order of writing."""
    yield plan
    if isinstance(plan, Computed | Compared):
        yield from walk(plan.left)
        yield from walk(plan.right)
    elif isinstance(plan, OneOf):
        yield from walk(plan.item)
    elif isinstance(plan, Negated):
        yield from walk(plan.operand)
    elif isinstance(plan, Both | Either):
        for part in plan.parts:
            yield from walk(part)


def quantities_of(plan: Plan) -> tuple[int, ...]:
    """Quantity indices in the order of their first use."""
    return tuple(dict.fromkeys(p.quantity for p in walk(plan) if isinstance(p, Reading)))


def attributes_of(plan: Plan) -> tuple[AttributeIs, ...]:
    return tuple(dict.fromkeys(p for p in walk(plan) if isinstance(p, AttributeIs)))


def silences_of(plan: Plan) -> tuple[int, ...]:
    """The durations of `absent`, ms."""
    return tuple(dict.fromkeys(p.for_ms for p in walk(plan) if isinstance(p, Silent)))


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def limits_of(plan: Plan) -> dict[int, float]:
    """Quantity -> the constant it is compared with, where there is exactly one."""
    found: dict[int, set[float]] = {}
    for part in walk(plan):
        if isinstance(part, Compared):
            sides = {part.left, part.right}
            for side, other in ((part.left, part.right), (part.right, part.left)):
                if isinstance(side, Reading) and isinstance(other, Constant) and len(sides) == 2:
                    found.setdefault(side.quantity, set()).add(other.value)
    return {quantity: limits.pop() for quantity, limits in found.items() if len(limits) == 1}


def show(plan: Plan) -> str:
    """The plan as text in canonical units; parts of and/or keep their order."""
    if isinstance(plan, Constant):
        return f"{plan.value:.15g}" if plan.unit == "1" else f"{plan.value:.15g} {plan.unit}"
    if isinstance(plan, Reading):
        return QUANTITIES[plan.quantity].name
    if isinstance(plan, Computed):
        return f"({show(plan.left)} {plan.operator} {show(plan.right)})"
    if isinstance(plan, Compared):
        left, right, operator = plan.left, plan.right, plan.operator
        if isinstance(left, Constant) and not isinstance(right, Constant):
            left, right, operator = right, left, _MIRRORED[operator]
        return f"{show(left)} {operator} {show(right)}"
    if isinstance(plan, OneOf):
        return f"{show(plan.item)} in [{', '.join(f'{c:.15g}' for c in plan.choices)}]"
    if isinstance(plan, AttributeIs):
        quoted = ", ".join(f'"{choice}"' for choice in plan.choices)
        return f"{plan.attribute} in [{quoted}]"
    if isinstance(plan, Silent):
        return f"absent({duration_text(plan.for_ms)})"
    if isinstance(plan, Negated):
        return f"not ({show(plan.operand)})"
    word = " and " if isinstance(plan, Both) else " or "
    return word.join(_grouped(part) for part in plan.parts)


def _grouped(plan: Plan) -> str:
    return f"({show(plan)})" if isinstance(plan, Both | Either) else show(plan)
