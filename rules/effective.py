"""What rules come to once all layers are laid over one another: each value and its source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from contracts.rulebook import Text
from rules.compile import read_layers
from rules.layers import Layers
from rules.overrides import ENABLED, LEVELS
from rules.overriding import sorted_by_rule
from rules.schema import LANGUAGES, WrittenRule
from rules.variants import variants_of

_SPECIAL = re.compile(r"[,:{}\[\]#&*\"']")


@dataclass(frozen=True, slots=True)
class Value:
    """key: of the rule, or `levels.<name>.<key>`. text: on one line, anchors and comments gone.
    texts: where it is said in several languages, by language. why: what the override says, "" in
    both languages where it is the rule's own."""

    key: str
    text: str
    file: str
    line: int
    layer: str
    why: Text
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effective:
    """One variant of a rule; variant "" = the rule itself."""

    id: str
    variant: str
    values: tuple[Value, ...]

    @property
    def name(self) -> str:
        return f"{self.id}@{self.variant}" if self.variant else self.id

    @property
    def enabled(self) -> bool:
        return all(one.text != "false" for one in self.values if one.key == ENABLED)

    @property
    def levels(self) -> tuple[str, ...]:
        """Their names, the least severe first."""
        keys = [one.key.split(".") for one in self.values]
        return tuple(dict.fromkeys(key[1] for key in keys if key[0] == LEVELS and len(key) == 3))

    def value(self, key: str) -> Value | None:
        return next((one for one in self.values if one.key == key), None)

    def text(self, key: str) -> str:
        found = self.value(key)
        return "" if found is None else found.text


def effective(files: Mapping[str, str]) -> tuple[Effective, ...]:
    """All rules in the order of their files, lower layers first, each followed by its variants.
    The files have been compiled before, so they are sound."""
    documents, layers = read_layers(files)
    rules = {one.id: one for _, document in documents for one in document.rules}
    written = [one for _, document in documents for one in document.overrides]
    by_rule, _ = sorted_by_rule(written, rules, layers)
    found = []
    for name, rule in rules.items():
        own = _own(rule, layers)
        for variant in variants_of(by_rule.get(name, [])):
            values = dict(own)
            for one in variant.overrides:
                layer = layers.name(one.file)
                for value in one.values:
                    _lay(values, value.key, value.node, _Source(one.file, layer, one.why))
                if one.enabled is not None:
                    word = str(one.enabled).lower()
                    values[ENABLED] = Value(ENABLED, word, one.file, one.line, layer, one.why)
            found.append(Effective(name, variant.name, _in_order(values)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Source:
    file: str
    layer: str
    why: Text


def _own(rule: WrittenRule, layers: Layers) -> dict[str, Value]:
    values: dict[str, Value] = {}
    source = _Source(rule.file, layers.name(rule.file), Text())
    for key, node in [] if rule.node is None else rule.node.value:
        _lay(values, key.value, node, source)
    return values


def _lay(values: dict[str, Value], key: str, node: yaml.Node, source: _Source) -> None:
    """A whole value takes its parts with it; levels are laid key by key."""
    for old in [old for old in values if old.startswith(f"{key}.")]:
        del values[old]
    if key != LEVELS:
        line = node.start_mark.line + 1
        text, texts = _text(node), _texts(node)
        values[key] = Value(key, text, source.file, line, source.layer, source.why, texts)
        return
    for level in node.value:
        pairs = {word.value: value for word, value in level.value}
        name = pairs.pop("name").value
        for word, value in pairs.items():
            _lay(values, f"{LEVELS}.{name}.{word}", value, source)


def _in_order(values: Mapping[str, Value]) -> tuple[Value, ...]:
    """What an override adds to a level stands beside what the level has."""
    heads = list(dict.fromkeys(key.rpartition(".")[0] or key for key in values))
    place = {head: at for at, head in enumerate(heads)}
    return tuple(
        sorted(values.values(), key=lambda one: place[one.key.rpartition(".")[0] or one.key])
    )


def _text(node: yaml.Node) -> str:
    """The value alone: `&name`, `*name` and comments are the file's own business."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(_inside, node.value))}]"
    if isinstance(node, yaml.MappingNode):
        pairs = (f"{_inside(key)}: {_inside(value)}" for key, value in node.value)
        return f"{{{', '.join(pairs)}}}"
    return str(node.value)


def _inside(node: yaml.Node) -> str:
    """Quoted where it could be read as something else."""
    text = _text(node)
    plain = not isinstance(node, yaml.ScalarNode) or not _SPECIAL.search(text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _texts(node: yaml.Node) -> dict[str, str]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: _text(value) for key, value in pairs if key.value in LANGUAGES}
