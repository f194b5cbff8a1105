"""YAML with line numbers: nodes are walked as written, so `on` stays a word and 1.10 a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

from rules.finding import Finding, suggest
from rules.spelling import in_ascii, in_quotes, wide_colon, yaml_fault

_MARKS = "\"'『』"


@dataclass(slots=True)
class Reader:
    """Walks one file and gathers findings; a fault never ends the walk."""

    file: str
    findings: list[Finding] = field(default_factory=list)

    def fault(self, node: yaml.Node | int, path: str, problem: str, mend: str = "") -> None:
        line = node if isinstance(node, int) else node.start_mark.line + 1
        self.findings.append(Finding(self.file, line, path, problem, mend))

    def compose(self, text: str, mend: str = "write rules: [...]") -> yaml.Node | None:
        """The root node; None when the file is empty or no YAML, with a finding."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            line, problem, mend = yaml_fault(text, error)
            self.fault(line, "", problem, mend)
            return None
        if root is None:
            self.fault(1, "", "the file is empty", mend)
        return root

    def mapping(self, node: yaml.Node, path: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (key node, value node); each key once."""
        if not isinstance(node, yaml.MappingNode):
            key = wide_colon(node.value) if isinstance(node, yaml.ScalarNode) else ""
            problem = f"{_shape(node)} where keys and values are needed"
            if key:
                problem = f"a full-width colon ： behind {key}"
            self.fault(node, path, problem, f"write {key or 'key'}: and a blank before the value")
            return {}
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fault(key, path, "a key must be a word")
            elif key.value in found:
                self.fault(key, _join(path, key.value), "the key is there twice", "remove one")
            else:
                found[key.value] = (key, value)
        return found

    def known(
        self, found: dict[str, tuple[yaml.Node, yaml.Node]], path: str, known: Iterable[str]
    ) -> None:
        """Refuse keys that aren't in the language."""
        for word, (key, _) in found.items():
            if word not in known:
                meant = wide_colon(word)
                mend = f"write {meant}: and a blank" if meant else suggest(word, known)
                self.fault(key, _join(path, word), f"unknown key {word}", mend)

    def items(self, node: yaml.Node, path: str) -> list[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, path, f"{_shape(node)} where a list is needed", "write - before it")
            return []
        return [(f"{path}[{i}]", item) for i, item in enumerate(node.value)]

    def text(self, node: yaml.Node, path: str) -> str:
        """The scalar as written; "" with a finding when it is none or empty."""
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, path, f"{_shape(node)} where a text is needed")
            return ""
        if not node.value.strip():
            self.fault(node, path, "is empty")
        return str(node.value).strip()

    def texts(self, node: yaml.Node, path: str) -> tuple[str, ...]:
        """One word, or a list of them. Quotation marks that are none to YAML would be part of it,
        and nothing would ever be equal to it."""
        if isinstance(node, yaml.SequenceNode):
            found = tuple(self._word(item, at) for at, item in self.items(node, path))
            if not found:
                self.fault(node, path, "the list is empty")
            return found
        return (self._word(node, path),)

    def _word(self, node: yaml.Node, path: str) -> str:
        word = self.text(node, path)
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        if plain and in_quotes(word):
            problem = f"{word} stands in quotation marks that YAML reads as part of it"
            self.fault(node, path, problem, f'write "{in_ascii(word).strip(_MARKS)}"')
        return word

    def flag(self, node: yaml.Node, path: str) -> bool:
        word = self.text(node, path)
        if word not in ("true", "false"):
            self.fault(node, path, f"{word!r} is neither true nor false", "write true or false")
        return word == "true"


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "keys and values"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _join(path: str, word: str) -> str:
    return f"{path}.{word}" if path else word
