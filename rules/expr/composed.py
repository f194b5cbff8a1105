"""Conditions that ask for more than the newest values: schedules, sequences, debounce.

Each is a derived quantity that is 1 or 0; rules are compiled to them from keys of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from contracts.quantities import QUANTITIES
from rules.durations import duration_text
from rules.expr.plan import Both, Derived, Truth, bases_of, readings_of, show
from rules.schedule import Schedule


@dataclass(frozen=True, slots=True)
class During:
    """`during`: whether the moment is inside the schedule.

    about: plain quantities whose readings are judged; devices that were heard by one of them are
    told when the schedule begins and ends.
    """

    schedule: Schedule
    about: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"during {self.schedule}"

    @property
    def key(self) -> str:
        return f"{self.schedule.key} of {self.about_names}"

    @property
    def about_names(self) -> str:
        return ", ".join(sorted(QUANTITIES[quantity].name for quantity in self.about))

    @property
    def shape(self) -> str:
        return "during"

    @property
    def unit(self) -> str:
        return "1"

    @property
    def boolean(self) -> bool:
        return True

    @property
    def base(self) -> int:
        return -1

    @property
    def conditions(self) -> tuple[Truth, ...]:
        return ()

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        del conditions
        return self


@dataclass(frozen=True, slots=True)
class Sequence:
    """`sequence`: true at the reading that completes it, and only there.

    steps: what each asks. within_ms: how soon after the one before, of each but the first.
    """

    steps: tuple[Truth, ...]
    within_ms: tuple[int, ...]

    @property
    def name(self) -> str:
        rest = zip(self.steps[1:], self.within_ms, strict=True)
        later = [f"{show(step)} within {duration_text(ms)}" for step, ms in rest]
        return ", then ".join([show(self.steps[0]), *later])

    @property
    def key(self) -> str:
        return f"sequence {self.name}"

    @property
    def shape(self) -> str:
        return f"sequence {', then '.join(_names(step) for step in self.steps)}"

    @property
    def unit(self) -> str:
        return QUANTITIES[self.base].unit

    @property
    def boolean(self) -> bool:
        return True

    @property
    def base(self) -> int:
        return bases_of(self.steps[-1])[0]

    @property
    def conditions(self) -> tuple[Truth, ...]:
        return self.steps

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        return replace(self, steps=conditions)


@dataclass(frozen=True, slots=True)
class Debounced:
    """`debounce: 3 of 5`: whether `least` of the last `of` readings that could be judged fit."""

    condition: Truth
    least: int
    of: int

    @property
    def name(self) -> str:
        return f"{self.least} of {self.of}: {show(self.condition)}"

    @property
    def key(self) -> str:
        return self.name

    @property
    def shape(self) -> str:
        return f"debounced {_names(self.condition)}"

    @property
    def unit(self) -> str:
        return QUANTITIES[self.base].unit

    @property
    def boolean(self) -> bool:
        return True

    @property
    def base(self) -> int:
        return bases_of(self.condition)[0]

    @property
    def conditions(self) -> tuple[Truth, ...]:
        return (self.condition,)

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        (condition,) = conditions
        return replace(self, condition=condition)


def _names(plan: Truth) -> str:
    return " ".join(sorted({reading.shape for reading in readings_of(plan)}))


def schedules_of(plan: Truth) -> tuple[Schedule, ...]:
    """Of `during`."""
    asked = (reading.derived for reading in readings_of(plan))
    return tuple(derived.schedule for derived in asked if isinstance(derived, During))


def newest_only(plan: Truth) -> Truth:
    """What the newest readings must be like, whatever the time and the readings before them: of
    a sequence its last step.
    """
    parts = plan.parts if isinstance(plan, Both) else (plan,)
    kept: list[Truth] = []
    for part in parts:
        derived = [reading.derived for reading in readings_of(part)]
        if derived and isinstance(derived[0], Sequence | Debounced):
            kept.append(derived[0].conditions[-1])
        elif not derived or not isinstance(derived[0], During):
            kept.append(part)
    return Both(tuple(kept)) if len(kept) > 1 else kept[0]
