"""Units that input may use, and how each becomes the canonical unit of a quantity. Linear only.

Names: SenML's own (RFC 8428 section 12.1, secondary units of RFC 8798), the canonical names of
`quantities`, and the usual spellings of device makers. They are compared letter by letter, for
"mA" and "MA" differ by nine decades. A unit that isn't here is refused, never guessed.

The numbers are kept as whole numbers, so that 310 kPa becomes 0.31 MPa and no neighbour of it:
canonical = (value * multiply + add) / divide.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from contracts.quantities import QUANTITIES, QUANTITY_INDEX, Kind
from contracts.rejects import Reason, Refused


class Unit(NamedTuple):
    """One accepted unit: base = value * scale + offset, in the base unit of its dimension."""

    dimension: str
    scale: Fraction
    offset: Fraction = Fraction(0)


def _unit(dimension: str, scale: str | int, offset: str = "0") -> Unit:
    return Unit(dimension, Fraction(scale), Fraction(offset))


# 1 psi is the weight of 0.453 592 37 kg (at 9.806 65 m/s2) on a square of 25.4 mm, exactly.
_PSI = Fraction("0.45359237") * Fraction("9.80665") / Fraction("0.0254") ** 2

UNITS: dict[str, Unit] = {
    # pressure, base Pa
    "Pa": _unit("pressure", 1),
    "hPa": _unit("pressure", 100),
    "mbar": _unit("pressure", 100),
    "kPa": _unit("pressure", 1000),
    "bar": _unit("pressure", 100_000),
    "MPa": _unit("pressure", 1_000_000),
    "psi": Unit("pressure", _PSI),
    "kgf/cm2": _unit("pressure", "98066.5"),
    # temperature, base degC
    "degC": _unit("temperature", 1),
    "Cel": _unit("temperature", 1),
    "℃": _unit("temperature", 1),
    "°C": _unit("temperature", 1),
    "K": _unit("temperature", 1, "-273.15"),
    "degF": _unit("temperature", "5/9", "-160/9"),
    "°F": _unit("temperature", "5/9", "-160/9"),
    # electricity, base A, V, W
    "A": _unit("current", 1),
    "mA": _unit("current", "1/1000"),
    "uA": _unit("current", "1/1000000"),
    "kA": _unit("current", 1000),
    "V": _unit("voltage", 1),
    "mV": _unit("voltage", "1/1000"),
    "kV": _unit("voltage", 1000),
    "W": _unit("power", 1),
    "mW": _unit("power", "1/1000"),
    "kW": _unit("power", 1000),
    # radio level, base dBm
    "dBm": _unit("level", 1),
    "dBW": _unit("level", 1, "30"),
    # length, base m
    "m": _unit("length", 1),
    "cm": _unit("length", "1/100"),
    "mm": _unit("length", "1/1000"),
    "km": _unit("length", 1000),
    # volume, base m3
    "m3": _unit("volume", 1),
    "m³": _unit("volume", 1),
    "l": _unit("volume", "1/1000"),
    "L": _unit("volume", "1/1000"),
    "ml": _unit("volume", "1/1000000"),
    "mL": _unit("volume", "1/1000000"),
    # flow, base m3/s
    "m3/s": _unit("flow", 1),
    "m3/min": _unit("flow", "1/60"),
    "m3/h": _unit("flow", "1/3600"),
    "m³/h": _unit("flow", "1/3600"),
    "l/s": _unit("flow", "1/1000"),
    "L/s": _unit("flow", "1/1000"),
    "l/min": _unit("flow", "1/60000"),
    "L/min": _unit("flow", "1/60000"),
    "l/h": _unit("flow", "1/3600000"),
    "L/h": _unit("flow", "1/3600000"),
    # time, base s
    "s": _unit("time", 1),
    "ms": _unit("time", "1/1000"),
    "min": _unit("time", 60),
    "h": _unit("time", 3600),
    "d": _unit("time", 86400),
    # shares; each of these is a dimension of its own: 40 %RH is no 40 %LEL
    "%RH": _unit("relative humidity", 1),
    "%LEL": _unit("explosive limit", 1),
    "ppm": _unit("concentration", 1),
    "ppb": _unit("concentration", "1/1000"),
    # pure numbers
    "1": _unit("number", 1),
    "": _unit("number", 1),
    "/": _unit("number", 1),
    "count": _unit("number", 1),
    "%": _unit("number", "1/100"),
    "/100": _unit("number", "1/100"),
    "/1000": _unit("number", "1/1000"),
}


class Conversion(NamedTuple):
    """canonical = (value * multiply + add) / divide; whole numbers, given as floats."""

    multiply: float
    add: float
    divide: float


@lru_cache(maxsize=4096)
def conversion(unit: str, quantity: str) -> Conversion:
    """How values in `unit` become the canonical unit of `quantity`.

    Raises `Refused`: UNKNOWN_QUANTITY, or UNKNOWN_UNIT for a unit that isn't in `UNITS`, has
    another dimension, or scales what is no measure (an alarm bit in per cent).
    """
    index = QUANTITY_INDEX.get(quantity)
    if index is None:
        raise Refused(Reason.UNKNOWN_QUANTITY, field=quantity[:80])
    wanted = UNITS[QUANTITIES[index].unit]
    given = UNITS.get(unit)
    if given is None or given.dimension != wanted.dimension:
        detail = f"{unit[:20]!a}, expected {QUANTITIES[index].unit} or alike"
        raise Refused(Reason.UNKNOWN_UNIT, field=quantity, detail=detail)
    if given.dimension == "number" and given.scale != 1 and QUANTITIES[index].kind != Kind.MEASURE:
        detail = f"{unit!a} for a {QUANTITIES[index].kind.value}"
        raise Refused(Reason.UNKNOWN_UNIT, field=quantity, detail=detail)
    scale = given.scale / wanted.scale
    add = (given.offset - wanted.offset) / wanted.scale
    divide = math.lcm(scale.denominator, add.denominator)
    return Conversion(float(scale * divide), float(add * divide), float(divide))


def convert(value: float, unit: str, quantity_name: str) -> float:
    """`value`, given in `unit`, in the canonical unit of the quantity. Raises `Refused`.

    >>> convert(310, "kPa", "static_pressure")
    0.31
    """
    multiply, add, divide = conversion(unit, quantity_name)
    return (value * multiply + add) / divide
