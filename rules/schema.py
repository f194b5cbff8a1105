"""What stands in a rule file, typed and strict: unknown keys and values are findings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import yaml

from contracts.groups import KINDS, GroupKind
from contracts.quantities import FAMILIES, QUANTITY_INDEX
from contracts.rulebook import PLACEHOLDERS, Inhibition, Late, Text
from rules.document import Reader
from rules.durations import parse_duration
from rules.finding import suggest
from rules.lasting import read_flapping, read_late
from rules.layers import Extends
from rules.overrides import WrittenOverride, read_overrides
from rules.quieting import read_budget, read_inhibit
from rules.read_schedule import (
    WrittenDay,
    WrittenSchedule,
    read_calendar,
    read_during,
    read_schedules,
)
from rules.read_when import WrittenDebounce, WrittenStep, read_debounce, read_sequence
from rules.ruleset import Flapping
from rules.schedule import Part

TOP_KEYS = ("rules", "overrides", "schedules", "calendar", "extends", "layer")
KEYS = (
    "id",
    "title",
    "on",
    "group",
    "when",
    "for",
    "clear",
    "clear_for",
    "severity",
    "levels",
    "sequence",
    "debounce",
    "during",
    "missing",
    "keep",
    "flapping",
    "late",
    "class",
    "latched",
    "standard",
    "runbook",
    "reason",
    "condition",
    "owner",
    "inhibit",
    "shadow",
    "budget",
)
REQUIRED = ("id", "title", "on", "when", "severity")
LEVEL_KEYS = ("name", "severity", "when", "for", "clear", "clear_for")
REQUIRED_OF_LEVEL = ("name", "severity", "when")
BY_LEVEL = ("when", "for", "clear", "clear_for", "severity")
"""What a rule with levels says for each of them, and not for itself."""

CLASSES = ("ordinary", "safety")
LANGUAGES = ("zh", "en")

MISSING_PART = "missing"
"""The machine row of a rule that counts silence as a breach, and its level."""

RESTRICTING = ("debounce", "during")
"""Keys that no safety rule may have: they keep an alarm from ringing."""

SILENCING = ("silence", "silenced", "rate_limit", "sample", "shelve", "drop")
"""Words that would make a rule quieter. None is in the language; on a safety rule none ever is."""

ID = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", re.ASCII)
CONDITION = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
MISSING = re.compile(r"(unknown|raise) after ([0-9a-z]+)", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


_NO_TEXT = Text()


@dataclass(slots=True)
class WrittenRule:
    """One rule as written. `lines`: key -> line of its value. Durations in ms, 0 = none.

    selectors: attribute -> its accepted values, sorted. missing_ms: 0 = hold. levels: the least
    severe first, each with its `name`, what `BY_LEVEL` names, and a path and lines of its own.
    during: the name of a schedule, or its parts; () = always. node: as it stands in the file.
    """

    file: str
    path: str
    line: int
    id: str = ""
    condition: str = ""
    family: str = ""
    selectors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    group: GroupKind | None = None
    when: str = ""
    for_ms: int = 0
    clear: str = ""
    clear_for_ms: int = 0
    severity: int = 0
    sequence: tuple[WrittenStep, ...] = ()
    debounce: WrittenDebounce | None = None
    during: str | tuple[Part, ...] = ()
    missing_ms: int = 0
    missing_raises: bool = False
    keep_ms: int = 0
    flapping: Flapping | None = None
    late: Late = "annotate"
    safety: bool = False
    latched: bool = False
    title: Text = _NO_TEXT
    reason: Text = _NO_TEXT
    runbook: Text = _NO_TEXT
    standard: str = ""
    owner: str = ""
    inhibit: tuple[Inhibition, ...] = ()
    shadow: bool = False
    budget: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    name: str = ""
    levels: list[WrittenRule] = field(default_factory=list)
    node: yaml.MappingNode | None = None


@dataclass(slots=True)
class WrittenFile:
    """All that one file says. schedules: by name. calendar: every day that is named. extends:
    what it says of the layers, None = the file can't be read."""

    rules: list[WrittenRule] = field(default_factory=list)
    overrides: list[WrittenOverride] = field(default_factory=list)
    schedules: dict[str, WrittenSchedule] = field(default_factory=dict)
    calendar: dict[date, WrittenDay] = field(default_factory=dict)
    extends: Extends | None = None


def read_file(reader: Reader, text: str) -> WrittenFile:
    """One file; faults go to `reader.findings`."""
    made = WrittenFile()
    root = reader.compose(text)
    if root is None:
        return made
    top = reader.mapping(root, "")
    reader.known(top, "", TOP_KEYS)
    if top and not set(TOP_KEYS) & top.keys():
        reader.fault(root, "", "no rules", "write rules: [...]")
    if "rules" in top:
        listed = reader.items(top["rules"][1], "rules")
        made.rules = [read_rule(reader, node, path) for path, node in listed]
    if "overrides" in top:
        made.overrides = read_overrides(reader, top["overrides"][1], "overrides", KEYS)
    made.extends = _extends(reader, {word: value for word, (_, value) in top.items()})
    if "schedules" in top:
        made.schedules = read_schedules(reader, top["schedules"][1], "schedules")
    if "calendar" in top:
        made.calendar = read_calendar(reader, top["calendar"][1], "calendar")
    return made


