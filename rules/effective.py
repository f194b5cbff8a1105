"""What rules come to once all layers are laid over one another: each value and its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from contracts.rulebook import Text
from rules.compile import read_layers
from rules.layers import Layers
from rules.overrides import ENABLED
from rules.overriding import sorted_by_rule
from rules.schema import WrittenRule
from rules.variants import variants_of


@dataclass(frozen=True, slots=True)
class Value:
    """key: of the rule, or `levels.<name>.<key>`. text: as it is written, on one line. why: what
    the override says, "" in both languages where it is the rule's own."""

    key: str
    text: str
    file: str
    line: int
    layer: str
    why: Text


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

    def text(self, key: str) -> str:
        return next((one.text for one in self.values if one.key == key), "")


def effective(files: Mapping[str, str]) -> tuple[Effective, ...]:
    """All rules in the order of their files, lower layers first, each followed by its variants.
    The files have been compiled before, so they are sound."""
    documents, layers = read_layers(files)
    rules = {one.id: one for _, document in documents for one in document.rules}
    written = [one for _, document in documents for one in document.overrides]
    by_rule, _ = sorted_by_rule(written, rules, layers)
    found = []
    for name, rule in rules.items():
        own = {value.key: value for value in _own(rule, files, layers)}
        for variant in variants_of(by_rule.get(name, [])):
            values = dict(own)
            for one in variant.overrides:
                said = [(value.key, value.node) for value in one.values]
                for key, node in said:
                    if "." not in key:  # A whole value takes its parts with it.
                        values = {k: v for k, v in values.items() if not k.startswith(f"{key}.")}
                    text, line = _text(files[one.file], node), node.start_mark.line + 1
                    layer = layers.name(one.file)
                    values[key] = Value(key, text, one.file, line, layer, one.why)
                if one.enabled is not None:
                    word = str(one.enabled).lower()
                    layer = layers.name(one.file)
                    values[ENABLED] = Value(ENABLED, word, one.file, one.line, layer, one.why)
            found.append(Effective(name, variant.name, tuple(values.values())))
    return tuple(found)


def _own(rule: WrittenRule, files: Mapping[str, str], layers: Layers) -> Iterator[Value]:
    pairs = [] if rule.node is None else rule.node.value
    for key, node in pairs:
        line = node.start_mark.line + 1
        text = _text(files[rule.file], node)
        yield Value(key.value, text, rule.file, line, layers.name(rule.file), Text())


def _text(text: str, node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return " ".join(text[node.start_mark.index : node.end_mark.index].split())
