"""`overrides:` of a rule file: changes of rules that another file defines.

An override works on the rule as written: its values stand in place of the rule's, and what comes
of it is read and checked like any rule. So every key that a rule has can be overridden, and a
change that makes no sense is refused for the same reason as in the rule itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

from contracts.rulebook import Text, Where
from rules.document import Reader
from rules.finding import suggest

KEYS = ("rule", "where", "set", "why")
FIXED = ("id", "on", "class", "group", "condition")
"""Keys of a rule that make it what it is; no override changes them."""

ENABLED = "enabled"
LEVELS = "levels"
GRID = re.compile(r"[0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """One value that an override sets. path: the key, or (levels, name of the level, key)."""

    path: tuple[str, ...]
    node: yaml.Node
    line: int

    @property
    def key(self) -> str:
        return ".".join(self.path)


@dataclass(slots=True)
class WrittenOverride:
    """One override as written. where: None = it changes the rule for all. enabled: None = not
    said. lines: key -> line of its value."""

    file: str
    path: str
    line: int
    rule: str = ""
    where: Where | None = None
    values: list[Value] = field(default_factory=list)
    enabled: bool | None = None
    why: Text = field(default_factory=Text)
    lines: dict[str, int] = field(default_factory=dict)


def read_overrides(
    reader: Reader, node: yaml.Node, path: str, known: Iterable[str]
) -> list[WrittenOverride]:
    """known: the keys of a rule."""
    may_set = (*(key for key in known if key not in FIXED), ENABLED)
    return [_override(reader, item, at, may_set) for at, item in reader.items(node, path)]


def _override(
    reader: Reader, node: yaml.Node, path: str, may_set: tuple[str, ...]
) -> WrittenOverride:
    made = WrittenOverride(reader.file, path, node.start_mark.line + 1)
    found = reader.mapping(node, path)
    reader.known(found, path, KEYS)
    made.lines = {word: value.start_mark.line + 1 for word, (_, value) in found.items()}
    for word in ("rule", "set"):
        if found and word not in found:
            reader.fault(node, f"{path}.{word}", f"{word} is missing", f"add {word}:")
    if "rule" in found:
        made.rule = reader.text(found["rule"][1], f"{path}.rule")
    if "where" in found:
        made.where = _where(reader, found["where"][1], f"{path}.where")
    if "set" in found:
        _set(reader, made, found["set"][1], f"{path}.set", may_set)
    if "why" in found:
        made.why = _why(reader, found["why"][1], f"{path}.why")
    return made


def _where(reader: Reader, node: yaml.Node, path: str) -> Where:
    found = reader.mapping(node, path)
    grids: tuple[str, ...] = ()
    attributes = []
    if isinstance(node, yaml.MappingNode) and not found:
        reader.fault(node, path, "names no devices", "leave where out to change it for all")
    for word, (_, value) in found.items():
        said = tuple(sorted(set(reader.texts(value, f"{path}.{word}"))))
        if word != "grid":
            attributes.append((word, said))
            continue
        grids = said
        for code in said:
            if code and not GRID.fullmatch(code):
                problem = f"{code!r} doesn't begin a grid code"
                reader.fault(value, f"{path}.grid", problem, 'write its first digits: "340199001"')
    return Where(grids, tuple(sorted(attributes)))


def _set(
    reader: Reader, made: WrittenOverride, node: yaml.Node, path: str, may_set: tuple[str, ...]
) -> None:
    found = reader.mapping(node, path)
    if isinstance(node, yaml.MappingNode) and not found:
        reader.fault(node, path, "sets nothing", "name what is different here")
    for word, (key, value) in found.items():
        at = f"{path}.{word}"
        steps = tuple(word.split("."))
        if word == ENABLED:
            made.enabled = reader.flag(value, at)
        elif steps[0] == LEVELS and len(steps) == 3:
            made.values.append(Value(steps, value, value.start_mark.line + 1))
        elif word == LEVELS and isinstance(value, yaml.MappingNode):
            _set_levels(reader, made, value, at)
        elif word in FIXED:
            mend = "write a rule of its own, and switch this one off with enabled: false"
            reader.fault(key, at, f"{word} makes the rule what it is", mend)
        elif word in may_set:
            made.values.append(Value((word,), value, value.start_mark.line + 1))
        else:
            mend = suggest(word, may_set)
            reader.fault(key, at, f"a rule has no {word} that could be set", mend)


def _set_levels(reader: Reader, made: WrittenOverride, node: yaml.Node, path: str) -> None:
    """`levels: {alarm: {when: ...}}`, the same as `levels.alarm.when: ...`."""
    for name, (_, level) in reader.mapping(node, path).items():
        for word, (_, value) in reader.mapping(level, f"{path}.{name}").items():
            made.values.append(Value((LEVELS, name, word), value, value.start_mark.line + 1))


def _why(reader: Reader, node: yaml.Node, path: str) -> Text:
    found = reader.mapping(node, path)
    reader.known(found, path, ("zh", "en"))
    said = {
        word: reader.text(found[word][1], f"{path}.{word}")
        for word in ("zh", "en")
        if word in found
    }
    for word in ("zh", "en"):
        if found and word not in found:
            reader.fault(node, f"{path}.{word}", f"{word} is missing", "say it in zh and in en")
    return Text(zh=said.get("zh", ""), en=said.get("en", ""))


def merged(rule: yaml.MappingNode, values: Iterable[Value]) -> yaml.MappingNode:
    """A copy of the rule with these values; later ones stand in place of earlier ones.

    Raises KeyError with the name of a level that the rule doesn't have.
    """
    node = rule
    for value in values:
        node = _with(node, value.path, value.node)
    return node


def _with(node: yaml.MappingNode, path: tuple[str, ...], value: yaml.Node) -> yaml.MappingNode:
    word, rest = path[0], path[1:]
    pairs = []
    there = False
    for key, old in node.value:
        mine = isinstance(key, yaml.ScalarNode) and key.value == word
        there |= mine
        if mine:
            pairs.append((key, _with_level(old, rest, value) if rest else value))
        else:
            pairs.append((key, old))
    if not there:
        if rest:
            raise KeyError(rest[0])
        key = yaml.ScalarNode("tag:yaml.org,2002:str", word, value.start_mark, value.end_mark)
        pairs.append((key, value))
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _with_level(levels: yaml.Node, path: tuple[str, ...], value: yaml.Node) -> yaml.Node:
    name, rest = path[0], path[1:]
    named = [level for level in _items(levels) if _name(level) == name]
    if not named:
        raise KeyError(name)
    items = [
        _with(level, rest, value)
        if level in named and isinstance(level, yaml.MappingNode)
        else level
        for level in _items(levels)
    ]
    return yaml.SequenceNode(levels.tag, items, levels.start_mark, levels.end_mark)


def _items(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _name(level: yaml.Node) -> str:
    pairs = level.value if isinstance(level, yaml.MappingNode) else []
    return next((str(value.value) for key, value in pairs if key.value == "name"), "")


def level_names(rule: yaml.MappingNode) -> list[str]:
    """The names of the rule's levels."""
    return [
        _name(level) for key, value in rule.value if key.value == LEVELS for level in _items(value)
    ]
