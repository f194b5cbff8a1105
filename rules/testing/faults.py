"""Faults of the way from a device to the log, as a test writes them.

    drop: h1 1m..2m                          what h1 reads then is lost; of a gateway: its packs
    duplicate: gw1 [1m..2m]                  its packs arrive twice
    reorder: gw1 [1m..2m] [within 2s]        its packs overtake each other, by no more than that
    delay: gw1 1m..2m by 30s                 its packs arrive so much later
    backlog: gw1 1m..5m [arrives at 10m]     it is cut off; all it held arrives then (or at the end)
    skew: gw1 +5m [1m..2m]                   its wall clock is wrong; its monotonic one is right
    reboot: gw1 at 3m                        new boot, sequences from 1, the monotonic clock from 0
    flap: h1 static_pressure 0.05/0.12 1m..11m [every 20s]   the value toggles

A..B begins at A and ends before B; a bound that is left out is the test's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.quantities import QUANTITY_INDEX
from rules.durations import parse_duration
from rules.testing.notation import parse_value
from rules.testing.times import parse_offset

FOREVER_MS = 1 << 50
WITHIN_MS = 2_000
"""How far packs are put out of order when the test doesn't say: the engine's usual slack."""


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: a key of `FORMS`. who: the device or gateway. from_ms <= t < to_ms.

    by_ms: of delay, skew, reorder (within), flap (every; 0 = each reading). at_ms: of backlog,
    reboot. quantity, values: of flap.
    """

    kind: str
    text: str
    line: int
    who: str
    from_ms: int = 0
    to_ms: int = FOREVER_MS
    by_ms: int = 0
    at_ms: int = 0
    quantity: str = ""
    values: tuple[float, float] = (0.0, 0.0)

    def covers(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms < self.to_ms

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class FaultError(Exception):
    """problem and mend, as a finding says them."""

    def __init__(self, problem: str, mend: str = "") -> None:
        self.problem, self.mend = problem, mend
        super().__init__(problem)


_WHO = r"(?P<who>[A-Za-z0-9_-]+)"
_RANGE = r"(?P<from>\w+)?\.\.(?P<to>\w+)?"
_OPTIONAL = rf"(?: {_RANGE})?"

FORMS: Mapping[str, tuple[str, str]] = {
    "drop": (rf"{_WHO}{_OPTIONAL}", "h1 1m..2m"),
    "duplicate": (rf"{_WHO}{_OPTIONAL}", "gw1 1m..2m"),
    "reorder": (rf"{_WHO}{_OPTIONAL}(?: within (?P<by>\w+))?", "gw1 1m..2m within 2s"),
    "delay": (rf"{_WHO}{_OPTIONAL} by (?P<by>\w+)", "gw1 1m..2m by 30s"),
    "backlog": (rf"{_WHO} {_RANGE}(?: arrives at (?P<at>\w+))?", "gw1 1m..5m arrives at 10m"),
    "skew": (rf"{_WHO} (?P<sign>[+-])(?P<by>\w+){_OPTIONAL}", "gw1 +5m 1m..2m"),
    "reboot": (rf"{_WHO} at (?P<at>\w+)", "gw1 at 3m"),
    "flap": (
        rf"{_WHO} (?P<quantity>[a-z0-9_.]+) (?P<values>\S+ ?/ ?\S+){_OPTIONAL}"
        r"(?: every (?P<by>\w+))?",
        "h1 static_pressure 0.05/0.12 1m..11m every 20s",
    ),
}
"""Fault -> (its form, an example)."""

OF_GATEWAY = frozenset(FORMS) - {"drop", "flap"}
"""Faults that happen to a gateway; drop happens to either."""


def parse_fault(kind: str, text: str, line: int) -> Fault:
    """Raises `FaultError`. kind: a key of `FORMS`."""
    form, example = FORMS[kind]
    said = " ".join(text.split())
    found = re.fullmatch(form, said, re.ASCII)
    if found is None:
        raise FaultError(f"can't read {said!r} as {kind}", f"write {kind}: {example}")
    parts = found.groupdict()
    from_ms = _time(parts.get("from"), 0)
    to_ms = _time(parts.get("to"), FOREVER_MS)
    if to_ms <= from_ms:
        raise FaultError(f"{parts['from']}..{parts['to']} is no span of time", "from..to")
    by_ms = _by(kind, parts)
    quantity, values = _flapping(parts)
    at_ms = _time(parts.get("at"), to_ms)
    if kind == "backlog":
        if at_ms == FOREVER_MS:
            raise FaultError("says no end", "write 1m..5m, or arrives at 10m")
        if at_ms < to_ms < FOREVER_MS:
            raise FaultError("arrives before it ends", f"at {parts['to']} or later")
    return Fault(kind, said, line, parts["who"], from_ms, to_ms, by_ms, at_ms, quantity, values)


def _time(text: str | None, default: int) -> int:
    if not text:
        return default
    at = parse_offset(text)
    if at is None:
        raise FaultError(f"{text!r} is no time", "write 0s, 90s, 1m30s or 2h")
    return at


def _by(kind: str, parts: dict[str, str | None]) -> int:
    text = parts.get("by")
    if not text:
        return WITHIN_MS if kind == "reorder" else 0
    by_ms = parse_duration(text)
    if by_ms is None:
        raise FaultError(f"{text!r} is no duration", "write 30s, 5m or 2h")
    return -by_ms if parts.get("sign") == "-" else by_ms


def _flapping(parts: dict[str, str | None]) -> tuple[str, tuple[float, float]]:
    quantity, said = parts.get("quantity"), parts.get("values")
    if not quantity or not said:
        return "", (0.0, 0.0)
    if quantity not in QUANTITY_INDEX:
        raise FaultError(f"unknown quantity {quantity}")
    first, _, second = said.partition("/")
    values = parse_value(first.strip(), quantity), parse_value(second.strip(), quantity)
    if values[0] is None or values[1] is None:
        raise FaultError(f"{said!r} are no two values", "write 0.05/0.12")
    return quantity, (values[0], values[1])
