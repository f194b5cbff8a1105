"""`sequence:` and `debounce:` as files write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import yaml

from rules.document import Reader
from rules.durations import parse_duration

DEBOUNCE = re.compile(r"([0-9]{1,2}) of ([0-9]{1,2})|(first|last) ([0-9a-z]+)", re.ASCII)
STEP_KEYS = ("when", "within")

MOST_READINGS = 64
"""Readings that `n of m` looks back on: a device's register is one word."""

MOST_STEPS = 8
"""Steps of a sequence; each costs 8 bytes a device."""


@dataclass(frozen=True, slots=True)
class WrittenStep:
    """within_ms: 0 = of the first step."""

    when: str
    within_ms: int
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class WrittenDebounce:
    """readings: `least` of the last `of`. first: raised at once, kept for `for_ms`. last: steady
    for `for_ms`, both ways.
    """

    kind: Literal["readings", "first", "last"]
    least: int = 0
    of: int = 0
    for_ms: int = 0


def read_sequence(reader: Reader, node: yaml.Node, path: str) -> tuple[WrittenStep, ...]:
    nodes = reader.items(node, path)
    if isinstance(node, yaml.SequenceNode) and not 2 <= len(nodes) <= MOST_STEPS:
        problem = f"a sequence of {len(nodes)} steps"
        reader.fault(node, path, problem, f"write 2 to {MOST_STEPS} steps, or when:")
    return tuple(_step(reader, one, at, first=i == 0) for i, (at, one) in enumerate(nodes))


def _step(reader: Reader, node: yaml.Node, path: str, *, first: bool) -> WrittenStep:
    found = reader.mapping(node, path)
    reader.known(found, path, STEP_KEYS)
    line, when, within = node.start_mark.line + 1, "", 0
    if found and "when" not in found:
        reader.fault(node, f"{path}.when", "when is missing", "add when:")
    if "when" in found:
        when = reader.text(found["when"][1], f"{path}.when")
        line = found["when"][1].start_mark.line + 1
    if first and "within" in found:
        problem = "the first step comes after none"
        reader.fault(found["within"][0], f"{path}.within", problem, "remove within")
    elif not first and found and "within" not in found:
        problem = "within is missing: how soon after the step before?"
        reader.fault(node, f"{path}.within", problem, "add within: 10m")
    elif "within" in found:
        word = reader.text(found["within"][1], f"{path}.within")
        within = parse_duration(word) or 0
        if word and not within:
            problem = f"{word!r} is no duration of 1ms to 366d"
            reader.fault(found["within"][1], f"{path}.within", problem, "write 60s, 2m or 1h30m")
    return WrittenStep(when, within, path, line)


def read_debounce(reader: Reader, node: yaml.Node, path: str) -> WrittenDebounce | None:
    word = " ".join(reader.text(node, path).split())
    found = DEBOUNCE.fullmatch(word)
    if found is None:
        if word:
            mend = "write 3 of 5 (readings), first 30s or last 30s"
            reader.fault(node, path, f"{word!r} debounces nothing", mend)
        return None
    if found.group(3):
        for_ms = parse_duration(found.group(4))
        if for_ms is None:
            problem = f"{found.group(4)!r} is no duration of 1ms to 366d"
            reader.fault(node, path, problem, "write first 30s or last 30s")
            return None
        kind: Literal["first", "last"] = "first" if found.group(3) == "first" else "last"
        return WrittenDebounce(kind, for_ms=for_ms)
    least, of = int(found.group(1)), int(found.group(2))
    if not 1 <= least <= of <= MOST_READINGS or of < 2:
        mend = f"write n of m, n at most m, m from 2 to {MOST_READINGS}"
        reader.fault(node, path, f"{word!r} can't be counted", mend)
        return None
    return WrittenDebounce("readings", least, of)
