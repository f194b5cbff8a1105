"""The series notation: promtool's, with units and marks.

    0.12            one reading
    0.12x5          it and five more
    0.06+0.01x4     0.06 0.07 0.08 0.09 0.10: the first and four steps
    0.10-0.02x2     0.10 0.08 0.06
    _  _x3          no reading; three times no reading
    nan             a reading whose sensor sent no value
    0.05!bad        a reading with a mark; also after xN, then all of them have it
    stale  bad      the last value once more, marked so
    kPa             as the last word: the unit of all values; otherwise the quantity's own

Numbers are added as decimals: 0.06+0.01x3 ends at 0.09 and no neighbour of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from contracts.batch import Flag
from contracts.rejects import Refused
from contracts.units import UNITS, conversion

MARKS: dict[str, Flag] = {
    "bad": Flag.BAD,
    "stale": Flag.STALE,
    "alarm": Flag.ALARM,
    "test": Flag.TEST,
    "historical": Flag.HISTORICAL,
}
LONGEST = 1_000_000
"""Readings of one series; more is a slip of the pen."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_VALUES = re.compile(
    rf"(?P<first>[+-]?{_NUMBER}|nan)(?:(?P<step>[+-]{_NUMBER})(?=x))?(?:x(?P<more>[0-9]{{1,9}}))?"
    r"(?P<marks>(?:![a-z]+)*)",
    re.ASCII,
)
_GAP = re.compile(r"_(?:x(?P<times>[0-9]{1,9}))?", re.ASCII)
_AGAIN = re.compile(r"(?P<mark>stale|bad)(?:x(?P<more>[0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sample:
    """value: in the quantity's canonical unit, NaN = the sensor sent none. flags: `Flag` bits."""

    value: float
    flags: int = 0


class NotationError(Exception):
    """problem and mend, as a finding says them."""

    def __init__(self, problem: str, mend: str = "") -> None:
        self.problem, self.mend = problem, mend
        super().__init__(problem)


def parse_series(text: str, quantity: str) -> list[Sample | None]:
    """One entry per tick, None = no reading. Raises `NotationError`.

    >>> [s and s.value for s in parse_series("0.05x1 _ 0.06+0.01x3", "static_pressure")]
    [0.05, 0.05, None, 0.06, 0.07, 0.08, 0.09]
    >>> parse_series("120 stale kPa", "static_pressure")
    [Sample(value=0.12, flags=0), Sample(value=0.12, flags=4)]
    """
    words = text.split()
    unit = _unit(words, quantity)
    samples: list[Sample | None] = []
    for word in words if unit is None else words[:-1]:
        samples += _word(word, samples)
        if len(samples) > LONGEST:
            raise NotationError(f"more than {LONGEST} readings", "write a longer interval")
    if not samples:
        raise NotationError("no readings", "write 0.12x5 0.05x10")
    if unit is None:
        return samples
    multiply, add, divide = conversion(unit, quantity)
    return [s and Sample((s.value * multiply + add) / divide, s.flags) for s in samples]


def parse_value(text: str, quantity: str | None) -> float | None:
    """A number, perhaps with a unit, in the quantity's own unit; None when it is none.

    >>> parse_value("50 kPa", "static_pressure")
    0.05
    """
    words = text.split()
    if len(words) not in (1, 2) or not re.fullmatch(f"[+-]?{_NUMBER}", words[0], re.ASCII):
        return None
    value = float(words[0])
    if len(words) == 1:
        return value
    try:
        if quantity is None:
            return None
        multiply, add, divide = conversion(words[1], quantity)
    except Refused:
        return None
    return (value * multiply + add) / divide


def _unit(words: list[str], quantity: str) -> str | None:
    if not words or _is_item(words[-1]) or words[-1] not in UNITS:
        return None
    try:
        conversion(words[-1], quantity)
    except Refused as refused:
        detail = refused.reject.detail
        raise NotationError(f"{words[-1]} is no unit of {quantity} ({detail})") from None
    return words[-1]


def _is_item(word: str) -> bool:
    return any(pattern.fullmatch(word) for pattern in (_VALUES, _GAP, _AGAIN))


def _word(word: str, before: list[Sample | None]) -> list[Sample | None]:
    gap = _GAP.fullmatch(word)
    if gap is not None:
        return [None] * _times(gap["times"], 1)
    again = _AGAIN.fullmatch(word)
    if again is not None:
        last = next((sample for sample in reversed(before) if sample is not None), None)
        if last is None:
            raise NotationError(f"{word} repeats a value, and there is none before it")
        return [Sample(last.value, int(MARKS[again["mark"]]))] * (1 + _times(again["more"], 0))
    found = _VALUES.fullmatch(word)
    if found is None:
        raise NotationError(f"can't read {word!r}", _mend(word))
    flags = _flags(found["marks"])
    more = _times(found["more"], 0)
    if found["first"] == "nan":
        return [Sample(math.nan, flags)] * (1 + more)
    first, step = Decimal(found["first"]), Decimal(found["step"] or 0)
    return [Sample(float(first + step * i), flags) for i in range(1 + more)]


def _times(text: str | None, default: int) -> int:
    times = default if text is None else int(text)
    if times > LONGEST:
        raise NotationError(f"more than {LONGEST} readings", "write a longer interval")
    return times


def _flags(marks: str) -> int:
    flags = 0
    for mark in marks.split("!")[1:]:
        if mark not in MARKS:
            raise NotationError(f"unknown mark !{mark}", f"known: {', '.join(MARKS)}")
        flags |= MARKS[mark]
    return flags


def _mend(word: str) -> str:
    if re.fullmatch(r"[+-]?[0-9.]+[+-][0-9.]+", word):
        return f"say how many steps: {word}x5"
    if "x" in word or "X" in word or "*" in word:
        return "write 0.12x5 (the value and five more), _x3 (three gaps)"
    return "write numbers as 0.05, 0.05x10 or 0.06+0.01x4, _ for no reading, then a unit or none"