def _extends(reader: Reader, top: dict[str, yaml.Node]) -> Extends:
    made = Extends(reader.file)
    if "extends" in top:
        node = top["extends"]
        said = reader.text(node, "extends")
        made = dataclasses.replace(made, extends=said, line=node.start_mark.line + 1)
    if "layer" in top:
        node = top["layer"]
        said = reader.text(node, "layer")
        made = dataclasses.replace(made, name=said, name_line=node.start_mark.line + 1)
    return made


def read_rule(reader: Reader, node: yaml.Node, path: str) -> WrittenRule:
    """One rule; faults go to `reader.findings`."""
    rule = WrittenRule(reader.file, path, node.start_mark.line + 1)
    rule.node = node if isinstance(node, yaml.MappingNode) else None
    found = reader.mapping(node, path)
    _refuse_silencing(reader, found, path)
    reader.known({word: pair for word, pair in found.items() if word not in SILENCING}, path, KEYS)
    for word in REQUIRED:
        instead = ("levels" in found and word in BY_LEVEL) or (
            "sequence" in found and word == "when"
        )
        if found and word not in found and not instead:
            reader.fault(node, f"{path}.{word}", f"{word} is missing", f"add {word}:")
    for word in BY_LEVEL if "levels" in found else ():
        if word in found:
            problem = f"{word} stands beside levels"
            reader.fault(found[word][0], f"{path}.{word}", problem, "write it in each level")
    if "levels" in found and "sequence" in found:
        problem = "sequence stands beside levels"
        reader.fault(found["sequence"][0], f"{path}.sequence", problem, "write a rule of its own")
    for word, (_, value) in found.items():
        if word in KEYS:
            rule.lines[word] = value.start_mark.line + 1
            _READ[word](reader, rule, value, f"{path}.{word}")
    if not rule.condition and "." in rule.id:
        rule.condition = rule.id.split(".", 1)[1]
    return rule


def _refuse_silencing(
    reader: Reader, found: dict[str, tuple[yaml.Node, yaml.Node]], path: str
) -> None:
    safety = "class" in found and getattr(found["class"][1], "value", "") == "safety"
    for word in SILENCING:
        if word in found:
            problem = f"unknown key {word}: rules can't be made quiet here"
            if safety:
                problem = f"a safety rule always raises: {word} is refused"
            reader.fault(found[word][0], f"{path}.{word}", problem, "remove it")
    for word in RESTRICTING if safety else ():
        if word in found:
            problem = f"a safety rule always raises: {word} is refused"
            reader.fault(found[word][0], f"{path}.{word}", problem, "remove it")


