"""`keep`, `flapping` and `late`: how long an alert lasts, how easily it comes again, and what old
readings do. Read here, and checked against what the rule asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import yaml

from contracts.groups import GroupKind
from contracts.quantities import QUANTITIES, Kind
from contracts.rulebook import LATE, Late
from rules.document import Reader
from rules.durations import duration_text, parse_duration
from rules.expr.composed import During, Sequence
from rules.expr.plan import Reading, Truth, readings_of, silences_of
from rules.finding import suggest
from rules.flapping import MOST_RAISES
from rules.ruleset import Flapping

KEYS = ("keep", "flapping", "late")
FLAPPING_KEYS = ("raises", "within", "for")
_EXAMPLE = "write {raises: 4, within: 10m, for: 5m}"
_SCORE = ".score"


class Written(Protocol):
    """What is needed here of a written rule, or of a level of one."""

    for_ms: int
    clear_for_ms: int
    keep_ms: int
    flapping: Flapping | None
    late: Late
    missing_ms: int
    missing_raises: bool
    safety: bool
    latched: bool
    group: GroupKind | None
    lines: dict[str, int]


def is_momentary(when: Truth) -> bool:
    """Whether all that it looks at is said once, when it happens: signals, codes, scores and
    sequences."""
    readings = [one for one in readings_of(when) if not isinstance(one.derived, During)]
    return bool(readings) and all(map(_is_momentary, readings))


def _is_momentary(reading: Reading) -> bool:
    if reading.derived is not None:
        return isinstance(reading.derived, Sequence)
    quantity = QUANTITIES[reading.quantity]
    return quantity.kind in (Kind.SIGNAL, Kind.CODE) or quantity.name.endswith(_SCORE)


def read_flapping(reader: Reader, node: yaml.Node, path: str) -> Flapping | None:
    found = reader.mapping(node, path)
    reader.known(found, path, FLAPPING_KEYS)
    for word in FLAPPING_KEYS:
        if word not in found:
            reader.fault(node, f"{path}.{word}", f"{word} is missing", _EXAMPLE)
            return None
    number = reader.text(found["raises"][1], f"{path}.raises")
    if not (number.isascii() and number.isdigit() and 2 <= int(number[:9]) <= MOST_RAISES):
        problem = f"{number!r} is no number of 2 to {MOST_RAISES}"
        reader.fault(found["raises"][1], f"{path}.raises", problem, _EXAMPLE)
        return None
    times = []
    for word in ("within", "for"):
        text = reader.text(found[word][1], f"{path}.{word}")
        ms = parse_duration(text)
        if ms is None:
            problem = f"{text!r} is no duration of 1ms to 366d"
            reader.fault(found[word][1], f"{path}.{word}", problem, "write 5m or 1h")
            return None
        times.append(ms)
    return Flapping(int(number), *times)


def read_late(reader: Reader, node: yaml.Node, path: str) -> Late:
    word = reader.text(node, path)
    for known in LATE:
        if word == known:
            return known
    if word:
        reader.fault(node, path, f"unknown word {word}", suggest(word, LATE))
    return "annotate"


def keep_of(written: Written, when: Truth) -> tuple[int, int]:
    """(`Rule.keep_ms`, `Rule.clear_for_ms`): `keep` is the one or the other."""
    if not written.keep_ms:
        return 0, written.clear_for_ms
    if written.group is None and is_momentary(when):
        return written.keep_ms, 0
    return 0, written.keep_ms


def faults_of(written: Written, when: Truth) -> Iterator[tuple[str, str, str]]:
    """(key, problem, mend) of one question of a rule."""
    if written.keep_ms:
        yield from _keep(written, when)
    if written.flapping is not None:
        yield from _flapping(written, written.flapping)
    if "late" in written.lines:
        yield from _late(written, when)


def _keep(written: Written, when: Truth) -> Iterator[tuple[str, str, str]]:
    if "clear_for" in written.lines:
        yield "clear_for", "keep and clear_for say the same", "leave one of them out"
    if written.group is not None or not is_momentary(when):
        if written.latched:
            problem = "a latched alert ends by reset only: there is no end to hold off"
            yield "keep", problem, "leave keep or latched out"
        if written.missing_ms and written.missing_ms <= written.keep_ms:
            problem = "missing data would be noticed before the rule can clear"
            yield "missing", problem, "make it longer than keep"
        return
    if "clear" in written.lines:
        problem = "with keep, a momentary signal ends by itself"
        yield "clear", problem, "leave clear or keep out"
    if written.safety:
        problem = "the danger that a signal told of isn't over because time has passed"
        yield "keep", problem, "write latched: true, or clear"
    if written.missing_ms and not written.missing_raises:
        problem = "with keep, a momentary signal ends by itself, with or without data"
        yield "missing", problem, "leave missing out, or write raise after"


def _flapping(written: Written, flapping: Flapping) -> Iterator[tuple[str, str, str]]:
    if written.safety:
        yield "flapping", "a safety rule always raises: flapping is refused", "remove it"
    if flapping.for_ms <= written.for_ms:
        problem = f"its for isn't longer than the rule's {duration_text(written.for_ms)}"
        yield "flapping", problem, "make it longer"
    if written.missing_ms and written.missing_ms <= flapping.for_ms:
        problem = "missing data would be noticed before a flapping device can raise"
        yield "missing", problem, "make it longer than the for of flapping"


def _late(written: Written, when: Truth) -> Iterator[tuple[str, str, str]]:
    if written.safety:
        yield "late", "a safety rule always raises: late is refused", "remove it"
    if written.group is not None:
        yield "late", "old readings are no evidence for groups", "remove it"
    if written.late == "fire" and any(one.derived is not None for one in readings_of(when)):
        problem = "what looks back on readings in their order takes none out of it"
        yield "late", problem, "leave late out, or compare the reading itself"
    if silences_of(when):
        yield "late", "absent hears every reading, whatever its age", "remove it"
