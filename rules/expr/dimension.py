"""Dimensions of numbers, so that metres are never compared with amperes.

A dimension is a product of powers of the base dimensions of `contracts.units`. Temperatures and
radio levels have a zero of their own (`absolute`): their difference is measured by the scale
alone, their sum means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from contracts.units import UNITS, Unit

_DERIVED: dict[str, dict[str, int]] = {
    "power": {"voltage": 1, "current": 1},
    "volume": {"length": 3},
    "flow": {"length": 3, "time": -1},
    "number": {},
}
_WITH_A_ZERO = ("temperature", "level")


@dataclass(frozen=True, slots=True)
class Dimension:
    """powers: sorted (base dimension, exponent). scale: base units in one of ours."""

    powers: tuple[tuple[str, int], ...] = ()
    scale: Fraction = Fraction(1)
    absolute: bool = False
    unit: str = "1"

    @property
    def is_number(self) -> bool:
        return not self.powers


SECOND = Dimension((("time", 1),), Fraction(1), unit="s")


def of_unit(name: str) -> Dimension | None:
    """The dimension of a unit; None when the unit isn't known."""
    unit = UNITS.get(name)
    if unit is None:
        return None
    powers = _DERIVED.get(unit.dimension, {unit.dimension: 1})
    absolute = unit.dimension in _WITH_A_ZERO
    return Dimension(tuple(sorted(powers.items())), unit.scale, absolute, name or "1")


def of_written(name: str) -> Dimension | None:
    """The same, and one unit over another where that is none by itself: K/min, MPa/h."""
    found = of_unit(name)
    above, slash, below = name.partition("/")
    if found is not None or not slash:
        return found
    over, under = of_unit(above), of_unit(below)
    if over is None or under is None or not above or not below:
        return None
    return replace(times(over, under, -1), unit=name)


def constant_in(digits: str, unit: str, wanted: Dimension) -> float:
    """A written number in the unit of `wanted`, exact until the last step."""
    quotient = None if unit in UNITS else of_written(unit)
    if quotient is not None:
        return float(Fraction(digits) * quotient.scale / wanted.scale)
    given: Unit = UNITS[unit or "1"]
    base = Fraction(digits) * given.scale
    if wanted.absolute:
        canonical = UNITS[wanted.unit]
        return float((base + given.offset - canonical.offset) / canonical.scale)
    return float(base / wanted.scale)


def times(left: Dimension, right: Dimension, sign: int) -> Dimension:
    """The product (sign 1) or the quotient (sign -1)."""
    powers = dict(left.powers)
    for name, exponent in right.powers:
        powers[name] = powers.get(name, 0) + sign * exponent
    kept = tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))
    word = "*" if sign > 0 else "/"
    unit = left.unit if right.unit == "1" else f"{left.unit}{word}{right.unit}"
    return Dimension(kept, left.scale * right.scale**sign, False, unit)


def difference(left: Dimension) -> Dimension:
    return replace(left, absolute=False)
