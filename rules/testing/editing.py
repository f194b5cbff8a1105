"""Rule files cut down to one rule, with one change in it."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from rules.testing.index import Written
from rules.testing.mutation import Mutant

HELD_BACK = "for not reached"

_STR = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"


class Cut:
    """The files of one rule: itself, what it names and what names it, and what isn't a rule."""

    def __init__(
        self,
        rule: Written,
        rules: Mapping[str, Written],
        files: Mapping[str, str],
        *,
        whole: bool = False,
    ) -> None:
        """files: all that were compiled, name -> text. whole: keep all rules."""
        self._rule = rule
        self._kept = set(rules) if whole else _related(rule, rules)
        self._roots: dict[str, yaml.MappingNode] = {}
        for one in rules.values():
            self._roots.setdefault(one.file, one.root)
        # Files without a rule of their own: layers with overrides, calendars, schedules.
        for file in files.keys() - self._roots.keys():
            root = yaml.compose(files[file], Loader=yaml.SafeLoader)
            if isinstance(root, yaml.MappingNode):
                self._roots[file] = root
        self._others = {
            file: text
            for file, root in self._roots.items()
            if file != rule.file and (text := self._text(root)) is not None
        }

    def files(self, change: Mutant | None = None, text: str | None = None) -> dict[str, str]:
        """The texts to compile. change: where; text: the new value there, None = left out."""
        node: yaml.Node = self._rule.node
        if change is not None:
            node = _changed(node, change.path, text)
        own = self._text(self._rule.root, {id(self._rule.node): node})
        return {**self._others, self._rule.file: own or "rules: []"}

    def _text(
        self, root: yaml.MappingNode, instead: Mapping[int, yaml.Node] | None = None
    ) -> str | None:
        """None when nothing of the file is needed."""
        pairs = []
        needed = False
        for key, value in root.value:
            items = value
            if key.value in ("rules", "overrides") and isinstance(value, yaml.SequenceNode):
                named = "id" if key.value == "rules" else "rule"
                kept = [node for node in value.value if _word(node, named) in self._kept]
                kept = [(instead or {}).get(id(node), node) for node in kept]
                items = yaml.SequenceNode(_SEQ, kept, flow_style=False)
                needed |= bool(kept)
            else:
                needed = True
            pairs.append((key, items))
        if not needed:
            return None
        whole = yaml.MappingNode(_MAP, pairs, flow_style=False)
        text: str = yaml.serialize(whole, Dumper=yaml.SafeDumper, allow_unicode=True, width=1 << 20)
        return text


def _related(rule: Written, rules: Mapping[str, Written]) -> set[str]:
    """The rule and those with which it shares a mention, by name."""
    kept = {rule.id}
    while True:
        more = {
            one.id
            for one in rules.values()
            if one.id not in kept
            and any(one.mentions(k) or rules[k].mentions(one.id) for k in kept)
        }
        if not more:
            return kept
        kept |= more


def _word(node: yaml.Node, key: str) -> str:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.ScalarNode):
                return str(value.value).strip()
    return ""


def _changed(node: yaml.Node, path: tuple[str | int, ...], text: str | None) -> yaml.Node:
    """A copy along the path, with the value at its end replaced or its key left out."""
    if not path:
        mark = node.start_mark
        return yaml.ScalarNode(_STR, text or "", start_mark=mark, end_mark=node.end_mark)
    step, rest = path[0], path[1:]
    if isinstance(node, yaml.SequenceNode):
        items = [
            _changed(one, rest, text) if i == step else one for i, one in enumerate(node.value)
        ]
        return yaml.SequenceNode(node.tag, items, flow_style=node.flow_style)
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"{step} leads nowhere")
    pairs = []
    for key, value in node.value:
        if key.value != step:
            pairs.append((key, value))
        elif rest or text is not None:
            pairs.append((key, _changed(value, rest, text)))
    return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)


def shortest_fors(rule: Written) -> dict[str, Mutant]:
    """By what coverage calls it, the rule raising at once, still in event time: without its own
    `for`, and without that of each level."""
    keys = rule.keys()
    found = {}
    if "for" in keys:
        found[HELD_BACK] = _at_once(rule, keys["for"], ("for",))
    levels = keys.get("levels")
    for i, level in enumerate(levels.value if isinstance(levels, yaml.SequenceNode) else ()):
        own = {key.value: value for key, value in level.value}
        if "for" in own:
            name = f"level {_word(level, 'severity')}: {HELD_BACK}"
            found[name] = _at_once(rule, own["for"], ("levels", i, "for"))
    return found


def _at_once(rule: Written, value: yaml.Node, path: tuple[str | int, ...]) -> Mutant:
    line = value.start_mark.line + 1
    return Mutant(rule.id, rule.file, line, "for", "1ms", "", ("1ms",), path)
