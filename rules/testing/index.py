"""Rules as they stand in their files: what a test is matched with, covered by and mutated in.

Works on the YAML as written and not on compiled rules, so that it needs no knowledge of what
each key of the language does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from contracts.quantities import QUANTITY_INDEX
from rules.testing.case import Case

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
TEXTS = frozenset(
    {"id", "title", "reason", "runbook", "standard", "owner", "condition", "on", "name", "why"}
)
"""Keys that say nothing about when a rule acts."""


@dataclass(frozen=True, slots=True)
class Written:
    """One rule. selectors: attribute -> accepted values. quantities: that its conditions name.
    words: all that its values name. node: its mapping; root: that of its file."""

    id: str
    file: str
    line: int
    family: str
    selectors: Mapping[str, tuple[str, ...]]
    quantities: frozenset[str]
    words: frozenset[str]
    node: yaml.MappingNode
    root: yaml.MappingNode

    def mentions(self, rule: str) -> bool:
        """Whether the other rule is named here, as an inhibitor is."""
        return rule in self.words

    def keys(self) -> dict[str, yaml.Node]:
        return {key.value: value for key, value in self.node.value}

    def touched_by(self, case: Case) -> bool:
        """Whether readings of a test can matter to this rule."""
        if self.id in case.rules_named():
            return True
        watched = {
            device.id
            for device in case.devices.values()
            if device.family == self.family
            and all(device.has(name, values) for name, values in self.selectors.items())
        }
        if not self.quantities:
            return bool(watched)
        return any(one.device in watched and one.quantity in self.quantities for one in case.series)


def written_rules(files: Mapping[str, str]) -> dict[str, Written]:
    """Rule id -> as written. The files have been compiled before, so they are sound."""
    found: dict[str, Written] = {}
    for file, text in files.items():
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            continue
        for key, value in root.value:
            if key.value == "rules" and isinstance(value, yaml.SequenceNode):
                for node in value.value:
                    rule = _written(file, node, root)
                    found[rule.id] = rule
    return found


def _written(file: str, node: yaml.MappingNode, root: yaml.MappingNode) -> Written:
    keys = {key.value: value for key, value in node.value}
    on: dict[str, tuple[str, ...]] = {}
    if isinstance(keys.get("on"), yaml.MappingNode):
        on = {key.value: tuple(_scalars(value)) for key, value in keys["on"].value}
    said = [
        word
        for key, value in keys.items()
        if key not in TEXTS
        for text in _scalars(value)
        for word in _WORD.findall(text)
    ]
    return Written(
        id=keys["id"].value.strip(),
        file=file,
        line=node.start_mark.line + 1,
        family=next(iter(on.pop("family", ())), ""),
        selectors=on,
        quantities=frozenset(said) & QUANTITY_INDEX.keys(),
        words=frozenset(said),
        node=node,
        root=root,
    )


def _scalars(node: yaml.Node) -> Iterator[str]:
    """The texts of a node, values only."""
    if isinstance(node, yaml.ScalarNode):
        yield str(node.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)
