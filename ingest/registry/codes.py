"""Grid and area codes: what makes one wrong, and what only makes it odd.

Structure: 6 digits district (GB/T 2260), 3 street, 3 community, 3 sequence; there is no check
digit. Real codes leave the published ranges of streets and communities, so ranges only warn.
The list of provinces is general knowledge and can be switched off.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from contracts.registry import Level
from ingest.registry.options import Options

LEVELS: tuple[Level, ...] = ("district", "street", "community", "grid")
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-6]|71|81|82")
_DIGITS = re.compile(r"[0-9]+")
_SPREADSHEET = re.compile(r"[0-9](\.[0-9]+)?[eE]\+?[0-9]+")
_RANGES = {1: (1, 599), 2: (1, 399)}
"""Published ranges of the street and community parts; of three-digit parts only."""


class Fault(NamedTuple):
    problem: str
    mend: str
    warning: bool = False
    kind: str = ""


def code_faults(code: str, level: Level, options: Options) -> list[Fault]:
    """What is wrong with a code by itself; without errors it may be used."""
    depth = LEVELS.index(level)
    lengths = options.scheme.lengths
    shape = _shape_fault(code, depth, options)
    if shape is not None:
        return [shape]
    faults: list[Fault] = []
    if options.province_check and not _PROVINCE.fullmatch(code[:2]):
        mend = "correct it, or set codes.province_check = false in registry.toml"
        faults.append(Fault(f"{code[:2]} is no province", mend, kind="province"))
    for at in range(1, depth + 1):
        part = code[lengths[at - 1] : lengths[at]]
        if not part.strip("0"):
            mend = f"give the {LEVELS[at]} its number; it is never {part}"
            faults.append(Fault(f"{LEVELS[at]} part is {part}", mend, kind=f"{LEVELS[at]} zero"))
        elif at in _RANGES and len(part) == 3 and not _in_range(part, at):
            low, high = _RANGES[at]
            mend = "check it; if it is the official code, leave it"
            problem = f"{LEVELS[at]} part {part} is outside {low:03d}-{high:03d}"
            faults.append(Fault(problem, mend, warning=True, kind=f"{LEVELS[at]} range"))
    return faults


def _in_range(part: str, at: int) -> bool:
    low, high = _RANGES[at]
    return low <= int(part) <= high


def _shape_fault(code: str, depth: int, options: Options) -> Fault | None:
    """Wrong length or wrong characters."""
    length = options.scheme.lengths[depth]
    before = options.scheme.lengths[depth - 1] if depth else 0
    marked = depth == 3 and options.scheme.dedicated_marker
    own = code[before:]
    if len(code) == length and _DIGITS.fullmatch(code[:before] or "0"):
        if _DIGITS.fullmatch(own):
            return None
        if marked and re.fullmatch(options.scheme.dedicated_marker, own):
            return None
    return _shape_told(code, LEVELS[depth], length)


def _shape_told(code: str, level: Level, length: int) -> Fault:
    if not code:
        return Fault("empty", f"give the {length} digits of the {level} code", kind="empty")
    if _SPREADSHEET.fullmatch(code):
        mend = "format the column as text in the spreadsheet and enter the codes again"
        return Fault(f"{code} is a rounded number", mend, kind="rounded")
    if level == "grid" and len(code) == 20 and _DIGITS.fullmatch(code):
        return _community_code(code)
    if code.isdigit() and not code.isascii():
        return Fault(f"{code} has digits of another script", "write 0-9", kind="script")
    if not _DIGITS.fullmatch(code):
        mend = f"write {length} digits 0-9 without blanks"
        return Fault(f"{ascii(code)[:60]} holds more than digits", mend, kind="characters")
    mend = f"give all {length} digits; leading zeros count"
    return Fault(f"{code} has {len(code)} digits, not {length}", mend, kind="length")


def _community_code(code: str) -> Fault:
    """CJ/T 349: 6 object + 6 + 3 + 3 + 2 sequence; 00 = the community itself."""
    problem = f"{code} looks like a CJ/T 349 community code of 20 digits"
    if code.endswith("00"):
        mend = f"it names the community {code[6:18]}, not a grid; give the grid's own code"
    else:
        mend = (
            f"drop the first 6 digits and write the sequence with three: {code[6:18]}0{code[18:]}"
        )
    return Fault(problem, mend, kind="CJ/T 349")


def parents(code: str, level: Level, options: Options) -> list[tuple[Level, str]]:
    """The (level, code) of everything above, the district first."""
    depth = LEVELS.index(level)
    lengths = options.scheme.lengths
    return [(LEVELS[at], code[: lengths[at]]) for at in range(depth)]