def _id(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.id = reader.text(node, path)
    if rule.id and not ID.fullmatch(rule.id):
        reader.fault(node, path, f"{rule.id!r} is no id", "write family.condition in a-z, 0-9, _")


def _condition(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.condition = reader.text(node, path)
    if rule.condition and not CONDITION.fullmatch(rule.condition):
        reader.fault(node, path, f"{rule.condition!r} is no condition", "write a-z, 0-9, _")


def _on(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    found = reader.mapping(node, path)
    if "family" not in found:
        reader.fault(node, f"{path}.family", "family is missing", "add family:")
    for word, (_, value) in found.items():
        if word == "family":
            rule.family = reader.text(value, f"{path}.family")
            if rule.family and rule.family not in FAMILIES:
                mend = suggest(rule.family, FAMILIES)
                reader.fault(value, f"{path}.family", f"unknown family {rule.family}", mend)
        else:
            choices = reader.texts(value, f"{path}.{word}")
            rule.selectors[word] = tuple(sorted(set(choices)))
            rule.lines[f"on.{word}"] = value.start_mark.line + 1


def _group(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    word = reader.text(node, path)
    rule.group = next((kind for kind in KINDS if kind == word), None)
    if word and rule.group is None:
        reader.fault(node, path, f"unknown group {word}", suggest(word, KINDS))


def _severity(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    word = reader.text(node, path)
    if word in ("1", "2", "3", "4"):
        rule.severity = int(word)
    elif word:
        reader.fault(node, path, f"{word!r} is no severity", "write 1 (Ⅰ, red) to 4 (Ⅳ, blue)")


def _missing(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    word = " ".join(reader.text(node, path).split())
    if not word or word == "hold":
        return
    found = MISSING.fullmatch(word)
    after = None if found is None else parse_duration(found.group(2))
    if found is None or after is None:
        mend = "write hold, unknown after 15m or raise after 15m"
        reader.fault(node, path, f"{word!r} says nothing about missing data", mend)
    else:
        rule.missing_ms = after
        rule.missing_raises = found.group(1) == "raise"


def _class(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    word = reader.text(node, path)
    rule.safety = word == "safety"
    if word and word not in CLASSES:
        reader.fault(node, path, f"unknown class {word}", suggest(word, CLASSES))


def _text(reader: Reader, node: yaml.Node, path: str) -> Text:
    found = reader.mapping(node, path)
    reader.known(found, path, LANGUAGES)
    said = {
        word: reader.text(value, f"{path}.{word}")
        for word, (_, value) in found.items()
        if word in LANGUAGES
    }
    for word in LANGUAGES:
        if found and word not in said:
            reader.fault(node, f"{path}.{word}", f"{word} is missing", "say it in zh and in en")
    for language, text in said.items():
        for name in _PLACEHOLDER.findall(text):
            if name not in PLACEHOLDERS and name not in QUANTITY_INDEX:
                problem = f"unknown placeholder {{{name}}}"
                known = (*PLACEHOLDERS, *QUANTITY_INDEX)
                reader.fault(node, f"{path}.{language}", problem, suggest(name, known))
        if "{" in _PLACEHOLDER.sub("", text) or "}" in _PLACEHOLDER.sub("", text):
            reader.fault(node, f"{path}.{language}", "a brace stands alone", "write {value}")
    return Text(zh=said.get("zh", ""), en=said.get("en", ""))


def placeholders_of(text: Text) -> frozenset[str]:
    """The names in braces, of both languages."""
    return frozenset(_PLACEHOLDER.findall(text.zh) + _PLACEHOLDER.findall(text.en))


def _levels(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    listed = reader.items(node, path)
    if isinstance(node, yaml.SequenceNode) and len(listed) < 2:
        reader.fault(node, path, "levels are two or more", "write when and severity without levels")
    for item, at in ((item, at) for at, item in listed):
        level = WrittenRule(reader.file, at, item.start_mark.line + 1)
        found = reader.mapping(item, at)
        reader.known(found, at, LEVEL_KEYS)
        for word in REQUIRED_OF_LEVEL:
            if found and word not in found:
                reader.fault(item, f"{at}.{word}", f"{word} is missing", f"add {word}:")
        for word, (_, value) in found.items():
            if word in LEVEL_KEYS:
                level.lines[word] = value.start_mark.line + 1
                _READ[word](reader, level, value, f"{at}.{word}")
        if level.name in (other.name for other in rule.levels):
            reader.fault(item, f"{at}.name", f"{level.name} is there twice", "rename one")
        rule.levels.append(level)


def _name(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.name = reader.text(node, path)
    if rule.name and not CONDITION.fullmatch(rule.name):
        reader.fault(node, path, f"{rule.name!r} is no name", "write a-z, 0-9, _")
    if rule.name == MISSING_PART:
        reader.fault(node, path, "this name means that data is missing", "rename the level")


def _flapping(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.flapping = read_flapping(reader, node, path)


def _late(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.late = read_late(reader, node, path)


_Setter = Callable[[Reader, WrittenRule, yaml.Node, str], None]


def _plain(name: str) -> _Setter:
    def read(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
        setattr(rule, name, reader.text(node, path))

    return read


def _texts(name: str) -> _Setter:
    def read(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
        setattr(rule, name, _text(reader, node, path))

    return read


def _duration(name: str) -> _Setter:
    def read(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
        word = reader.text(node, path)
        found = parse_duration(word)
        if found is not None:
            setattr(rule, name, found)
        elif word:
            problem = f"{word!r} is no duration of 1ms to 366d"
            reader.fault(node, path, problem, "write 60s, 2m, 1h30m or 24h")

    return read


def _latched(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.latched = reader.flag(node, path)


def _inhibit(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.inhibit = read_inhibit(reader, node, path)


def _shadow(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.shadow = reader.flag(node, path)


def _budget(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.budget = read_budget(reader, node, path)


def _sequence(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.sequence = read_sequence(reader, node, path)


def _debounce(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.debounce = read_debounce(reader, node, path)


def _during(reader: Reader, rule: WrittenRule, node: yaml.Node, path: str) -> None:
    rule.during = read_during(reader, node, path)


_READ: dict[str, _Setter] = {
    "id": _id,
    "title": _texts("title"),
    "on": _on,
    "group": _group,
    "when": _plain("when"),
    "for": _duration("for_ms"),
    "clear": _plain("clear"),
    "clear_for": _duration("clear_for_ms"),
    "severity": _severity,
    "levels": _levels,
    "name": _name,
    "sequence": _sequence,
    "debounce": _debounce,
    "during": _during,
    "missing": _missing,
    "keep": _duration("keep_ms"),
    "flapping": _flapping,
    "late": _late,
    "class": _class,
    "latched": _latched,
    "standard": _plain("standard"),
    "runbook": _texts("runbook"),
    "reason": _texts("reason"),
    "condition": _condition,
    "owner": _plain("owner"),
    "inhibit": _inhibit,
    "shadow": _shadow,
    "budget": _budget,
}
