"""Rules changed in one place each, to see whether any test notices.

What survives is an untested limit. Numbers and durations move by 5 % up and down, counts, codes
and alarm bits by one; comparisons gain or lose their equals sign; clauses that hold a rule back
or end it are left out; the severity changes. Changes are made in the YAML, one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import yaml

from contracts.quantities import QUANTITY_INDEX
from rules.durations import duration_text, parse_duration
from rules.testing.index import TEXTS, Written

SHARE = Decimal("0.05")
COUNTS_UP_TO = 20
"""Whole numbers without a unit up to here are counts or codes: 5 % of them is nothing."""

DROPPED = (
    "for",
    "clear",
    "clear_for",
    "missing",
    "keep",
    "debounce",
    "flapping",
    "during",
    "inhibit",
    "late",
)
"""Keys that are left out, one at a time. A rule that can't do without is no mutant."""

EXPRESSIONS = ("when", "clear")
_UNTOUCHED = TEXTS | {"class", "severity", "latched", "shadow", "budget", "group"}

_TOKEN = re.compile(
    r"""(?P<quoted>"[^"]*"|'[^']*')"""
    r"|(?P<compare><=|>=|<|>)(?!=)"
    r"|(?<![A-Za-z0-9_.])(?P<digits>[0-9]+(?:\.[0-9]+)?)(?P<space>\ ?)"
    r"(?P<unit>(?!(?:and|or|not|in)\b)[A-Za-z%°℃][A-Za-z0-9³]*(?:/[A-Za-z0-9³]+)?)?",
    re.ASCII | re.VERBOSE,
)
_PLAIN = re.compile(r"(?<![A-Za-z0-9_.])([0-9]+(?:[a-z]+[0-9a-z]*)?)(?![A-Za-z0-9_.])", re.ASCII)
_TURNED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. where: the key, as levels[1].for. what: from what to what. advice: what a test
    could add. texts: the value in place of the old one, the first that can be compiled counts;
    empty = the key is left out. path: of the scalar or key in the rule's node.
    """

    rule: str
    file: str
    line: int
    where: str
    what: str
    advice: str
    texts: tuple[str, ...]
    path: tuple[str | int, ...]


def mutants(rule: Written) -> Iterator[Mutant]:
    """All changes of one rule, in the order of its lines."""
    base = Mutant(rule.id, rule.file, rule.line, "", "", "", (), ())
    yield from _of_mapping(rule.node, base)


def _of_mapping(node: yaml.MappingNode, base: Mutant) -> Iterator[Mutant]:
    for key, value in node.value:
        word = key.value
        at = replace(
            base,
            line=value.start_mark.line + 1,
            where=f"{base.where}.{word}".strip("."),
            path=(*base.path, word),
        )
        if word in DROPPED and (word != "late" or not base.path):
            advice = f"add a test that would end otherwise without {word}"
            yield replace(at, line=key.start_mark.line + 1, what="left out", advice=advice)
        if word == "severity":
            yield from _severity(value, at)
        elif word == "latched" and getattr(value, "value", "") == "true":
            advice = "expect it to be latched once the condition is over"
            yield replace(at, what="true -> false", advice=advice, texts=("false",))
        elif word not in _UNTOUCHED:
            yield from _of_value(value, at, expression=word in EXPRESSIONS)


def _of_value(node: yaml.Node, at: Mutant, *, expression: bool) -> Iterator[Mutant]:
    if isinstance(node, yaml.MappingNode):
        yield from _of_mapping(node, at)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            one = replace(
                at,
                line=item.start_mark.line + 1,
                where=f"{at.where}[{i}]",
                path=(*at.path, i),
            )
            yield from _of_value(item, one, expression=expression)
    elif isinstance(node, yaml.ScalarNode):
        text = str(node.value)
        yield from _of_expression(text, at) if expression else _of_text(text, at)


def _severity(node: yaml.Node, at: Mutant) -> Iterator[Mutant]:
    said = str(getattr(node, "value", ""))
    if said in ("1", "2", "3", "4"):
        others = tuple(str(n) for n in (int(said) - 1, int(said) + 1) if 1 <= n <= 4)
        advice = f"write severity: {said} where the test expects it to be raised"
        # Levels keep their order, so that only one of them may do.
        yield replace(at, what=f"{said} -> {' or '.join(others)}", advice=advice, texts=others)


def _of_text(text: str, at: Mutant) -> Iterator[Mutant]:
    """Durations and counts of a value that is no expression: 60s, unknown after 15m, 3 of 5."""
    for found in _PLAIN.finditer(text):
        word = found[1]
        for said, new in _moved_plain(word):
            advice = f"add a test that tells {at.where} {word} from {said}: expect the exact times"
            texts = tuple(text[: found.start()] + one + text[found.end() :] for one in new)
            yield replace(at, what=f"{word} -> {said}", advice=advice, texts=texts)


def _moved_plain(word: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    span_ms = parse_duration(word)
    if span_ms is not None:
        for moved in (span_ms + _step(span_ms), span_ms - _step(span_ms)):
            yield duration_text(moved), (duration_text(moved),)
    elif word.isdigit():
        for number in (int(word) + 1, int(word) - 1):
            yield str(number), (str(number),)


def _step(span_ms: int) -> int:
    return max(1, int(span_ms * SHARE))


def _of_expression(text: str, at: Mutant) -> Iterator[Mutant]:
    for found in _TOKEN.finditer(text):
        before, after = text[: found.start()], text[found.end() :]
        if found["compare"]:
            turned = _TURNED[found["compare"]]
            what = f"{found['compare']} -> {turned}"
            advice = _at_limit(before, after)
            yield replace(at, what=what, advice=advice, texts=(before + turned + after,))
        elif found["digits"]:
            yield from _of_number(found, before, after, at)


def _of_number(found: re.Match[str], before: str, after: str, at: Mutant) -> Iterator[Mutant]:
    digits, space, unit = found["digits"], found["space"], found["unit"] or ""
    gap = space if unit else ""
    tail = "" if unit else space
    span_ms = parse_duration(f"{digits}{unit}")
    for moved in _moved(Decimal(digits), bool(unit)):
        said = f"{moved:f}".rstrip("0").rstrip(".") if "." in f"{moved:f}" else f"{moved:f}"
        texts = [f"{before}{said}{gap}{unit}{tail}{after}"]
        if span_ms is not None:
            grown = moved > Decimal(digits)
            other = duration_text(span_ms + (_step(span_ms) if grown else -_step(span_ms)))
            texts.append(f"{before}{other}{tail}{after}")
        what = f"{digits}{gap}{unit} -> {said}{gap}{unit}"
        advice = _between(Decimal(digits), moved, unit, before, after)
        yield replace(at, what=what, advice=advice, texts=tuple(texts))


def _moved(value: Decimal, has_unit: bool) -> tuple[Decimal, Decimal]:
    is_count = not has_unit and value == int(value) and value <= COUNTS_UP_TO
    step = Decimal(1) if is_count or value == 0 else value * SHARE
    return value + step, value - step


def _quantity(before: str, after: str) -> str:
    """The quantity that a limit is compared with, "" when it isn't plain to see."""
    found = re.search(rf"({_NAME})\s*(?:<=|>=|==|!=|<|>)\s*-?$", before)
    found = found or re.match(rf"\s*(?:<=|>=|==|!=|<|>)\s*({_NAME})", after)
    return found[1] if found is not None and found[1] in QUANTITY_INDEX else ""


def _between(value: Decimal, moved: Decimal, unit: str, before: str, after: str) -> str:
    quantity = _quantity(before, after)
    named = f" {unit}" if unit else ""
    if not quantity:
        return f"add readings that tell {value}{named} from {moved.normalize():f}{named}"
    is_step = abs(moved - value) == 1 and not unit
    middle = moved if is_step else ((value + moved) / 2).normalize()
    return f"add a series such as {quantity}: {middle:f}x12{named}, and what it must do"


def _at_limit(before: str, after: str) -> str:
    limit = re.match(r"\s*-?([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%°℃][A-Za-z0-9³/]*)?", after)
    name = re.search(rf"({_NAME})\s*$", before)
    if limit is None or name is None or name[1] not in QUANTITY_INDEX:
        return "add readings that lie exactly on the limit"
    unit = "" if limit[2] in (None, "and", "or") else f" {limit[2]}"
    return f"add a series on the limit, such as {name[1]}: {limit[1]}x12{unit}"
