"""A checked expression: names resolved, units gone. Hashable; equal plans mean the same.

`show` is the one spelling of a plan: rule hashes and alert texts are made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from contracts.quantities import QUANTITIES
from rules.durations import duration_text


@dataclass(frozen=True, slots=True)
class Constant:
    """unit: only for showing."""

    value: float
    unit: str = "1"


class Derived(Protocol):
    """A quantity that is made of readings and time: a window, a sequence, a schedule.

    Frozen and hashable. Equal ones are made once for a rule set; see `rules.entries`.
    """

    @property
    def name(self) -> str:
        """How an expression writes it, in canonical units; what people see."""
        ...

    @property
    def key(self) -> str:
        """Tells it from every other one of a rule set; it may say more than the name."""
        ...

    @property
    def shape(self) -> str:
        """The same while only numbers change that what a rule has come to doesn't hang on."""
        ...

    @property
    def unit(self) -> str: ...

    @property
    def boolean(self) -> bool:
        """Whether it is 1 (true) or 0 (false), and is written without `== 1`."""
        ...

    @property
    def base(self) -> int:
        """Index into `QUANTITIES` of the quantity that alerts are about, -1 = none."""
        ...

    @property
    def conditions(self) -> tuple[Truth, ...]:
        """What it asks of other quantities."""
        ...

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        """The same with others in their places."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of a quantity of the device.

    quantity: index into `QUANTITIES`; a derived one gets an index behind them from its rule set,
    and has -1 until then.
    """

    quantity: int
    derived: Derived | None = None

    @property
    def name(self) -> str:
        return QUANTITIES[self.quantity].name if self.derived is None else self.derived.name

    @property
    def shape(self) -> str:
        return QUANTITIES[self.quantity].name if self.derived is None else self.derived.shape

    @property
    def unit(self) -> str:
        return QUANTITIES[self.quantity].unit if self.derived is None else self.derived.unit

    @property
    def base(self) -> int:
        return self.quantity if self.derived is None else self.derived.base


@dataclass(frozen=True, slots=True)
class Counted:
    """Of how many devices of the group, or of which share, the operand is true."""

    function: Literal["devices", "share"]
    operand: Truth


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
class AttributeNumber:
    """`attr(name, unit)`: a registry attribute of the device as a number, unknown where there is
    none.

    written: the unit of numbers that the registry writes without one. unit: that of the answer.
    absolute: whether it has the zero of its unit; a difference of temperatures or levels hasn't.
    """

    attribute: str
    written: str
    unit: str
    absolute: bool = False


Attribute: TypeAlias = AttributeIs | AttributeNumber


@dataclass(frozen=True, slots=True)
class Silent:
    """`absent(...)`: no reading of the device for `for_ms`."""

    for_ms: int


@dataclass(frozen=True, slots=True)
class Negated:
    operand: Truth


@dataclass(frozen=True, slots=True)
class Every:
    """The operand is true of all devices of the group."""

    operand: Truth


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Truth, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Truth, ...]


Number: TypeAlias = Constant | Reading | AttributeNumber | Counted | Computed
Truth: TypeAlias = Compared | OneOf | AttributeIs | Silent | Every | Negated | Both | Either
Plan: TypeAlias = Number | Truth


def walk(plan: Plan) -> Iterator[Plan]:
    """The plan and everything in it, in the order of writing."""
    yield plan
    if isinstance(plan, Computed | Compared):
        yield from walk(plan.left)
        yield from walk(plan.right)
    elif isinstance(plan, OneOf):
        yield from walk(plan.item)
    elif isinstance(plan, Negated | Counted | Every):
        yield from walk(plan.operand)
    elif isinstance(plan, Both | Either):
        for part in plan.parts:
            yield from walk(part)


def quantities_of(plan: Plan) -> tuple[int, ...]:
    """Quantity indices in the order of their first use."""
    return tuple(dict.fromkeys(p.quantity for p in walk(plan) if isinstance(p, Reading)))


def readings_of(plan: Plan) -> tuple[Reading, ...]:
    """What is read, in the order of its first use."""
    return tuple(dict.fromkeys(p for p in walk(plan) if isinstance(p, Reading)))


def bases_of(plan: Plan) -> tuple[int, ...]:
    """Indices into `QUANTITIES` of all that stands behind the plan, derived or not."""
    found: dict[int, None] = {}
    for reading in readings_of(plan):
        if reading.base >= 0:
            found[reading.base] = None
        if reading.derived is not None:
            for condition in reading.derived.conditions:
                found.update(dict.fromkeys(bases_of(condition)))
    return tuple(found)


def attributes_of(plan: Plan) -> tuple[Attribute, ...]:
    """Those in the conditions of derived quantities too."""
    return tuple(dict.fromkeys(p for p in all_of(plan) if isinstance(p, Attribute)))


