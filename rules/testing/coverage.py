"""Which ways of each rule the tests go: raised, ended, held back by `for`, each level, missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from rules.testing.checks import said
from rules.testing.index import Written
from rules.testing.judge import Came


@dataclass(frozen=True, slots=True)
class Branch:
    """tests: the names of those that go this way."""

    name: str
    tests: tuple[str, ...]


@dataclass(slots=True)
class Coverage:
    """By rule id."""

    branches: dict[str, list[Branch]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(len(found) for found in self.branches.values())

    @property
    def covered(self) -> int:
        return sum(bool(branch.tests) for found in self.branches.values() for branch in found)

    @property
    def percent(self) -> float:
        return 100.0 * self.covered / self.total if self.total else 100.0

    def untested(self) -> list[str]:
        """Rules of which no test goes any way."""
        return [
            rule for rule, found in self.branches.items() if not any(one.tests for one in found)
        ]


def cover(
    rules: Mapping[str, Written],
    met: Sequence[tuple[str, Came]],
    held_back: Mapping[str, Mapping[str, Sequence[str]]],
) -> Coverage:
    """met: (test, event) of what was expected and came. held_back: rule id -> name of the
    branch -> tests in which a `for` alone kept the rule from raising."""
    found = Coverage()
    for rule in rules.values():
        mine = [(test, came) for test, came in met if came.rule == rule.id]
        branches = [
            Branch(name, _tests(test for test, came in mine if goes(came)))
            for name, goes in _ways(rule)
        ]
        for name, tests in held_back.get(rule.id, {}).items():
            branches.append(Branch(name, _tests(tests)))
        found.branches[rule.id] = branches
    return found


def _ways(rule: Written) -> list[tuple[str, _Way]]:
    keys = rule.keys()
    ways = [
        (f"level {level}", _Way(("raised", "again", "level"), severity=level))
        for level in _levels(keys.get("levels"))
    ]
    if not ways:
        ways.append(("raised", _Way(("raised", "again"))))
    latched = getattr(keys.get("latched"), "value", "") == "true"
    ways.append(("latched", _Way(("latched",))) if latched else ("cleared", _Way(("cleared",))))
    missing = str(getattr(keys.get("missing"), "value", ""))
    if missing.startswith("unknown"):
        ways.append(("unknown", _Way(("unknown",))))
    elif missing.startswith("raise"):
        ways.append(("raised by silence", _Way(("raised", "again"), silent=True)))
    if "inhibit" in keys:
        ways.append(("inhibited", _Way((), says=("delivery", "inhibited"))))
    if "flapping" in keys:
        ways.append(("flapping", _Way((), says=("flapping", True))))
    return ways


@dataclass(frozen=True, slots=True)
class _Way:
    """changes: any of these; none = whatever. says: a field of the event and its value."""

    changes: tuple[str, ...]
    severity: int = 0
    says: tuple[str, object] | None = None
    silent: bool = False

    def __call__(self, came: Came) -> bool:
        if self.changes and came.change not in self.changes:
            return False
        if self.says is not None and said(came.data, self.says[0], 0) != self.says[1]:
            return False
        if self.silent and any(s["decided"] == came.change for s in came.data["samples"]):
            return False
        return self.severity in (0, came.data["severity"])


def _levels(node: yaml.Node | None) -> list[int]:
    """The severities of the levels."""
    found = []
    for level in node.value if isinstance(node, yaml.SequenceNode) else ():
        keys = {key.value: value for key, value in level.value}
        said = str(getattr(keys.get("severity"), "value", ""))
        if said.isdigit():
            found.append(int(said))
    return found


def _tests(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
