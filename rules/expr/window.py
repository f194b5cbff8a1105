"""What functions over event time ask for: `avg(static_pressure, 5m)`, `age(co2) > 10m`."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.quantities import QUANTITIES
from rules.durations import duration_text
from rules.expr.plan import Derived, Truth

FUNCTIONS = (
    "avg",
    "min",
    "max",
    "sum",
    "count",
    "stddev",
    "delta",
    "rate",
    "changes",
    "last",
    "quantile",
)
_COUNTS = ("count", "changes")
NEVER_NEGATIVE = (*_COUNTS, "stddev")

LONGEST_MS = 31 * 86_400_000
"""A proposal: what happened longer ago belongs into a report."""

CERTAIN: dict[str, tuple[str, ...]] = {
    "count": (">", ">="),
    "sum": (">", ">="),
    "max": (">", ">="),
    "delta": (">", ">="),
    "rate": (">", ">="),
    "changes": (">", ">="),
    "min": ("<", "<="),
}
"""Comparisons that more readings would leave true; they needn't wait for a whole window."""


@dataclass(frozen=True, slots=True)
class Window:
    """A function of the readings of one quantity in (t - window_ms, t].

    quantity: index into `QUANTITIES`. share: of `quantile` only, 0 to 1. early: (operator,
    limit) of a comparison that may be true before the history covers the window, None = it must.
    """

    function: str
    quantity: int
    window_ms: int
    share: float | None = None
    early: tuple[str, float] | None = None

    @property
    def full(self) -> bool:
        """Whether it is known only when the history covers the window."""
        return self.early is None and self.function != "last"

    @property
    def name(self) -> str:
        share = "" if self.share is None else f"{self.share:.15g}, "
        quantity = QUANTITIES[self.quantity].name
        return f"{self.function}({quantity}, {share}{duration_text(self.window_ms)})"

    @property
    def key(self) -> str:
        if self.early is None:
            return self.name
        operator, limit = self.early
        return f"{self.name} early {operator} {limit:.15g}"

    @property
    def shape(self) -> str:
        return self.name

    @property
    def unit(self) -> str:
        if self.function in _COUNTS:
            return "1"
        unit = QUANTITIES[self.quantity].unit
        return f"{unit}/s" if self.function == "rate" else unit

    @property
    def boolean(self) -> bool:
        return False

    @property
    def base(self) -> int:
        return self.quantity

    @property
    def conditions(self) -> tuple[Truth, ...]:
        return ()

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        del conditions
        return self


@dataclass(frozen=True, slots=True)
class Age:
    """Whether the newest reading of a quantity is `limit_ms` old or older."""

    quantity: int
    limit_ms: int

    @property
    def name(self) -> str:
        return f"age({QUANTITIES[self.quantity].name}) > {duration_text(self.limit_ms)}"

    @property
    def key(self) -> str:
        return self.name

    @property
    def shape(self) -> str:
        return self.name

    @property
    def unit(self) -> str:
        return "1"

    @property
    def boolean(self) -> bool:
        return True

    @property
    def base(self) -> int:
        return self.quantity

    @property
    def conditions(self) -> tuple[Truth, ...]:
        return ()

    def with_conditions(self, conditions: tuple[Truth, ...]) -> Derived:
        del conditions
        return self