def silences_of(plan: Plan) -> tuple[int, ...]:
    """The durations of `absent`, ms."""
    return tuple(dict.fromkeys(p.for_ms for p in walk(plan) if isinstance(p, Silent)))


Placing: TypeAlias = Callable[[Reading], Reading]


def placed(plan: Truth, place: Placing) -> Truth:
    """The plan with other readings in the places of its own; derived ones are not entered."""
    if isinstance(plan, Compared):
        return replace(plan, left=_placed(plan.left, place), right=_placed(plan.right, place))
    if isinstance(plan, OneOf):
        return replace(plan, item=_placed(plan.item, place))
    if isinstance(plan, Negated | Every):
        return replace(plan, operand=placed(plan.operand, place))
    if isinstance(plan, Both):
        return Both(tuple(placed(part, place) for part in plan.parts))
    if isinstance(plan, Either):
        return Either(tuple(placed(part, place) for part in plan.parts))
    return plan


def _placed(plan: Number, place: Placing) -> Number:
    if isinstance(plan, Reading):
        return place(plan)
    if isinstance(plan, Counted):
        return replace(plan, operand=placed(plan.operand, place))
    if isinstance(plan, Computed):
        return replace(plan, left=_placed(plan.left, place), right=_placed(plan.right, place))
    return plan


def asking(plan: Truth, ask: Callable[[Truth], Truth]) -> Truth:
    """The condition of a group with other questions asked of each device."""
    if isinstance(plan, Every):
        return Every(ask(plan.operand))
    if isinstance(plan, Compared):
        return replace(plan, left=_asking(plan.left, ask), right=_asking(plan.right, ask))
    if isinstance(plan, OneOf):
        return replace(plan, item=_asking(plan.item, ask))
    if isinstance(plan, Negated):
        return Negated(asking(plan.operand, ask))
    if isinstance(plan, Both):
        return Both(tuple(asking(part, ask) for part in plan.parts))
    if isinstance(plan, Either):
        return Either(tuple(asking(part, ask) for part in plan.parts))
    return plan


def _asking(plan: Number, ask: Callable[[Truth], Truth]) -> Number:
    return replace(plan, operand=ask(plan.operand)) if isinstance(plan, Counted) else plan


def holds(derived: Derived) -> Compared:
    """The condition that a boolean derived quantity is true."""
    return Compared("==", Reading(-1, derived), Constant(1.0))


def counts_of(plan: Plan) -> tuple[Counted | Every, ...]:
    """What asks about the devices of a group, in the order of writing."""
    return tuple(dict.fromkeys(p for p in walk(plan) if isinstance(p, Counted | Every)))


def count_limit_of(plan: Plan) -> float:
    """What the first count is compared with; NaN = no single number."""
    first = next(iter(counts_of(plan)), None)
    limits = {
        other.value
        for part in walk(plan)
        if isinstance(part, Compared)
        for side, other in ((part.left, part.right), (part.right, part.left))
        if side == first and isinstance(other, Constant)
    }
    return limits.pop() if len(limits) == 1 else float("nan")


def predicates_of(plan: Plan) -> tuple[Truth, ...]:
    """What is asked of each device of a group, in the order of writing."""
    return tuple(dict.fromkeys(count.operand for count in counts_of(plan)))


def all_of(plan: Plan) -> Iterator[Plan]:
    """What stands in the conditions of derived quantities too."""
    for part in walk(plan):
        yield part
        if isinstance(part, Reading) and part.derived is not None:
            for condition in part.derived.conditions:
                yield from all_of(condition)


MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
"""An operator with its sides exchanged."""


def show(plan: Plan) -> str:
    """The plan as text in canonical units; parts of and/or keep their order."""
    if isinstance(plan, Constant):
        return f"{plan.value:.15g}" if plan.unit == "1" else f"{plan.value:.15g} {plan.unit}"
    if isinstance(plan, Reading):
        return plan.name
    if isinstance(plan, AttributeNumber):
        return f"attr({plan.attribute}{'' if plan.written == '1' else f', {plan.written}'})"
    if isinstance(plan, Counted):
        return f"{plan.function}({show(plan.operand)})"
    if isinstance(plan, Every):
        return f"all({show(plan.operand)})"
    if isinstance(plan, Computed):
        return f"({show(plan.left)} {plan.operator} {show(plan.right)})"
    if isinstance(plan, Compared):
        left, right, operator = plan.left, plan.right, plan.operator
        if isinstance(left, Constant) and not isinstance(right, Constant):
            left, right, operator = right, left, MIRRORED[operator]
        if isinstance(left, Reading) and left.derived is not None and left.derived.boolean:
            return left.name
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
